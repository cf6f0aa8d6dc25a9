"""Write the phantom as a data set on disk, in one of CAMUS's two layouts or in EchoNet-Dynamic's."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from memx._version import __version__
from memx.data.phantom import camus, camus_mhd, echonet
from memx.data.phantom.contact import MOST
from memx.data.phantom.population import Patient, patient
from memx.errors import UserError, unknown
from memx.files import cannot_write

LayoutName = Literal["camus", "camus_mhd", "echonet"]
SUMMARY = "memx.json"
GENERATOR = 2
"""Raised when the same options give other pictures: 2 loses whole sectors where 1 dimmed a part of them."""
_LAYOUTS = {"camus": camus, "camus_mhd": camus_mhd, "echonet": echonet}
_SMALLEST, _LARGEST = 64, 2048


def write(
    out: Path,
    *,
    layout: LayoutName,
    patients: int,
    seed: int = 0,
    size: int | None = None,
    frames: int | None = None,
    aspect: float = 2.0,
    lost: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a phantom data set and return its summary, which also lies in its root as `memx.json`.

    layout    `camus`: two views a patient as NIfTI half sequences; `camus_mhd`: the same as MetaImage, labelled in ED
              and ES only; `echonet`: one 4CH AVI a patient at 50 fps
    patients  how many; patient i of a seed is the same however many are written
    size      rows of a picture: 256 for CAMUS's layouts, 112 (square) for echonet
    frames    frames a clip; None: what the patient's heart rate and frame rate give
    aspect    width of a pixel over its height, CAMUS's layouts only: 2 as in CAMUS's older release, 1 for square pixels
    lost      share of frames in which part of the sector has no echoes (`simulate`)
    progress  called with (patients done, patients in all)

    The data set is written beside `out` under another name and renamed when it is whole. Raises UserError when `out`
    exists and is not an empty folder, when a number is out of range, or when the disk refuses.
    """
    out = Path(out)
    if size is None:
        size = 112 if layout == "echonet" else 256
    _check(out, layout, patients, seed, size, frames, aspect, lost)
    people = [patient(seed, index) for index in range(patients)]
    splits = split(patients, seed)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        partial.chmod(0o755)
        written = []
        with _LAYOUTS[layout].Writer(partial, size=size, frames=frames, aspect=aspect, lost=lost) as writer:
            for done, person in enumerate(people):
                written.append({**writer.add(person, splits[done]), **_truth(person, splits[done])})
                if progress is not None:
                    progress(done + 1, patients)
        summary = {
            "kind": "memx phantom: simulated, no real patient",
            "memx": __version__,
            "generator": GENERATOR,
            "layout": layout,
            "seed": seed,
            "size": size,
            "frames": frames,
            "aspect": 1.0 if layout == "echonet" else aspect,
            "lost": lost,
            "splits": {name: splits.count(name) for name in ("train", "val", "test")},
            "patients": written,
        }
        (partial / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise cannot_write(out, error) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def split(patients: int, seed: int) -> list[str]:
    """Which split each patient belongs to: about 70 / 15 / 15, at least one each from three patients on."""
    if patients < 3:
        return ["train"] * patients
    held = max(1, round(0.15 * patients))
    names = np.array(["train"] * (patients - 2 * held) + ["val"] * held + ["test"] * held)
    order = np.random.default_rng([seed, patients, 1 << 21]).permutation(patients)
    return [str(names[place]) for place in order]


def _truth(person: Patient, part: str) -> dict[str, Any]:
    return {
        "split": part,
        "index": person.index,
        "ef": round(person.ef, 3),
        "edv_ml": round(person.edv, 3),
        "esv_ml": round(person.esv, 3),
        "heart_rate": round(person.heart_rate, 1),
        "quality": person.quality,
    }


def _check(
    out: Path, layout: str, patients: int, seed: int, size: int, frames: int | None, aspect: float, lost: float
) -> None:
    if layout not in get_args(LayoutName):
        raise UserError(unknown("layout", layout, get_args(LayoutName)))
    if patients < 1:
        raise UserError(f"patients must be at least 1, got {patients}")
    if seed < 0:
        raise UserError(f"seed must not be negative, got {seed}")
    if not _SMALLEST <= size <= _LARGEST:
        raise UserError(f"size must be between {_SMALLEST} and {_LARGEST} rows, got {size}")
    if frames is not None and frames < 2:
        raise UserError(f"frames must be at least 2 (ED and ES), got {frames}")
    if not 0.25 <= aspect <= 4:
        raise UserError(f"aspect must be between 0.25 and 4, got {aspect:g}")
    if not 0 <= lost <= MOST:
        raise UserError(f"lost must be between 0 and {MOST:g}, the share of lost frames, got {lost:g}")
    if out.is_symlink() or out.is_file():
        raise UserError(f"{out} is a file or a link; a data set is a folder. Choose another name.")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} exists and is not empty; nothing was written. Choose another folder or delete it.")
