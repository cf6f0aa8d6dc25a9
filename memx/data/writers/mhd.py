"""MetaImage masks: a text header with the clip's geometry, then one frame after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from memx.data.streams.mhd import MhdStream
from memx.data.writers.atomic import AtomicFile
from memx.data.writers.base import FileMaskWriter, suffixed


class MhdMaskWriter(FileMaskWriter[MhdStream]):
    """Writes uint8 MetaImage with the clip's shape, spacing, origin and direction.

    `.mha` is one file. For `.mhd` the pixels are in `.raw` beside it, which gets its name before the header does.
    """

    def __init__(self, stream: MhdStream, out: Path, *, structures: Mapping[str, int]):
        self._split = stream.path.suffix.lower() == ".mhd"
        self._raw_path = suffixed(out, ".raw")
        self._raw: AtomicFile | None = None
        super().__init__(stream, suffixed(out, ".mhd" if self._split else ".mha"), structures=structures)

    def _begin(self) -> None:
        self._put(self._header().encode("ascii", "replace"))
        if self._split:
            self._raw = AtomicFile(self._raw_path)

    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        (self._raw or self._output).file.write(mask.data)

    def _end(self) -> None:
        if self._raw:
            self._raw.commit()

    def _release(self) -> None:
        if self._raw:
            self._raw.abort()

    def _header(self) -> str:
        clip = self.stream.header
        spacing = clip.spacing if self.stream.spacing else None
        geometry = {"TransformMatrix": clip.direction, "Offset": clip.origin, "ElementSpacing": spacing}
        fields = {
            "ObjectType": "Image",
            "NDims": len(clip.shape),
            "Comment": self.describe(),
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "False",
            **{key: _numbers(values) for key, values in geometry.items() if values is not None},
            "DimSize": " ".join(map(str, clip.shape)),
            "ElementType": "MET_UCHAR",
            "ElementDataFile": self._raw_path.name if self._split else "LOCAL",
        }
        return "".join(f"{key} = {value}\n" for key, value in fields.items())


def _numbers(values: Sequence[float]) -> str:
    return " ".join(repr(value) for value in values)
