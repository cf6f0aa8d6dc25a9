"""Laws about time: what comes later does not touch what came before, and a reset cuts the two apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from memx.memory.base import Tokens
from memx.memory.laws.case import BrokenLawError, Case, Factory, NotApplicableError
from memx.memory.laws.outcome import all_forms, compare, outcome, tensors_of
from memx.memory.state import State


def the_future_leaves_the_past(factory: Factory, case: Case) -> None:
    """Changing, cutting or poisoning later frames leaves earlier readouts and their gradients as they were."""
    cut = min(case.split, case.frames - 1)
    if cut < 1:
        raise NotApplicableError("the case has no frame before the cut")
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    other = case.clip(salt=2)

    def swapped(part: str, value: Callable[[Tensor], Tensor]) -> Tokens:
        named = tensors_of(clip)
        x = named[part]
        return clip.replace(**{part: torch.cat([x[:, :cut], value(tensors_of(other)[part][:, cut:])], 1)})

    futures = {f"{part} changed": swapped(part, lambda x: x) for part in tensors_of(clip)}
    for bad in (float("nan"), float("inf"), float("-inf")):
        futures |= {
            f"{part} {bad}": swapped(part, lambda x, bad=bad: torch.full_like(x, bad)) for part in tensors_of(clip)
        }

    for form in all_forms(memory):

        def past(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            return memory.scan(c, s, form=form)[0][:, :cut], State()

        def of_past(results: dict[str, Tensor]) -> dict[str, Tensor]:
            tokens = {f"gradient to {name}" for name in tensors_of(clip)}
            return {name: x[:, :cut] if name in tokens else x for name, x in results.items()}

        want = of_past(outcome(past, memory, clip.slice(0, cut), state))
        compare(of_past(outcome(past, memory, clip, state)), want, f"form {form}, future cut", case)
        for name, future in futures.items():
            got = of_past(outcome(past, memory, future, state))
            compare(got, want, f"form {form}, future {name}", case)
        readouts, final = memory.scan(futures["value nan"].replace(reset=None), state, form=form)
        if torch.isfinite(readouts[:, cut:]).any() or any(
            torch.isfinite(x).any() for x in final.tensors().values() if x.is_floating_point()
        ):
            raise BrokenLawError(f"form {form}: a NaN value leaves readouts or a state after it finite", case)


def a_reset_starts_afresh(factory: Factory, case: Case) -> None:
    """From a reset on, readouts and state are those of an empty memory, even after NaN; no gradient crosses it."""
    if case.frames < 1:
        raise NotApplicableError("the case has no frames")
    memory = case.memory(factory)
    clip, state, at = replace(case, resets=False).clip(), case.state(memory), min(case.split, case.frames - 1)
    empty = memory.init_state(case.batch, case.objects, dtype=torch.float64)
    reset = torch.zeros(case.batch, case.frames, dtype=torch.bool)
    reset[:, at] = True
    rest = clip.slice(at, case.frames)
    spoilt_state = state.map(lambda x: torch.full_like(x, float("nan")) if x.is_floating_point() else x)
    spoilt_clip = clip.map(lambda x: torch.cat([torch.full_like(x[:, :at], float("nan")), x[:, at:]], 1))
    for form in all_forms(memory):

        def after(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            out, s = memory.scan(c.replace(reset=reset), s, form=form)
            return out[:, at:], s

        want = outcome(lambda c, _, form=form: memory.scan(c, form=form), memory, rest, empty)
        for label, tokens, start in (("", clip, state), (" after NaN", spoilt_clip, spoilt_state)):
            got = outcome(after, memory, tokens, start)
            inside = {}
            for name, x in got.items():
                if name.startswith("gradient to initial state"):
                    outside = x
                elif name.removeprefix("gradient to ") in tensors_of(clip):
                    outside, inside[name] = x[:, :at], x[:, at:]
                else:
                    inside[name] = x
                    continue
                if size := outside.abs().max().item() if outside.numel() else 0:
                    what = f"form {form}{label}: {name} of {size:.3g} crosses a reset in frame {at}"
                    raise BrokenLawError(what, case)
            expected = {name: x for name, x in want.items() if name in inside}
            compare(inside, expected, f"form {form}{label}, from a reset in frame {at} on", case)
    frame = rest.frame(0)
    heeded, fresh = (
        {f"state {name}": x.detach() for name, x in memory.write(start, tokens).tensors().items()}
        for start, tokens in ((state, frame.replace(reset=reset[:, at])), (empty, frame))
    )
    compare(heeded, fresh, "write of a frame with a reset", case)


def resets_cut_a_clip(factory: Factory, case: Case) -> None:
    """Between resets, wherever they fall, each item reads what that stretch reads alone, gradients included.

    In the case's own resets; where it has none, in a reset of every frame.
    """
    if case.frames < 1:
        raise NotApplicableError("the case has no frames")
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    reset = torch.ones(case.batch, case.frames, dtype=torch.bool) if clip.reset is None else clip.reset
    where = "with a reset in every frame" if reset.all() else "between resets"
    for form in all_forms(memory):

        def cut(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            return memory.scan(c.replace(reset=reset), s, form=form)[0], State()

        def stretches(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            c = c.replace(reset=None)
            items = []
            for i, at in enumerate(reset):
                item, starts = slice(i, i + 1), [int(t) for t in at.nonzero().flatten()]
                bounds = [*sorted({0, *starts}), case.frames]
                pieces = [
                    memory.scan(c[item].slice(first, last), None if first in starts else s[item], form=form)[0]
                    for first, last in pairwise(bounds)
                ]
                items.append(torch.cat(pieces, 1))
            return torch.cat(items), State()

        want = outcome(stretches, memory, clip, state)
        compare(outcome(cut, memory, clip, state), want, f"form {form}, {where}", case)
