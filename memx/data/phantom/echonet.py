"""EchoNet-Dynamic's layout: one 4CH AVI a patient, a list of files, and tracings of two frames a video.

There is one view, and a single-plane method takes the plane that is not seen for one that moves as the plane that is.
Here this is so (`alike_in_both_planes`): otherwise a wall that moves less in the unseen plane alone would put the EF of
the list up to 9 points away from what any reader of the video could measure. In CAMUS's layout, which has both views,
the same patient's four walls move each in its own way.
"""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import Float, UInt8

from memx.data.phantom.population import Patient, alike_in_both_planes
from memx.data.phantom.simulation import simulate
from memx.errors import UserError

FPS, CHORDS = 50, 20
_FILES = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
_TRACINGS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")


class Writer:
    """Adds patients to `root`; on leaving, writes the two tables."""

    def __init__(self, root: Path, *, size: int, frames: int | None, aspect: float, lost: float) -> None:
        self.root, self.size, self.frames, self.lost = root, size, frames, lost
        self.files: list[tuple] = []
        self.tracings: list[tuple] = []

    def __enter__(self) -> Writer:
        (self.root / "Videos").mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            _table(self.root / "FileList.csv", _FILES, self.files)
            _table(self.root / "VolumeTracings.csv", _TRACINGS, self.tracings)

    def add(self, person: Patient, part: str) -> dict[str, Any]:
        """Simulate and write one patient; what the data set calls it, and the frames of the view that are lost."""
        name = f"0X{np.random.default_rng([person.seed, person.index, 70]).integers(1 << 62):016X}"
        try:
            clip = simulate(
                alike_in_both_planes(person),
                "4CH",
                size=self.size,
                frames=self.frames,
                span="cycle",
                fps=FPS,
                square=True,
                lost=self.lost,
            )
        except ValueError as error:
            raise UserError(f"frames={self.frames}: {error}. Leave frames out to take what each needs.") from None
        _encode(self.root / "Videos" / f"{name}.avi", clip.video)
        self.files.append(
            (name, f"{person.ef:.4f}", f"{person.esv:.4f}", f"{person.edv:.4f}", self.size, self.size, FPS,
             len(clip.video), part.upper())
        )  # fmt: skip
        for frame in sorted((clip.ed, clip.es)):
            for x1, y1, x2, y2 in tracing(clip.outline[frame]):
                self.tracings.append((f"{name}.avi", f"{x1:.4f}", f"{y1:.4f}", f"{x2:.4f}", f"{y2:.4f}", frame))
        return {"name": name, "lost": {"4CH": list(clip.lost)}}


def tracing(outline: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "21 4"]:
    """The long axis (apex to base), then 20 chords across it from apex to base, as x1, y1, x2, y2 in pixels.

    The outline runs from the left annulus over the apex to the right annulus. Chords are perpendicular to the axis
    and run from the left wall to the right one.
    """
    base = (outline[0] + outline[-1]) / 2
    apex = outline[np.argmax(np.linalg.norm(outline - base, axis=1))]
    length = np.linalg.norm(base - apex)
    down = (base - apex) / length
    across = np.array([down[1], -down[0]])  # to the right where down points down
    s, u = (outline - apex) @ down, (outline - apex) @ across
    lines = [np.concatenate((apex, base))]
    ahead = np.roll(np.arange(len(s)), -1)
    for at in (np.linspace(0.015, 0.985, CHORDS)) * length:
        cut = (s <= at) != (s[ahead] <= at)
        share = (at - s[cut]) / (s[ahead][cut] - s[cut])
        ends = u[cut] + share * (u[ahead][cut] - u[cut])
        point = apex + at * down
        lines.append(np.concatenate((point + ends.min() * across, point + ends.max() * across)))
    return np.stack(lines)


def _encode(path: Path, video: UInt8[np.ndarray, "t y x"]) -> None:
    """Motion JPEG: luma is the picture, chroma is neutral."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.height, stream.width = video.shape[1:]
        stream.pix_fmt = "yuvj420p"
        stream.options = {"qmin": "2", "qmax": "2"}
        for picture in video:
            rgb = np.repeat(picture[..., None], 3, axis=-1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _table(path: Path, head: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(rows)
