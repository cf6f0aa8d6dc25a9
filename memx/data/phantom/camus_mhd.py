"""CAMUS's older layout: MetaImage, sequences whose ED and ES frames alone are labelled, and the lists of one fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memx.data.phantom import camus
from memx.data.phantom.population import Patient
from memx.data.phantom.simulation import Simulation


class Writer(camus.Writer):
    """Adds patients to `root`; on leaving, writes the lists of fold 1."""

    folder = "training"
    lists_folder, list_name = "training/listSubGroups", "subGroup1_{}.txt"

    def _pictures(self, stem: Path, clip: Simulation) -> None:
        _save(Path(f"{stem}_sequence.mhd"), clip.video, clip)
        for phase, frame in (("ED", clip.ed), ("ES", clip.es)):
            for suffix, array in (("", clip.video), ("_gt", clip.labels)):
                _save(Path(f"{stem}_{phase}{suffix}.mhd"), array[frame : frame + 1], clip)

    def _info(self, person: Patient, clip: Simulation) -> dict[str, Any]:
        volumes = {"LVedv": f"{person.edv:.1f}", "LVesv": f"{person.esv:.1f}", "LVef": f"{person.ef:.1f}"}
        return {**camus.known(person, clip), **volumes}


def _save(path: Path, array: np.ndarray, clip: Simulation) -> None:
    """Write (t, y, x) uint8, x fastest, and its header; a still frame is a sequence of one."""
    frames, y, x = array.shape
    rows, cols = clip.spacing
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.ascontiguousarray(array).tobytes())
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": f"{cols!r} {rows!r} 1.0",
        "DimSize": f"{x} {y} {frames}",
        "ElementType": "MET_UCHAR",
        "ElementDataFile": raw.name,
    }
    path.write_text("".join(f"{key} = {value}\n" for key, value in fields.items()), encoding="ascii")
