"""Prediction: any clip on disk, frame by frame in constant memory, to masks, an overlay video, curves and an EF."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from memx.data.streams import Stream
from memx.data.writers import open_mask_writer
from memx.engine.segment import Box, segment_stream, shown_box
from memx.errors import DataError
from memx.files import atomic, write_text
from memx.metrics.clinical import EjectionFraction, ejection_fraction, find_ed_es, single_plane_volume
from memx.models.base import VideoModel
from memx.recipe import Recipe
from memx.report.aspect import square_pixels
from memx.report.curve_figures import Curve, time_curves
from memx.report.overlay import OverlayVideo, draw_overlay


@dataclass(frozen=True)
class Prediction:
    """What was found in one clip, and where it was written.

    areas        per structure, the area of each frame in `area_unit`
    volumes      of the first structure, per frame, in `volume_unit` (ml or px³) by `volume_method`
    ed, es       frames of the largest and the smallest volume, or None when the structure was never found
    ef           ejection fraction with its method, or None with the reason in `ef_note`
    crop         rows and columns of the frame that the model was shown: top, bottom, left, right
    network      what was done to the network to make it fast, or why it was not
    """

    name: str
    source: Path
    folder: Path
    frames: int
    fps: float | None
    spacing: tuple[float, float] | None
    spacing_note: str
    areas: dict[str, list[float]]
    area_unit: str
    volumes: list[float]
    volume_unit: str
    volume_method: str
    ed: int | None
    es: int | None
    ef: EjectionFraction | None
    ef_note: str
    crop: Box
    masks: Path
    overlay: Path
    notes: tuple[str, ...] = ()
    network: tuple[str, ...] = ()

    @property
    def curves(self) -> list[Curve]:
        """Area and volume of the first structure."""
        name, areas = next(iter(self.areas.items()))
        return [Curve(f"{name} area", self.area_unit, areas), Curve(f"{name} volume", self.volume_unit, self.volumes)]


def predict_clip(
    model: VideoModel,
    recipe: Recipe,
    stream: Stream,
    folder: Path,
    *,
    device: str = "cpu",
    crop: Literal["auto", "none"] = "auto",
    network: Sequence[str] = (),
    on_frame: Callable[[], Any] = lambda: None,
) -> Prediction:
    """Segment one clip and write masks (in the clip's own kind), overlay video, curve and summary into `folder`.

    The clip is decoded and written one frame at a time; what is kept is the model's state and two numbers a frame.
    With `crop="auto"` the model is shown the ultrasound sector only, as in training; masks are written at full size.
    `network` is what the summary says of how the model was made fast.
    """
    box = shown_box(stream, crop)
    structures = recipe.data.structures
    values = np.array([0, *written_labels(structures).values()], dtype=np.uint8)
    pixel_area = stream.spacing[0] * stream.spacing[1] if stream.spacing else 1.0
    areas: dict[str, list[float]] = {name: [] for name in structures}
    volumes = []
    overlay = folder / "overlay.mp4"
    labels = written_labels(structures)
    with (
        open_mask_writer(stream, folder / "masks", structures=labels) as writer,
        OverlayVideo(overlay, fps=stream.fps or 25.0) as video,
    ):
        for number, found in enumerate(segment_stream(model, recipe, stream, box, device=device)):
            mask = values[found.labels]
            writer.write(mask)
            seen, drawn = square_pixels(found.frame, mask, stream.spacing)
            video.write(draw_overlay(seen, drawn, structures=labels, caption=f"frame {number + 1}"))
            for index, name in enumerate(structures, start=1):
                areas[name].append(float((found.labels == index).sum()) * pixel_area)
            volumes.append(single_plane_volume(found.labels == 1, stream.spacing))
            on_frame()
    curve = [volume.value for volume in volumes]
    phases = find_ed_es(curve)
    ef, note = None, ""
    try:
        if phases is None:
            note = f"no frame with {next(iter(structures))}: no ejection fraction"
        elif len(curve) < 2:
            note = "one frame: no ejection fraction"
        else:
            ef = ejection_fraction(volumes[phases.ed], volumes[phases.es])
    except DataError as error:
        note = str(error)
    prediction = Prediction(
        name=stream.name,
        source=stream.path,
        folder=folder,
        frames=len(curve),
        fps=stream.fps,
        spacing=stream.spacing,
        spacing_note=stream.spacing_note,
        areas=areas,
        area_unit="mm²" if stream.spacing else "px",
        volumes=curve,
        volume_unit=volumes[0].unit,
        volume_method=volumes[0].method,
        ed=phases.ed if phases else None,
        es=phases.es if phases else None,
        ef=ef,
        ef_note=note,
        crop=box,
        masks=writer.path,
        overlay=overlay,
        notes=stream.notes,
        network=tuple(network),
    )
    _write_curve(prediction, folder / "curve.csv")
    _draw_curves(prediction, folder / "curve.png")
    write_text(folder / "summary.json", json.dumps(_summary(prediction), indent=2) + "\n")
    return prediction


def written_labels(structures: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The label value that a mask file has for each structure: its first one, or 1, 2, … where these collide."""
    first = {name: values[0] for name, values in structures.items()}
    usable = len(set(first.values())) == len(first) and all(0 < value < 256 for value in first.values())
    return first if usable else {name: number for number, name in enumerate(structures, start=1)}


def output_folders(streams: Sequence[Stream], out: Path) -> list[Path]:
    """A folder under `out` for each clip, by its name; clips of one name are numbered."""
    names: list[str] = []
    for stream in streams:
        name = base = "".join(c if c.isalnum() or c in "-_." else "_" for c in stream.name).strip(".") or "clip"
        count = 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return [out / name for name in names]


def _write_curve(prediction: Prediction, path: Path) -> None:
    unit = prediction.area_unit.replace("²", "2")
    volume_unit = prediction.volume_unit.replace("³", "3")
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["frame", "seconds", *(f"{name}_area_{unit}" for name in prediction.areas), f"volume_{volume_unit}"]
        )
        for i, volume in enumerate(prediction.volumes):
            seconds = f"{i / prediction.fps:.4f}" if prediction.fps else ""
            writer.writerow([i, seconds, *(f"{a[i]:.2f}" for a in prediction.areas.values()), f"{volume:.3f}"])


def _draw_curves(prediction: Prediction, path: Path) -> None:
    with atomic(path) as part:
        part.write_bytes(
            time_curves(prediction.curves, fps=prediction.fps, ed=prediction.ed, es=prediction.es, format="png")
        )


def _summary(prediction: Prediction) -> dict[str, Any]:
    facts = asdict(prediction)
    for name in ("source", "folder"):
        del facts[name]
    facts["masks"], facts["overlay"] = prediction.masks.name, prediction.overlay.name
    facts["source"] = prediction.source.name
    return facts
