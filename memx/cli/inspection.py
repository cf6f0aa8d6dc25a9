"""Inspect with progress bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from memx.cli.common import refuse_training_overrides
from memx.cli.progress import bar
from memx.data.streams import find_clips, open_stream
from memx.engine.checkpoint import load_checkpoint, restore
from memx.engine.datasets import find_cases
from memx.engine.predict import output_folders
from memx.engine.run import RunFolder
from memx.engine.train import Step
from memx.errors import DataError, UserError
from memx.inspect.clip import ClipRecord, record_clip
from memx.inspect.clip_gradients import ClipGradients, clip_gradients
from memx.inspect.recording import NotSteppedError, memory_of
from memx.inspect.results import Inspection, check_folder, write_inspection
from memx.inspect.training_gradients import TrainingGradients, check_steps, training_gradients
from memx.inspect.truth import as_in_training, find_case
from memx.models.base import VideoModel
from memx.recipe import Recipe
from memx.registry import build_part, memories


def run_inspection(
    run: Path,
    clip: Path,
    out: Path | None,
    overrides: Sequence[str],
    crop: bool,
    steps: int,
    trained: bool,
    device: str,
) -> tuple[Inspection, Path]:
    """Look at one clip, and with `steps` at a training; returns what was found and the report's path."""
    refuse_training_overrides(overrides)
    recipe, tensors = load_checkpoint(run, overrides)
    if steps:
        _check_training(run, recipe, steps, trained)
    clips = find_clips([clip])
    if len(clips) != 1:
        raise UserError(f"{clip}: holds {len(clips)} clips; name one, e.g. {clips[0]}")
    stream = open_stream(clips[0], colour=recipe.data.channels == 3)
    folder = out or output_folders([stream], Path("inspect"))[0].with_name(f"{_stem(run)}_{stream.name}")
    check_folder(folder)
    model = restore(recipe, tensors, str(run)).to(device)
    with bar(stream.name, stream.length, "frames") as advance:
        record = record_clip(model, recipe, stream, device=device, crop="auto" if crop else "none", on_frame=advance)
    notes = _missing(record)
    gradients = training = None
    if record.gates:
        gradients, why = _on_the_clip(model, recipe, clips[0], device)
        notes += [why] if why else []
        if steps:
            training, why = _over_steps(recipe, steps, tensors if trained else None, run, device)
            notes += [why] if why else []
    memory = type(memory_of(model))
    known = next((entry.name for entry in memories if entry.factory is memory), memory.__name__)
    found = Inspection(recipe, run.name, known, record, gradients, training, tuple(notes))
    return found, write_inspection(found, folder)


def _check_training(run: Path, recipe: Recipe, steps: int, trained: bool) -> None:
    """What a training would refuse, before the clip takes its time."""
    check_steps(recipe, steps)
    if not trained and run.is_dir() and "imported" in RunFolder.open(run).read_json("manifest.json"):
        raise UserError(f"{run}: imported weights have no first steps of a training; say --start trained")
    find_cases(recipe, "train")


def _missing(record: ClipRecord) -> list[str]:
    notes = []
    if not record.areas.any():
        notes.append("The model predicts nothing in this clip: there is no contour to draw.")
    if not record.gates:
        notes.append("This memory meets no gates: there are no α and β to show, and no gradients to them.")
    if record.effective_rank is None:
        notes.append("This memory's state is no matrix from keys to values: it has no norm and no rank to show.")
    if record.readout_map is None:
        notes.append("The model does not say where its tokens lie, so the readout cannot be drawn over the frame.")
    return notes


def _on_the_clip(model: VideoModel, recipe: Recipe, clip: Path, device: str) -> tuple[ClipGradients | None, str]:
    """Gradients on the clip, or why there are none."""
    try:
        layout, case = find_case(recipe, clip)
        video, masks, supervised = (x.to(device) for x in as_in_training(recipe, layout, case))
        found = clip_gradients(model, build_part(recipe.loss), video, masks, supervised, seed=recipe.seed)
    except (DataError, NotSteppedError) as error:
        return None, f"No gradients on this clip: {error}"
    return found, "" if found else "No gate of this memory has a gradient: they are fixed numbers."


def _over_steps(
    recipe: Recipe, steps: int, tensors: Mapping[str, Tensor] | None, run: Path, device: str
) -> tuple[TrainingGradients | None, str]:
    """Gradients over training steps, or why there are none."""
    with bar("training a copy", steps, "steps") as advance:

        def show(step: Step) -> None:
            advance(note=f"loss {step.loss:.3f}")

        try:
            found = training_gradients(recipe, steps, tensors=tensors, source=str(run), device=device, on_step=show)
        except NotSteppedError as error:
            return None, f"No gradients over training steps: {error}"
    return found, "" if found else "No gate of this memory has a gradient, so training has nothing to show."


def _stem(run: Path) -> str:
    run = run.resolve()
    return run.stem if run.is_file() else run.name
