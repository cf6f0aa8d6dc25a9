"""Which combinations of a space are possible: found out before any trial, not after hours."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from memx.engine.accelerator import refuse_precision
from memx.engine.dealing import Deal
from memx.engine.trackers import check_trackers
from memx.errors import UserError
from memx.models.build import build
from memx.recipe import Recipe
from memx.search.space import Choice, Node, Scalar, Space
from memx.search.variant import variant

MOST = 300
"""Combinations up to which all are tried; of a larger space every pair of values is."""

Assignment = Mapping[str, Scalar]


@dataclass(frozen=True)
class Impossible:
    """Combinations that are impossible for one reason.

    reason  the error's message
    common  the values that all of them share: what the reason hangs on
    count   how many
    """

    reason: str
    common: Assignment
    count: int

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.common.items())
        many = f"{self.count} combinations" if self.count > 1 else "1 combination"
        return f"  {values or 'no value in common'} ({many}): {self.reason}"


@dataclass(frozen=True)
class Checked:
    """What a check found: how many combinations were tried, of how many, and those that are impossible."""

    tried: int
    size: int
    impossible: tuple[Impossible, ...]

    @property
    def failed(self) -> int:
        return sum(item.count for item in self.impossible)


def check_space(
    recipe: Recipe,
    space: Space,
    assignments: Sequence[Assignment],
    device: str = "cpu",
    on_tried: Callable[[], object] = lambda: None,
) -> Checked:
    """Try combinations of a space (`combinations_to_try`); `on_tried` is called after each."""
    reasons: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        reason = why_impossible(recipe, values_of(space, assignment), device)
        if reason:
            reasons.setdefault(reason, []).append(assignment)
        on_tried()
    found = tuple(Impossible(reason, _common(items), len(items)) for reason, items in reasons.items())
    return Checked(len(assignments), space.size(), found)


def refuse_impossible(checked: Checked, *, skip: bool) -> str:
    """What is to be said of a space. Raises UserError where combinations are impossible and are not to be skipped.

    A space of which nothing that was tried is possible is refused in any case.
    """
    if not checked.impossible:
        return ""
    shown = [str(item) for item in checked.impossible[:10]]
    shown += [f"  … and {len(checked.impossible) - 10} more reasons"] if len(checked.impossible) > 10 else []
    of = f"{checked.failed} of {checked.tried} combinations tried"
    if not skip or checked.failed == checked.tried:
        remedy = (
            "Nothing is possible: mend the recipe, or its search.space"
            if checked.failed == checked.tried
            else "Take these values out of search.space, or write `impossible: skip` into `search:` to leave such "
            "combinations out"
        )
        raise UserError("\n".join([f"search.space: {of} are impossible:", *shown, f"{remedy}. No trial was begun."]))
    return "\n".join([f"{of} are impossible and are left out:", *shown])


def refuse_machine(recipe: Recipe, space: Space, device: str) -> None:
    """Raise UserError where no trial can be trained here, for a reason that is this machine's and not the trials'."""
    check_trackers(recipe.train.trackers)
    if "train.precision" not in space.paths:
        refuse_precision(recipe.train, device)


def why_impossible(recipe: Recipe, values: Mapping[str, object], device: str = "cpu") -> str:
    """The reason why a recipe with these values cannot be built, or not be trained on a device; empty where it can.

    The network is built on torch's meta device, which holds no numbers.
    """
    try:
        chosen = variant(recipe, values)
        Deal(chosen.train.batch, chosen.train.accumulate)
        refuse_precision(chosen.train, device)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            build(chosen)
    except (UserError, ValueError) as error:
        return " ".join(line.strip() for line in str(error).splitlines() if not line.endswith("in recipe:"))
    return ""


def values_of(space: Space, assignment: Assignment) -> dict[str, object]:
    """Path → plain data, for values of the parameters."""
    return space.resolve(lambda node: assignment[node.name])


def combinations_to_try(space: Space) -> list[Assignment]:
    """All combinations, or where there are more than MOST a set in which every pair of values that can meet does."""
    return list(space.combinations() if space.size() <= MOST else _with_every_pair(space))


def _with_every_pair(space: Space) -> Iterator[Assignment]:
    draw = random.Random(0)
    met: set[frozenset[tuple[str, Scalar]]] = set()
    examples = {node.name: _examples(node) for node in space.nodes()}
    names = list(examples)
    wanted = [
        ((a, x), (b, y)) for i, a in enumerate(names) for b in names[i + 1 :] for x in examples[a] for y in examples[b]
    ]
    for pair in wanted:
        if frozenset(pair) in met:
            continue
        assignment = _with(space, dict(pair), draw)
        met.add(frozenset(pair))  # also where the two cannot meet
        fresh = [frozenset(two) for two in _pairs(assignment)]
        if all(two in met for two in fresh) and not set(pair) <= set(assignment.items()):
            continue
        met.update(fresh)
        yield assignment


def _examples(node: Node) -> list[Scalar]:
    return node.labels() if isinstance(node, Choice) else node.examples()


def _with(space: Space, forced: dict[str, Scalar], draw: random.Random) -> dict[str, Scalar]:
    """A combination with these values where they can be had, and the rest drawn."""
    found: dict[str, Scalar] = {}

    def decide(node: Node) -> Scalar:
        options = _examples(node)
        # `model.memory[softmax].capacity` exists only under the choice `softmax`.
        leads = [label for label in options if any(name.startswith(f"{node.name}[{label}]") for name in forced)]
        value = forced.get(node.name, draw.choice(leads or options))
        found[node.name] = value
        return value

    space.resolve(decide)
    return found


def _pairs(assignment: Assignment) -> Iterator[tuple[tuple[str, Scalar], tuple[str, Scalar]]]:
    items = list(assignment.items())
    for i, one in enumerate(items):
        for two in items[i + 1 :]:
            yield one, two


def _common(items: list[Assignment]) -> Assignment:
    """The values that all share."""
    first, *rest = items
    return {name: value for name, value in first.items() if all(name in r and r[name] == value for r in rest)}
