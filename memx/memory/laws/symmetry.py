"""Laws about what does not see each other: items of a batch, objects, heads."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from memx.memory.base import Tokens
from memx.memory.laws.case import BrokenLawError, Case, Factory, NotApplicableError
from memx.memory.laws.outcome import all_forms, compare, outcome, scan
from memx.memory.state import State


def batch_items_are_apart(factory: Factory, case: Case) -> None:
    """Each item of a batch gives what it gives alone, gradients included, whatever the others hold, NaN included.

    The final state is compared by what a further clip reads from it: mechanisms may lay out a batch of states together.
    """
    if case.batch < 2:
        raise NotApplicableError("company needs two items of a batch")
    memory = case.memory(factory)
    clip, state, after = case.clip(), case.state(memory), replace(case, resets=False).clip(frames=2, salt=3)
    for form in all_forms(memory):
        for i in range(case.batch):
            item = slice(i, i + 1)

            def of_item(c: Tokens, s: State, item: slice = item, form: str = form) -> tuple[Tensor, State]:
                out, s = memory.scan(c, s, form=form)
                more, _ = memory.scan(after if len(out) == case.batch else after[item], s, form=form)
                mine = item if len(out) == case.batch else slice(None)
                return torch.cat([out, more], dim=1)[mine], State()

            want = outcome(of_item, memory, clip[item], state[item])
            others = torch.arange(case.batch) != i
            spoilt = clip.map(
                lambda x, others=others: x.masked_fill(others.view(-1, *[1] * (x.ndim - 1)), float("nan"))
            )
            for company in (clip, spoilt):
                got = outcome(of_item, memory, company, state)
                batched = [n for n in got if n.startswith("gradient to ") and "to parameter" not in n]
                mine = got | {name: got[name][item] for name in batched}
                compare(mine, want, f"form {form}, item {i} in company", case)
                for name in batched:
                    if got[name][others].any():
                        raise BrokenLawError(f"form {form}: item {i} has a {name} of other items", case)


def objects_permute(factory: Factory, case: Case) -> None:
    """Permuting the objects, in tokens and state, permutes readouts, final state and gradients."""
    if case.objects < 2:
        raise NotApplicableError("a permutation needs two objects")
    memory = case.memory(factory)
    clip, state, order = case.clip(), case.state(memory), torch.arange(case.objects).roll(1)
    one, two = (memory.init_state(case.batch, objects).tensors() for objects in (1, 2))
    axes = {name: _differing_axis(one[name], two[name]) for name in one}
    for form in all_forms(memory):

        def moved(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            out, s = memory.scan(c.replace(value=c.value[:, :, order]), _permuted(s, axes, order), form=form)
            return out[:, :, order.argsort()], _permuted(s, axes, order.argsort())

        want = outcome(scan(memory, form), memory, clip, state)
        compare(outcome(moved, memory, clip, state), want, f"form {form}, objects permuted", case)


def heads_permute(factory: Factory, case: Case) -> None:
    """Permuting the heads, in values, state and parameters, permutes readouts, final state and gradients."""
    memory = case.memory(factory)
    heads = memory.value_heads
    if heads < 2:
        raise NotApplicableError("it has no heads over the value channels")
    if {heads, case.value_dim} & {case.key_dim, case.feature_dim}:
        raise NotApplicableError("the sizes of the case do not tell heads from other channels")
    order = torch.arange(heads).roll(1)
    channels = torch.arange(case.value_dim).view(heads, -1)[order].flatten()
    back = channels.argsort()
    one = memory.init_state(case.batch, case.objects).tensors()
    two = replace(case, value_dim=2 * case.value_dim).memory(factory).init_state(case.batch, case.objects).tensors()
    axes = {name: _differing_axis(one[name], two[name]) for name in one}
    more = memory.init_state(case.batch, case.objects + 1).tensors()
    apart: dict[str, int | None] = {}
    for name, x in one.items():
        fixed = {0, axes[name], _differing_axis(x, more[name])}
        like = [axis for axis, size in enumerate(x.shape) if axis not in fixed and size in (heads, case.value_dim)]
        if like and (axes[name] is not None or len(like) > 1):
            raise NotApplicableError("the sizes of the case do not tell heads from other channels")
        apart[name] = like[0] if like else None

    def of_heads(parameter: Tensor, channels: Tensor, order: Tensor) -> Tensor:
        for axis, size in enumerate(parameter.shape):
            if size in (heads, case.value_dim):
                parameter = parameter.index_select(axis, channels if size == case.value_dim else order)
        return parameter

    clip, state, other = case.clip(), case.state(memory), case.memory(factory)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(of_heads(parameter, channels, order))
    for form in all_forms(memory):

        def moved(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            s = _permuted(_permuted(s, axes, channels), apart, order)
            out, s = other.scan(c.replace(value=c.value[..., channels]), s, form=form)
            return out[..., back], _permuted(_permuted(s, axes, back), apart, order.argsort())

        want = outcome(scan(memory, form), memory, clip, state)
        got = outcome(moved, other, clip, state)
        got = {n: of_heads(x, back, order.argsort()) if "to parameter" in n else x for n, x in got.items()}
        compare(got, want, f"form {form}, heads permuted", case)


def _differing_axis(one: Tensor, other: Tensor) -> int | None:
    """The axis along which two tensors of the same rank differ in size; None where there is none."""
    axes = [axis for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b]
    return axes[0] if axes else None


def _permuted(state: State, axes: dict[str, int | None], order: Tensor) -> State:
    """The state with each tensor reordered along its axis, if it has one."""
    flat = state.tensors()
    return State.from_tensors(
        {name: x if (axis := axes[name]) is None else x.index_select(axis, order) for name, x in flat.items()}
    )
