"""How memories and whole networks scale, on the terminal: `memx profile --scaling`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.table import Table

from memx.cli.plain import mib, plain_table
from memx.errors import UserError
from memx.memory.base import Memory
from memx.models.base import VideoModel
from memx.models.build import build
from memx.models.padding import padded_size
from memx.profile.endurance import NetworkPoint, Scene, endure
from memx.profile.scaling import PLACES, UNITS, Axis, Facts, Make, Point, scale
from memx.profile.verdicts import Scaling
from memx.recipe import Recipe
from memx.registry import Part, memories


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


def networks_of(recipe: Recipe, model: VideoModel, beside: Sequence[str]) -> dict[str, Callable[[], VideoModel]]:
    """The recipe's network, and the same one with each of these memories instead, with fresh weights."""
    made: dict[str, Callable[[], VideoModel]] = {recipe.dump()["model"]["memory"]["type"]: lambda: model}
    for name in beside:
        other = Recipe.from_dict(recipe.dump(), [f"model.memory={memories[name].name}"])
        made.setdefault(memories[name].name, partial(build, other))
    return made


def run_scaling(
    recipe: Recipe,
    model: VideoModel,
    axes: Sequence[Axis],
    *,
    beside: Sequence[str],
    places: Sequence[int] | None,
    budget: float,
    device: str,
    precision: str | None,
) -> list[Scaling]:
    """Stream the memories alone and whole networks along each axis; the axis `state` is of memories alone."""
    if not axes:
        return []
    facts, alone, whole = (
        facts_of(recipe, model, device),
        memories_of(recipe, beside),
        networks_of(recipe, model, beside),
    )
    scene = Scene(recipe.data.channels, recipe.data.size, recipe.objects, device, precision or recipe.train.precision)
    found: list[Scaling] = []
    for axis in axes:
        at = sorted(set(places or PLACES[axis]))
        points = list(scale(alone, facts, axis, at, budget=budget))
        networks = [] if axis == "state" else list(endure(whole, scene, axis, at, budget=budget))
        found.append(Scaling(axis, points, networks))
    return found


def scaling_pieces(scalings: Sequence[Scaling]) -> Iterator[str | Table]:
    """A table an axis of the networks and one of the memories, each with a sentence a memory below."""
    for item in scalings:
        said = item.sentences()
        if item.networks:
            yield ""
            yield network_table(item)
            yield (
                "One streamed frame of the whole network, batch 1. A place is timed in turns with the first; "
                "resident: what the process holds."
            )
            yield from said["networks"]
        yield ""
        yield memory_table(item)
        yield (
            "One streamed frame of the memory alone, batch 1: write and read. Places are timed in turns; "
            "the ratio is of frames in the same round."
        )
        yield from said["memories"]


def network_table(found: Scaling) -> Table:
    """A network and place a row: time, ratio to the first, state, and what process and device hold."""
    table = plain_table(f"network against {UNITS[found.axis]}")
    table.add_column("network with")
    device = any(point.allocated_bytes is not None for point in found.networks)
    for column in (UNITS[found.axis], "ms a frame", "over the first", "state", "resident", *["on the device"] * device):
        table.add_column(column, justify="right")
    for point, name in zip(found.networks, _once(found.networks), strict=True):
        held = [point.resident_bytes, *[point.allocated_bytes] * device]
        table.add_row(
            name,
            f"{point.at:,}",
            "not reached" if point.seconds is None else f"{1000 * point.seconds:,.3f}",
            "" if point.ratio is None else f"{point.ratio:,.2f} ×",
            *("" if count is None else mib(count) for count in (point.state_bytes, *held)),
        )
    return table


def memory_table(found: Scaling) -> Table:
    """A memory and place a row."""
    table = plain_table(f"memory against {UNITS[found.axis]}")
    table.add_column("memory")
    for column in (UNITS[found.axis], "ms a frame", "over the first", "M MACs", "state"):
        table.add_column(column, justify="right")
    for point, name in zip(found.memories, _once(found.memories), strict=True):
        table.add_row(
            name,
            f"{point.at:,}",
            "not reached" if point.seconds is None else f"{1000 * point.seconds:,.3f}",
            "" if point.ratio is None else f"{point.ratio:,.2f} ×",
            "" if point.macs is None else f"{point.macs / 1e6:,.2f}",
            "" if point.state_bytes is None else mib(point.state_bytes),
        )
    return table


def _once(points: Sequence[Point] | Sequence[NetworkPoint]) -> Iterator[str]:
    """The memory of each point, where it is another than the one before's."""
    before = ""
    for point in points:
        yield "" if point.memory == before else point.memory
        before = point.memory
