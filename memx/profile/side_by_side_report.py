"""What `memx bench recipes` prints and writes: tables, JSON, CSV, the figure and one HTML page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memx.engine.manifest import environment
from memx.files import atomic, write_text
from memx.profile.run_dice import Dice
from memx.profile.side_by_side import PLACES, SEEN, Measured, SideBySide
from memx.profile.side_by_side_words import count, dice_words, how, network_table, notes, remarks, speed_table
from memx.profile.timing import Quantiles
from memx.report import html
from memx.report.bubble_figure import Bubble, bubbles
from memx.report.sections import facts_section


def record(found: SideBySide) -> dict[str, Any]:
    """Everything as plain data for JSON, every sample with it; times in milliseconds."""
    return {
        "settings": {
            **asdict(found.settings),
            "device": found.device,
            "batch": 1,
            "frames_seen": SEEN,
            "baseline": found.baseline,
        },
        "recipes": [_row(item) for item in found.rows],
        "remarks": list(remarks(found)),
        "environment": environment(),
    }


def as_json(found: dict[str, Any]) -> str:
    """A record as text."""
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(found: SideBySide) -> str:
    """A recipe a row; what there is not is empty."""
    text = io.StringIO()
    rows = [_flat(item) for item in found.rows]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def render(found: SideBySide) -> RenderableType:
    """Two tables, networks and speed, with the lines that say how the figures were taken."""
    return Group(
        Text(f"{count(len(found.rows), 'network')} in turns, {how(found)}"),
        "",
        _rich("networks", *network_table(found)),
        "",
        _rich("speed", *speed_table(found)),
        *(Text(line) for line in [*notes(found), *remarks(found)]),
    )


def write(found: SideBySide, folder: Path) -> Path:
    """Write `bench.json`, `bench.csv`, `bench.png` and `report.html`, whose path is returned.

    Where no network has a time there is no figure.
    """
    data = record(found)
    write_text(folder / "bench.json", as_json(data))
    write_text(folder / "bench.csv", as_csv(found))
    drawn = figure_points(found)
    sections: list[html.Section] = []
    if drawn:
        draw = partial(bubbles, drawn, quantity=_quantity(found), source=_source(found))
        with atomic(folder / "bench.png") as part:
            part.write_bytes(draw(format="png"))
        sections.append(_figure(found, draw))
    else:  # an earlier one's
        (folder / "bench.png").unlink(missing_ok=True)
    notes_below = " ".join([*notes(found), *remarks(found)])
    sections += [
        html.Table("Speed", *speed_table(found), notes_below),
        html.Table("Networks", *network_table(found)),
        facts_section("Environment", data["environment"]),
        html.Data("bench", data),
    ]
    title = f"{count(len(found.rows), 'network')} side by side"
    return html.write_report(folder / "report.html", html.Report(title, sections, _sentence(how(found))))


def figure_points(found: SideBySide) -> list[Bubble]:
    """What can be drawn: the networks that have a time."""
    points: list[Bubble] = []
    for item in found.rows:
        if item.fps is None:
            continue
        dice = item.entry.dice
        known = isinstance(dice, Dice)
        points.append(
            Bubble(
                item.entry.label,
                item.fps,
                item.parameters,
                item.memory,
                dice.mean if known else None,
                dice.interval if known else None,
                "validation" if known and dice.split == "val" else "",
            )
        )
    return points


def _figure(found: SideBySide, draw: partial[bytes]) -> html.Figure:
    alt = "; ".join(
        f"{item.entry.label}: {item.fps:.1f} frames a second, {item.parameters:,} parameters, Dice {dice_words(item)}"
        for item in found.rows
        if item.fps is not None
    )
    return html.Figure.drawn("Speed, Dice and size", partial(draw, format="svg"), alt)


def _source(found: SideBySide) -> str:
    """The line below the figure."""
    dice = [item.entry.dice for item in found.rows if isinstance(item.entry.dice, Dice)]
    parts = [how(found)]
    if any(item.interval for item in dice):
        parts.append("bars: interval of the Dice over patients")
    if len({item.data for item in dice}) > 1:
        parts.append("these Dice are of different data sets, which do not compare")
    return "; ".join(parts)


def _quantity(found: SideBySide) -> str:
    """What the axis of Dice is called: by protocol and split, as far as all agree."""
    scored = [item.entry.dice for item in found.rows if isinstance(item.entry.dice, Dice)]
    titles = list(dict.fromkeys(dice.title for dice in scored))
    splits = {dice.split for dice in scored}
    words = {"test": "test patients", "val": "validation patients"}
    suffix = f", {words[splits.pop()]}" if len(splits) == 1 else ""
    return " or ".join(titles or ["Dice"]) + suffix


def _row(item: Measured) -> dict[str, Any]:
    dice = item.entry.dice
    known = isinstance(dice, Dice)
    return {
        "name": item.entry.label,
        "source": item.entry.source,
        "recipe": item.entry.recipe.name,
        "hash": item.entry.recipe.hash,
        "memory": item.memory,
        "parameters": item.parameters,
        "size": list(item.size),
        "objects": item.entry.recipe.objects,
        "precision": item.precision,
        "macs": item.macs,
        "fps": item.fps,
        "ms": _milliseconds(item.times),
        "first_ms": 1000 * item.first,
        "ratio": None if not item.ratios else asdict(Quantiles.of(item.ratios)),
        "peak_bytes": item.peak_bytes,
        "state_bytes": {str(place): item.state_bytes.get(place) for place in PLACES},
        "dice": dice.as_dict() if known else None,
        "no_dice": None if known else dice.reason,
        "samples_ms": [1000 * seconds for seconds in item.seconds],
    }


def _flat(item: Measured) -> dict[str, Any]:
    row = _row(item)
    times, dice = row.pop("ms") or {}, row.pop("dice") or {}
    low, high = dice.get("interval") or (None, None)
    states, ratio = row.pop("state_bytes"), row.pop("ratio") or {}
    size = row.pop("size")
    for key in ("samples_ms", "no_dice"):
        del row[key]
    return {
        **row,
        "height": size[0],
        "width": size[1],
        "n": times.get("count", 0),
        "ms_median": times.get("median"),
        "ms_p95": times.get("p95"),
        "ratio_median": ratio.get("median"),
        **{f"state_bytes_{place}": size for place, size in states.items()},
        "dice": dice.get("mean"),
        "dice_low": low,
        "dice_high": high,
        "dice_split": dice.get("split"),
        "dice_title": dice.get("title"),
    }


def _milliseconds(times: Quantiles | None) -> dict[str, float] | None:
    if times is None:
        return None
    return {name: value if name == "count" else 1000 * value for name, value in asdict(times).items()}


def _rich(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    words = ("recipe", "hash", "memory", "Dice")
    for head in heads:
        table.add_column(head, justify="left" if head in words else "right", no_wrap=head in words[:3], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
