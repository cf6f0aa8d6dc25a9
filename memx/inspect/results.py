"""What an inspection leaves on disk: figures, numbers for other programs, and one page."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from memx.engine.manifest import environment
from memx.errors import UserError
from memx.files import atomic, write_text
from memx.inspect.clip import ClipRecord
from memx.inspect.clip_gradients import ClipGradients
from memx.inspect.figures import drawings, phases
from memx.inspect.gate_series import GateSeries
from memx.inspect.training_gradients import TrainingGradients
from memx.recipe import Recipe
from memx.report.html import Data, Figure, Report, Section, Text, Tile, Tiles, write_report
from memx.report.inspect_figures import symbol
from memx.report.sections import facts_section, recipe_section


@dataclass(frozen=True)
class Inspection:
    """All that was found; `notes` say what is missing and why."""

    recipe: Recipe
    weights: str
    memory: str
    record: ClipRecord
    gradients: ClipGradients | None
    training: TrainingGradients | None
    notes: tuple[str, ...]


def check_folder(folder: Path) -> None:
    """Raises UserError for a folder that holds anything but an earlier inspection, whose place a new one takes."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out is a folder")
    if (folder / "recipe.yaml").exists():
        raise UserError(f"{folder}: is a run folder, which an inspection leaves alone; choose another --out")
    if folder.exists() and any(path.name[0] != "." for path in folder.iterdir()) and not _earlier(folder):
        raise UserError(f"{folder}: holds other things than an inspection; choose another --out, or an empty folder")


def _earlier(folder: Path) -> list[str]:
    """Figures and tables that an earlier inspection left in a folder, as it wrote them down; none without one."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    files = summary.get("inspection") if isinstance(summary, dict) else None
    names = files if isinstance(files, list) else []
    return [name for name in names if isinstance(name, str) and re.fullmatch(r"[\w-]+\.(png|csv)", name)]


def write_inspection(found: Inspection, folder: Path) -> Path:
    """Write figures, numbers (`.npz`, `.csv`), `summary.json` and `report.html` to a folder; gives the page's path.

    An earlier inspection's files go where this one does not write them anew, so that what lies there belongs together.
    Raises UserError where `check_folder` does.
    """
    check_folder(folder)
    before = _earlier(folder)
    figures: list[Section] = []
    pictures: dict[str, bytes] = {}
    for drawing in drawings(found.record, found.gradients, found.training):
        light = drawing.draw(format="png", dark=False)
        pictures[drawing.file] = light
        dark = drawing.draw(format="png", dark=True)
        figures.append(Figure(drawing.title, light, drawing.alt, drawing.note, dark, wide=True))
    files = [*pictures, "frames.csv", "numbers.npz", "report.html", "summary.json"]
    for name, picture in pictures.items():
        with atomic(folder / name) as part:
            part.write_bytes(picture)
    _write_arrays(folder / "numbers.npz", found)
    _write_table(folder / "frames.csv", *_by_frame(found.record))
    if found.training is not None:
        _write_table(folder / "steps.csv", *_by_step(found.training))
        files.append("steps.csv")
    summary = {"inspection": sorted(files), **_summary(found)}
    for name in set(before) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    sections = [
        _tiles(found),
        *figures,
        *([Text("What is not shown", "\n".join(found.notes))] if found.notes else []),
        recipe_section(found.recipe.to_yaml()),
        facts_section("Environment", environment()),
        Data("inspection", summary),
    ]
    title = f"{found.record.name}: what the memory of {found.recipe.name} does"
    return write_report(
        folder / "report.html", Report(title, sections, f"Memory {found.memory}, weights of {found.weights}")
    )


def pair_name(pair: tuple[str, str]) -> str:
    """`α and β`."""
    return f"{symbol(pair[0])} and {symbol(pair[1])}"


def _tiles(found: Inspection) -> Tiles:
    record = found.record
    rate = f"{record.fps:.4g} a second" if record.fps else "frame rate unknown"
    tiles = [Tile("Frames", str(record.frames), rate)]
    for gate in record.gates:
        tiles.append(_gate_tile(gate))
    if record.effective_rank is not None:
        rank = record.effective_rank[-1].mean()
        tiles.append(Tile("Effective rank", f"{rank:.1f}", f"after the last frame, of {record.rank_limit}"))
    if found.training is not None:
        tiles += [_pair_tile(pair, values) for pair, values in found.training.pearson.items()]
    return Tiles("At a glance", tiles)


def _gate_tile(gate: GateSeries) -> Tile:
    """The first frame stands apart, since it may meet an empty state."""
    later = gate.mean[1:]
    later = later[np.isfinite(later)]
    if not later.size:
        return Tile(symbol(gate.name), f"{np.nanmean(gate.mean):.3f}", "mean of the first frame")
    return Tile(symbol(gate.name), f"{later.mean():.3f}", "mean after the first frame")


def _pair_tile(pair: tuple[str, str], values: Float[np.ndarray, " s"]) -> Tile:
    """The mean over the steps that have an r."""
    found = values[np.isfinite(values)]
    steps = f"{len(found)} of {len(values)} steps" if len(found) < len(values) else f"{len(values)} steps"
    shown = f"{found.mean():.2f}" if len(found) else "–"
    return Tile(f"r of {pair_name(pair)}", shown, f"gradients, mean of {steps}")


def _summary(found: Inspection) -> dict[str, Any]:
    record = found.record
    summary: dict[str, Any] = {
        "clip": record.name,
        "frames": record.frames,
        "fps": record.fps,
        "spacing": record.spacing,
        "crop": record.box,
        "structures": record.structures,
        "phases": phases(record),
        "recipe": found.recipe.hash,
        "weights": found.weights,
        "memory": found.memory,
        "gates": {
            gate.name: {"axes": gate.axes, "low": _plain(gate.low), "high": _plain(gate.high)} for gate in record.gates
        },
        "rank_limit": record.rank_limit,
        "notes": found.notes,
    }
    if found.gradients is not None:
        summary["clip_gradients"] = {
            "loss": _plain(found.gradients.loss),
            "pearson": {pair_name(pair): _plain(item.pearson_all) for pair, item in found.gradients.pairs.items()},
            "cosine": {pair_name(pair): _plain(item.cosine_all) for pair, item in found.gradients.pairs.items()},
        }
    if found.training is not None:
        summary["training"] = {"start": found.training.start, "steps": len(found.training.loss)}
    return summary


def _plain(value: float) -> float | str | None:
    """A number that JSON can hold: infinity in words, NaN as null."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def _write_arrays(path: Path, found: Inspection) -> None:
    arrays = found.record.arrays()
    for part in (found.gradients, found.training):
        arrays |= {} if part is None else part.arrays()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with atomic(path) as target:
        target.write_bytes(buffer.getbuffer())


