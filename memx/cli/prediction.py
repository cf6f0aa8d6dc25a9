"""Predict with a progress bar: what `memx predict` and `memx demo` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from memx.cli.common import refuse_training_overrides
from memx.cli.progress import bar
from memx.data.streams import find_clips, open_stream
from memx.engine.checkpoint import load_checkpoint, restore
from memx.engine.predict import Prediction, output_folders, predict_clip
from memx.engine.segment import first_frames, shown_box
from memx.engine.summary import write_prediction_report

_FRAMES = 3
"""Frames of the first clip that the optimised network is held to the plain one on."""


def run_prediction(
    run: Path,
    inputs: Sequence[str],
    out: Path,
    overrides: Sequence[str],
    crop: bool,
    device: str,
    *,
    fast: bool = True,
) -> tuple[list[Prediction], Path]:
    """Segment every clip among `inputs`; returns what was found and the report's path.

    `fast`: by the optimised network, where its masks are the plain one's on the first frames.
    """
    refuse_training_overrides(overrides)
    recipe, tensors = load_checkpoint(run, overrides)
    model = restore(recipe, tensors, str(run)).to(device)
    streams = [open_stream(path, colour=recipe.data.channels == 3) for path in find_clips([Path(p) for p in inputs])]
    shown: Literal["auto", "none"] = "auto" if crop else "none"
    network: list[str] = []
    if fast:
        video = first_frames(streams[0], recipe, shown_box(streams[0], shown), _FRAMES).to(device)
        found = model.optimize(video, recipe.objects, precision=recipe.train.precision)
        model, network = found.model, found.sentences()
    predictions = []
    for stream, folder in zip(streams, output_folders(streams, out), strict=True):
        with bar(stream.name, stream.length, "frames") as advance:
            predictions.append(
                predict_clip(
                    model, recipe, stream, folder, device=device, crop=shown, network=network, on_frame=advance
                )
            )
    return predictions, write_prediction_report(predictions, recipe, out / "report.html", run)


def prediction_table(predictions: Sequence[Prediction]) -> Table:
    """Frames, ED, ES and EF of each clip; every EF says its method."""
    table = Table(title="prediction", title_justify="left", box=None, pad_edge=False)
    for column in ("clip", "frames", "ED", "ES", "EF", "masks"):
        table.add_column(column, overflow="fold")
    for item in predictions:
        ef = f"{item.ef.value:.0f}% ({item.ef.method}, {item.ef.unit})" if item.ef else item.ef_note
        phases = ["–" if phase is None else str(phase + 1) for phase in (item.ed, item.es)]
        table.add_row(*map(Text, (item.name, str(item.frames), *phases, ef, str(item.masks))))
    return table
