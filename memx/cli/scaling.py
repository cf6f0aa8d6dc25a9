"""How memories scale, on the terminal and in files: `memx profile --scaling`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.table import Table

from memx.cli.plain import mib, plain_table
from memx.errors import UserError
from memx.files import atomic, write_text
from memx.memory.base import Memory
from memx.models.base import VideoModel
from memx.models.padding import padded_size
from memx.profile.scaling import UNITS, Axis, Facts, Make, Point
from memx.recipe import Recipe
from memx.registry import Part, memories
from memx.report.scaling_figures import Growth, growth


def facts_of(recipe: Recipe, model: VideoModel, device: str) -> Facts:
    """What the recipe's model tells its memory. Raises UserError for a model without one."""
    memory, stride = getattr(model, "memory", None), getattr(model, "stride", None)
    options = recipe.dump()["model"]
    if not isinstance(memory, Memory) or stride is None:
        raise UserError(f"{recipe.name}: model {options['type']} has no memory of its own to scale")
    height, width = padded_size(recipe.data.size, stride)
    return Facts(
        options["key_dim"],
        options["value_dim"],
        options["pixel_dim"],
        (height // stride, width // stride),
        recipe.objects,
        device,
    )


def memories_of(recipe: Recipe, beside: Sequence[str]) -> dict[str, Make]:
    """The recipe's memory with its options, and those named with their defaults."""
    own = recipe.dump()["model"]["memory"]
    parts = {own["type"]: Part("memory", own["type"], {name: value for name, value in own.items() if name != "type"})}
    for name in beside:
        parts.setdefault(memories[name].name, Part("memory", name))
    return {name: _maker(part) for name, part in parts.items()}


def _maker(part: Part) -> Make:
    return lambda facts: part(key_dim=facts.key_dim, value_dim=facts.value_dim, feature_dim=facts.feature_dim)


def scaling_pieces(grown: Mapping[Axis, Sequence[Point]]) -> Iterator[str | Table]:
    """A table an axis."""
    for axis, points in grown.items():
        table = plain_table(f"memory against {UNITS[axis]}")
        table.add_column("memory")
        for column in (UNITS[axis], "ms a frame", "over the first", "M MACs", "state"):
            table.add_column(column, justify="right")
        for point in points:
            first = next(item for item in points if item.memory == point.memory) is point
            table.add_row(
                point.memory if first else "",
                f"{point.at:,}",
                "not reached" if point.seconds is None else f"{1000 * point.seconds:,.3f}",
                "" if point.ratio is None else f"{point.ratio:,.2f} ×",
                "" if point.macs is None else f"{point.macs / 1e6:,.2f}",
                "" if point.state_bytes is None else mib(point.state_bytes),
            )
        yield ""
        yield table
        yield (
            "One streamed frame of the memory alone, batch 1: write and read. Places are timed in turns; "
            "the ratio is of frames in the same round."
        )


def write_scaling(folder: Path, axis: Axis, points: Sequence[Point]) -> None:
    """`scaling_<axis>.csv` and `scaling_<axis>.png`; what was not reached is empty in the table."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    write_text(folder / f"scaling_{axis}.csv", text.getvalue())
    names = dict.fromkeys(point.memory for point in points)
    reached = {name: [p for p in points if p.memory == name and p.seconds is not None] for name in names}
    quantities: dict[str, Callable[[Point], float]] = {
        "ms a frame": lambda point: 1000 * (point.seconds or 0.0),
        "state, KiB": lambda point: (point.state_bytes or 0) / 1024,
    }
    panels = {
        title: {name: Growth([p.at for p in points], [value(p) for p in points]) for name, points in reached.items()}
        for title, value in quantities.items()
    }
    with atomic(folder / f"scaling_{axis}.png") as part:
        part.write_bytes(growth(panels, axis=UNITS[axis], format="png"))
