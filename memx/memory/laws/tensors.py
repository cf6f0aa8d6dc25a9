"""Laws about tensors: they are not written to, may be strided, and survive a file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from memx.memory.base import Tokens, fold
from memx.memory.laws.case import BrokenLawError, Case, Factory
from memx.memory.laws.outcome import all_forms, compare, outcome, scan, tensors_of
from memx.memory.state import State, cat_batch


def inputs_are_not_changed(factory: Factory, case: Case) -> None:
    """Neither tokens nor the state nor parameters change under scan and its backward pass."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)

    def inputs() -> dict[str, Tensor]:
        held = {f"state {name}": x for name, x in state.tensors().items()}
        return tensors_of(clip) | held | {f"parameter {name}": x for name, x in memory.named_parameters()}

    kept = {name: (x._version, x.detach().clone()) for name, x in inputs().items()}

    def hold(by: str) -> None:
        for name, x in inputs().items():
            version, value = kept[name]
            if x._version != version or not torch.equal(value, x):
                raise BrokenLawError(f"{by}: {name} was changed in place", case)

    for form in ("write and read", *all_forms(memory)):
        direct = form == "write and read"
        by = form if direct else f"form {form}"
        for backward in (False, True):  # first without, since autograd's own errors name neither tensor nor cause
            with torch.set_grad_enabled(backward):
                leaves = clip.map(lambda x, backward=backward: x.requires_grad_(backward))
                out, _ = fold(memory, leaves, state) if direct else memory.scan(leaves, state, form=form)
                if out.requires_grad:
                    out.sum().backward()
            hold(by)


def strides_do_not_matter(factory: Factory, case: Case) -> None:
    """Non-contiguous tokens and states give what contiguous ones give."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)

    def scattered(x: Tensor) -> Tensor:
        wide = torch.stack([x, x], -1)[..., 0]
        return wide.transpose(0, -1).contiguous().transpose(0, -1) if x.numel() else wide

    def directly(c: Tokens, s: State) -> tuple[Tensor, State]:
        """Write and read as a caller may: `scan` lays its inputs out anew before it computes."""
        outputs = [c.value[:, :0]]
        for frame in c.frames():
            out, s = memory.step(s.map(scattered), frame.map(scattered))
            outputs.append(out.unsqueeze(1))
        return torch.cat(outputs, 1), s

    want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
    compare(outcome(directly, memory, clip, state), want, "write and read, strided", case)
    for form in all_forms(memory):
        run = scan(memory, form)
        want = outcome(run, memory, clip, state)
        got = outcome(lambda c, s, run=run: run(c.map(scattered), s.map(scattered)), memory, clip, state)
        compare(got, want, f"form {form}, strided", case)


def saving_is_exact(factory: Factory, case: Case) -> None:
    """A state and a memory that were saved and loaded go on exactly as if they had not been; so do joined batches."""
    memory = case.memory(factory)
    other = replace(case, seed=case.seed + 1).memory(factory)
    other.load_state_dict(memory.state_dict())
    clip, state = case.clip(), case.state(memory)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        state.save(path)
        loaded = State.load(path)
    joined = cat_batch([state[i : i + 1] for i in range(case.batch)])
    for form in all_forms(memory):
        want, final = memory.scan(clip, state, form=form)
        for label, start in (("loaded", loaded), ("joined", joined)):
            got, reached = other.scan(clip, start, form=form)
            ends, expected = reached.tensors(), final.tensors()
            same = ends.keys() == expected.keys() and all(torch.equal(ends[name], x) for name, x in expected.items())
            if not (same and torch.equal(got, want)):
                off = (got - want).abs().max().item() if got.numel() else 0.0
                what = f"form {form}: a {label} state does not go on as it would have: readouts off by {off:.3g}"
                raise BrokenLawError(what, case)
