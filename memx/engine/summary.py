"""What a run, an evaluation and a prediction leave for the reader: JSON, CSV, figures and one HTML report each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memx.engine.datasets import data_record
from memx.engine.evaluate import Evaluation
from memx.engine.history import History
from memx.engine.manifest import environment, manifest
from memx.engine.predict import Prediction
from memx.engine.run import RunFolder
from memx.files import atomic
from memx.recipe import Recipe
from memx.report.figures import worst_cases
from memx.report.html import Report, Section, Text, Tile, Tiles, write_report
from memx.report.sections import (
    facts_section,
    learning_section,
    overlay_gallery,
    recipe_section,
    score_sections,
)

_CHOSEN = (
    "The figures below are of the patients that chose these weights, so they flatter them. "
    "memx eval scores the test patients."
)


def write_training_report(run: RunFolder, history: History, validation: Evaluation) -> Path:
    """`report.html` of a run: learning curves, what its best weights do on the validation patients, and its facts."""
    manifest = run.read_json("manifest.json")
    iterations, loss = history.series("loss")
    validated, dice = history.series("validation_dice")
    _, seconds = history.series("seconds")
    tiles = [Tile("Steps", str(iterations[-1])), Tile("Loss, last step", f"{loss[-1]:.3f}")]
    if dice:
        best = int(np.argmax(dice))
        tiles.append(Tile("Validation Dice, best", f"{dice[best]:.3f}", f"at step {validated[best]}"))
    tiles.append(Tile("Time", f"{sum(seconds) / 60:.1f} min", f"median {np.median(seconds):.2f} s a step"))
    sections: list[Section] = [
        Tiles("Training at a glance", tiles),
        learning_section(iterations, loss, validated, dice),
        Text("Validation patients", _CHOSEN),
        *score_sections(validation.scores, validation.worst, frames=_frames_words(run.recipe)),
        recipe_section(run.recipe.to_yaml()),
        facts_section("Data", manifest["data"]),
        facts_section("Environment", manifest["environment"]),
    ]
    report = Report(f"{run.recipe.name}: training", sections, _subtitle(run.recipe))
    path = write_report(run.path / "report.html", report)
    run.write_json(
        "metrics.json",
        {
            "steps": iterations[-1],
            "loss": loss[-1],
            "validation_dice": dict(zip(validated, dice, strict=True)),
            "seconds": sum(seconds),
        },
    )
    return path


def write_evaluation(run: RunFolder, recipe: Recipe, split: str, found: Evaluation, *, name: str | None = None) -> Path:
    """`eval/<name or split>/` with scores.json, its tables as CSV, worst.png and report.html."""
    folder = run.path / "eval" / (name or split)
    run.write_json(
        f"eval/{folder.name}/manifest.json",
        {
            "weights": run.weights.name,
            "trained_with": run.recipe.hash,
            "protocol": recipe.evaluate.protocol,
            **manifest(recipe, data_record(recipe)),
        },
    )
    scores = found.scores
    scores.write(folder)
    if found.worst:
        dice = scores.titles["dice"]
        captions = [f"{clip.title}\n{clip.caption(clip.worst_frame, dice)}" for clip in found.worst]
        with atomic(folder / "worst.png") as part:
            part.write_bytes(worst_cases([clip.picture(clip.worst_frame) for clip in found.worst], captions, columns=3))
    sections = score_sections(scores, found.worst, frames=_frames_words(recipe))
    sections += [recipe_section(recipe.to_yaml()), facts_section("Environment", environment())]
    report = Report(f"{recipe.name}: {split} patients", sections, _subtitle(recipe))
    return write_report(folder / "report.html", report)


def write_prediction_report(predictions: Sequence[Prediction], recipe: Recipe, path: Path, run: Path) -> Path:
    """One page for all clips: overlay video, area curve with ED and ES, and EF with its method."""
    sections: list[Section] = []
    for item in predictions:
        sections += _prediction_sections(item)
    sections += [recipe_section(recipe.to_yaml()), facts_section("Environment", environment())]
    title = predictions[0].name if len(predictions) == 1 else f"{len(predictions)} clips"
    return write_report(path, Report(f"{title}: segmented by {recipe.name}", sections, f"Weights of {run.name}"))


def _prediction_sections(item: Prediction) -> list[Section]:
    tiles = [Tile("Frames", str(item.frames), f"{item.fps:.4g} a second" if item.fps else "frame rate unknown")]
    for label, phase in (("ED", item.ed), ("ES", item.es)):
        tiles.append(
            Tile(label, "–" if phase is None else f"frame {phase + 1}", "largest" if label == "ED" else "smallest")
        )
    if item.ef:
        digits = 1 if item.ef.unit == "ml" else 0
        volumes = f"EDV {item.ef.edv:,.{digits}f}, ESV {item.ef.esv:,.{digits}f} {item.ef.unit}"
        tiles.append(Tile("EF", f"{item.ef.value:.0f}%", f"{item.ef.method}; {volumes}"))
    else:
        tiles.append(Tile("EF", "–", item.ef_note))
    notes = [f"Spacing: {item.spacing_note or item.spacing}", item.ef.note if item.ef else "", *item.notes]
    return [
        Tiles(item.name, tiles, " ".join(map(_sentence, filter(None, notes)))),
        overlay_gallery(
            item.overlay.read_bytes(),
            item.curves,
            fps=item.fps,
            ed=item.ed,
            es=item.es,
            note=f"Volume by {item.volume_method}.",
        ),
    ]


def _frames_words(recipe: Recipe) -> str:
    """Which frames of a clip were shown and scored."""
    data, chosen = recipe.data, recipe.evaluate
    sampled = {
        "ed_es": f"{data.frames} frames from ED to ES",
        "window": f"{data.frames} frames in a row",
        "all": "all frames",
    }
    shown = sampled["all" if chosen.frames == "all" else data.sampling]
    masks = data.supervision if chosen.masks == "as_trained" else chosen.masks
    scored = "all that have labels" if masks == "all" else "the first and the last that have labels"
    return f"Of each clip the model was shown {shown}; scored were {scored}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


def _subtitle(recipe: Recipe) -> str:
    return " · ".join(filter(None, [recipe.description.rstrip("."), f"recipe {recipe.hash}", f"seed {recipe.seed}"]))
