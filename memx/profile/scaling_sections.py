"""What a profile's page shows of growth: one axis, whole networks and memories alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from memx.profile.drawing import Drawing
from memx.profile.endurance import NetworkPoint
from memx.profile.scaling import UNITS, Axis, Point
from memx.profile.verdicts import WITHIN, Scaling, verdicts
from memx.report.html import Section, Table, Tile, Tiles
from memx.report.scaling_figures import Growth, growth
from memx.report.words import mib, times


def scaling_sections(found: Scaling) -> Iterator[Section | Drawing]:
    """One axis: the networks' sentences, curves and table, then the memories'."""
    unit = UNITS[found.axis]
    if found.networks:
        yield verdict_tiles(f"Networks against {unit}", found.axis, found.networks)
        yield from _curves(f"scaling_{found.axis}_networks", "Networks", unit, found.networks, _OF_NETWORKS)
        yield _network_table(f"Networks against {unit}: figures", unit, found.networks)
    if found.memories:
        yield verdict_tiles(f"Memories alone against {unit}", found.axis, found.memories)
        yield from _curves(f"scaling_{found.axis}", "Memories alone", unit, found.memories, _OF_MEMORIES)
        yield _memory_table(f"Memories alone against {unit}: figures", unit, found.memories)


def verdict_tiles(title: str, axis: Axis, points: Sequence[Point] | Sequence[NetworkPoint]) -> Tiles:
    """A tile a memory: what was found, and the figures that say so."""
    tiles = [
        Tile(item.memory, item.found, "; ".join(filter(None, [item.facts, item.missed])))
        for item in verdicts(axis, points)
    ]
    return Tiles(title, tiles, _FLAT if axis == "frames" else "")


_FLAT = f"Flat: at most {WITHIN:.0%} more time and resident memory, and not a byte more state."
_OF_NETWORKS = (
    "One streamed frame of the whole network, batch 1. Each place is timed in turns with the first one, and the ratio "
    "is of frames in the same round. The curves of time are the first place's time times that ratio, so that the load "
    "of the machine at another time does not bend them. Resident memory is all that the process holds."
)
_OF_MEMORIES = (
    "One streamed frame of the memory alone, batch 1: write and read. Places are timed in turns, and the ratio is of "
    "frames in the same round; the curves of time are the first place's time times that ratio."
)


def _curves(
    name: str, kind: str, unit: str, points: Sequence[Point] | Sequence[NetworkPoint], note: str
) -> Iterator[Drawing]:
    """What grows, where anything was reached."""
    panels = growth_panels(points)
    if panels:
        memories = ", ".join(dict.fromkeys(point.memory for point in points))
        alt = f"Curves over {unit} of {memories}: {', '.join(panels)}"
        yield Drawing(name, f"{kind} against {unit}: curves", partial(growth, panels, axis=unit), alt, note, wide=True)


def growth_panels(points: Sequence[Point] | Sequence[NetworkPoint]) -> dict[str, dict[str, Growth]]:
    """What grows, a panel each: time, state, and what the process or the device holds; empty where nothing was
    reached. Time is that of the first place times the ratio."""
    first = {point.memory: 1000 * point.seconds for point in reversed(points) if point.seconds is not None}
    quantities = {
        "ms a frame": lambda p: None if p.ratio is None else first[p.memory] * p.ratio,
        "state, MiB": lambda p: None if p.state_bytes is None else p.state_bytes / 2**20,
        "resident memory, MiB": lambda p: _mebi(p, "resident_bytes"),
        "on the device, MiB": lambda p: _mebi(p, "allocated_bytes"),
    }
    panels: dict[str, dict[str, Growth]] = {}
    for title, value in quantities.items():
        lines: dict[str, tuple[list[int], list[float]]] = {}
        for point in points:
            found = value(point)
            if found:  # a state of no bytes has no place on a logarithmic axis
                places, values = lines.setdefault(point.memory, ([], []))
                places.append(point.at)
                values.append(found)
        if lines:
            panels[title] = {name: Growth(*line) for name, line in lines.items()}
    return panels


def _mebi(point: Point | NetworkPoint, name: str) -> float | None:
    count = getattr(point, name, None)
    return None if count is None else count / 2**20


def _network_table(title: str, unit: str, points: Sequence[NetworkPoint]) -> Table:
    device = any(point.allocated_bytes is not None for point in points)
    columns = ["Memory", unit.capitalize(), "ms a frame", "Over the first", "State", "Resident memory"]
    rows = [
        [
            point.memory,
            f"{point.at:,}",
            f"{1000 * point.seconds:,.3f}" if point.seconds is not None else "not reached\n" + point.missed,
            *(
                "–" if value is None else form(value)
                for value, form in ((point.ratio, times), (point.state_bytes, mib))
            ),
            "–" if point.resident_bytes is None else mib(point.resident_bytes),
            *(["–" if point.allocated_bytes is None else mib(point.allocated_bytes)] * device),
        ]
        for point in points
    ]
    return Table(title, columns + ["On the device"] * device, rows)


def _memory_table(title: str, unit: str, points: Sequence[Point]) -> Table:
    rows = [
        [
            point.memory,
            f"{point.at:,}",
            "not reached" if point.seconds is None else f"{1000 * point.seconds:,.3f}",
            "–" if point.ratio is None else times(point.ratio),
            "–" if point.macs is None else f"{point.macs / 1e6:,.2f}",
            "–" if point.state_bytes is None else mib(point.state_bytes),
        ]
        for point in points
    ]
    return Table(title, ["Memory", unit.capitalize(), "ms a frame", "Over the first", "M MACs", "State"], rows)
