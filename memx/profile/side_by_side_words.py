"""The words about networks measured side by side: cells of tables, how figures were taken, what does not compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memx.profile.run_dice import Dice
from memx.profile.side_by_side import PLACES, SEEN, Measured, SideBySide

NOTHING = "–"
Cells = tuple[list[str], list[list[str]]]
"""Heads of columns, and rows."""


def how(found: SideBySide) -> str:
    """Device, precision and what was timed, in one line."""
    precisions = list(dict.fromkeys(item.precision for item in found.rows))
    rounds = max((len(item.seconds) for item in found.rows), default=0)
    words = precisions[0] if len(precisions) == 1 else " or ".join(precisions) + ", as each recipe says"
    taken = f"streamed, batch 1, not optimised, after {SEEN} frames, {count(rounds, 'round')}"
    return f"{words} on {found.device}; {taken}"


def network_table(found: SideBySide) -> Cells:
    """Heads and rows: what each network is."""
    heads = ["recipe", "hash", "memory", "M params", "frame", "M MACs", "Dice"]
    rows = [
        [
            item.entry.label,
            item.entry.recipe.hash,
            item.memory,
            f"{item.parameters / 1e6:,.2f}",
            _frame(item),
            f"{item.macs / 1e6:,.2f}",
            dice_words(item),
        ]
        for item in found.rows
    ]
    return heads, rows


def speed_table(found: SideBySide) -> Cells:
    """Heads and rows: how fast each is, and what it holds."""
    heads = ["recipe", "ms", "p95", "FPS", "over base", "peak MiB", *(f"KiB at {place}" for place in PLACES)]
    rows = [
        [
            item.entry.label,
            _or(item.times and f"{1000 * item.times.median:,.2f}"),
            _or(item.times and f"{1000 * item.times.p95:,.2f}"),
            _or(item.fps and f"{item.fps:,.1f}"),
            _or(item.ratio and f"{item.ratio:.2f} ×"),
            _or(None if item.peak_bytes is None else f"{item.peak_bytes / 2**20:,.2f}"),
            *(_or(item.state_bytes.get(place) and f"{item.state_bytes[place] / 2**10:,.1f}") for place in PLACES),
        ]
        for item in found.rows
    ]
    return heads, rows


def dice_words(item: Measured) -> str:
    """`0.912 (0.903–0.921), test`, or a dash."""
    dice = item.entry.dice
    if not isinstance(dice, Dice):
        return NOTHING
    interval = "" if dice.interval is None else f" ({dice.interval[0]:.3f}–{dice.interval[1]:.3f})"
    return f"{dice.mean:.3f}{interval}, {'test' if dice.split == 'test' else 'validation'}"


def notes(found: SideBySide) -> Iterator[str]:
    """How the figures were taken."""
    yield (
        "M MACs, ms and FPS are of one streamed frame. Every round times one frame of each network, with fresh weights "
        "on random frames; the device is waited for. "
        f"Over base: median over the rounds of its time over that of {found.baseline} in the same round."
    )
    yield (
        "Peak: tensors alive at once in that frame beyond input and weights. "
        f"KiB at {' and '.join(map(str, PLACES))}: the state after so many frames."
    )


def remarks(found: SideBySide) -> Iterator[str]:
    """What keeps figures of different rows from being compared, or is missing, and why."""
    budget = f"{found.settings.budget:g} s"
    for item in found.rows:
        if not item.seconds:
            yield f"{item.entry.label} was not timed: its first frame took {item.first:.2f} s, the budget is {budget}."
    rounds = max(len(item.seconds) for item in found.rows)
    if fewer := [f"{item.entry.label} {len(item.seconds)}" for item in found.rows if 0 < len(item.seconds) < rounds]:
        yield f"Fewer frames than {rounds} were timed within the budget of {budget}: {', '.join(fewer)}."
    if late := [item.entry.label for item in found.rows if PLACES[-1] not in item.state_bytes]:
        yield f"Frame {PLACES[-1]} was not reached within the budget of {budget} by {', '.join(late)}."
    twins: dict[str, list[str]] = {}
    for item in found.rows:
        twins.setdefault(item.entry.recipe.hash, []).append(item.entry.label)
    for labels in twins.values():
        if len(labels) > 1:
            yield f"{', '.join(labels)} have one hash: how their times differ is the noise of this measurement."
    yield from _dice_remarks(found)


def _dice_remarks(found: SideBySide) -> Iterator[str]:
    scored = [(item, item.entry.dice) for item in found.rows if isinstance(item.entry.dice, Dice)]
    for item in found.rows:
        if not isinstance(item.entry.dice, Dice) and item.entry.dice.reason not in ("not trained", "not scored"):
            yield f"No Dice for {item.entry.label}: {item.entry.dice.reason}."
    if levels := {dice.level for _, dice in scored if dice.interval is not None and dice.level is not None}:
        shown = " or ".join(f"{level:.0%}" for level in sorted(levels))
        yield f"Dice: means over masks, {shown} interval over patients."
    if chosen := [item.entry.label for item, dice in scored if dice.split == "val"]:
        yield f"Validation Dice is of the patients that chose the weights, and flatters: {', '.join(chosen)}."
    titles = {dice.title for _, dice in scored}
    for title in sorted(titles - {"Dice"}):
        yield f"{title} instead of Dice: {_those(item for item, dice in scored if dice.title == title)}."
    if len(titles) > 1:
        yield "Dice by different protocols do not compare."
    if len({dice.data for _, dice in scored}) > 1:
        yield "These Dice are of different data sets, which do not compare."
    if resized := [item for item, _ in scored if item.size != item.entry.recipe.data.size]:
        yield f"Timed at another size of frames than the Dice was taken at: {_those(resized)}."


def _frame(item: Measured) -> str:
    objects = item.entry.recipe.objects
    return f"{item.size[0]} × {item.size[1]}" + (f", {objects} objects" if objects > 1 else "")


def _those(items: Iterable[Measured]) -> str:
    return ", ".join(item.entry.label for item in items)


def _or(words: str | float | None) -> str:
    return str(words) if words else NOTHING


def count(number: int, noun: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