def _by_frame(record: ClipRecord) -> tuple[list[str], list[list[Any]]]:
    columns: dict[str, Sequence[float]] = {}
    seconds = [i / record.fps if record.fps else math.nan for i in range(record.frames)]
    by_object: dict[str, np.ndarray | None] = {
        **{f"{gate.name}_{part}": getattr(gate, part) for gate in record.gates for part in ("mean", "bottom", "top")},
        "frobenius": record.frobenius,
        "spectral": record.spectral,
        "effective_rank": record.effective_rank,
        "readout_norm": record.readout_norm,
        "area_px": record.areas,
    }
    for name, values in by_object.items():
        if values is None:
            continue
        for place in range(values.shape[1]):
            shared = values.shape[1] == 1 and (name != "area_px")
            columns[name if shared else f"{name}_{record.structures[place]}"] = values[:, place].tolist()
    columns["state_bytes"] = record.state_bytes.tolist()
    rows = [[i, _cell(seconds[i]), *(_cell(values[i]) for values in columns.values())] for i in range(record.frames)]
    return ["frame", "seconds", *columns], rows


def _by_step(training: TrainingGradients) -> tuple[list[str], list[list[Any]]]:
    columns: Mapping[str, np.ndarray] = {
        "loss": training.loss,
        **{f"gradient_norm_{name}": values for name, values in training.norms.items()},
        **{f"pearson_{a}_{b}": values for (a, b), values in training.pearson.items()},
        **{f"cosine_{a}_{b}": values for (a, b), values in training.cosine.items()},
    }
    rows = [[i + 1, *(_cell(values[i]) for values in columns.values())] for i in range(len(training.loss))]
    return ["step", *columns], rows


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
