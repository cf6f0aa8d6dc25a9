"""Laws about the ways to scan a clip: whole, in another form, cut in two, not at all."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from memx.memory.base import Tokens, fold
from memx.memory.laws.case import BrokenLawError, Case, Factory
from memx.memory.laws.outcome import all_forms, compare, outcome, scan
from memx.memory.state import State


def forms_equal_the_fold(factory: Factory, case: Case) -> None:
    """Every form of `scan` equals the fold of write and read: readouts, final state and every gradient."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
    for form in all_forms(memory):
        compare(outcome(scan(memory, form), memory, clip, state), want, f"form {form} against the fold", case)
    if not case.warm:
        got = {"readouts": memory.scan(clip)[0].detach()}
        compare(got, {"readouts": want["readouts"]}, "scan without a state against the fold", case)


def runs_repeat(factory: Factory, case: Case) -> None:
    """Two runs of one case give the same: nothing is random, and nothing is remembered outside the state."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    for form in all_forms(memory):
        first = outcome(scan(memory, form), memory, clip, state)
        second = outcome(scan(memory, form), memory, clip, state)
        compare(second, first, f"not deterministic: form {form}, the second of two identical runs", case)


def splits_do_not_matter(factory: Factory, case: Case) -> None:
    """A clip cut in two, the state carried over, gives what the whole gives, gradients included."""
    memory = case.memory(factory)
    clip, state, cut = case.clip(), case.state(memory), min(case.split, case.frames)
    for form in all_forms(memory):

        def halves(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            first, s = memory.scan(c.slice(0, cut), s, form=form)
            second, s = memory.scan(c.slice(cut, case.frames), s, form=form)
            return torch.cat([first, second], 1), s

        want = outcome(scan(memory, form), memory, clip, state)
        compare(outcome(halves, memory, clip, state), want, f"form {form} cut after {cut}", case)


def no_frames_change_nothing(factory: Factory, case: Case) -> None:
    """A clip of no frames gives no readouts and the state that it was given; readouts have the values' dtype."""
    memory = case.memory(factory)
    state = case.state(memory)
    for form in all_forms(memory):
        out, final = memory.scan(case.clip(frames=0), state, form=form)
        if out.shape != (case.batch, 0, case.objects, case.tokens, case.value_dim):
            raise BrokenLawError(f"form {form}: no frames give readouts of shape {tuple(out.shape)}", case)
        before, after = state.tensors(), final.tensors()
        if before.keys() != after.keys() or any(not torch.equal(after[name], x) for name, x in before.items()):
            raise BrokenLawError(f"form {form}: no frames change the state", case)
        dtype = memory.scan(replace(case, frames=1).clip(), state, form=form)[0].dtype
        if dtype != torch.float64:
            raise BrokenLawError(f"form {form}: values of float64 give readouts of {dtype}", case)
