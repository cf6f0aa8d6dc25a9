"""The laws that every memory obeys, as plain functions: the tests hold all registered ones to them.

A law takes a factory (anything that builds a memory from `key_dim`, `value_dim`, `feature_dim`: a class, a
functools.partial, a registry Part) and a Case. It returns nothing when the law is kept, raises BrokenLawError with
the figures when it is not, and NotApplicableError where it says nothing about this memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from memx.memory._cases import (
    TOLERANCE,
    BrokenLawError,
    Case,
    Factory,
    NotApplicableError,
    all_forms,
    compare,
    differing_axis,
    leaf,
    outcome,
    permuted,
    tensors_of,
)
from memx.memory.base import Shape, Tokens, fold
from memx.memory.state import State, cat_batch

__all__ = ["LAWS", "BrokenLawError", "Case", "Factory", "NotApplicableError"]

EXTREMES = (30.0, -30.0, 100.0, -100.0, 1000.0, -1000.0)
"""What parameters are set to: exp(100) overflows in float32, exp(1000) in float64."""


def forms_equal_the_fold(factory: Factory, case: Case) -> None:
    """Every form of `scan` equals the fold of write and read: readouts, final state and every gradient."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
    for form in all_forms(memory):
        got = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        compare(got, want, f"form {form} against the fold", case, TOLERANCE)
    if not case.warm:
        out, _ = memory.scan(clip)
        compare(
            {"readouts": out.detach()},
            {"readouts": want["readouts"]},
            "scan without a state against the fold",
            case,
            TOLERANCE,
        )


def splits_do_not_matter(factory: Factory, case: Case) -> None:
    """A clip cut in two, the state carried over, gives what the whole gives, gradients included."""
    memory = case.memory(factory)
    clip, state, cut = case.clip(), case.state(memory), min(case.split, case.frames)
    for form in all_forms(memory):

        def halves(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            first, s = memory.scan(c.slice(0, cut), s, form=form)
            second, s = memory.scan(c.slice(cut, case.frames), s, form=form)
            return torch.cat([first, second], 1), s

        want = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        compare(outcome(halves, memory, clip, state), want, f"form {form} cut at {cut}", case, TOLERANCE)


def batch_items_are_apart(factory: Factory, case: Case) -> None:
    """Each item of a batch gives what it gives alone, gradients included, whatever the others hold, NaN included.

    The final state is compared by what a further clip reads from it: mechanisms may lay out a batch of states together.
    """
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
                compare(mine, want, f"form {form}, item {i} in company", case, TOLERANCE)
                for name in batched:
                    if got[name][others].any():
                        raise BrokenLawError(f"form {form}: item {i} has a {name} of other items; {case}")


def objects_permute(factory: Factory, case: Case) -> None:
    """Permuting the objects, in tokens and state, permutes readouts, final state and gradients."""
    if case.objects < 2:
        raise NotApplicableError("a permutation needs two objects")
    memory = case.memory(factory)
    clip, state, order = case.clip(), case.state(memory), torch.arange(case.objects).roll(1)
    one, two = (memory.init_state(case.batch, objects).tensors() for objects in (1, 2))
    axes = {name: differing_axis(one[name], two[name]) for name in one}
    for form in all_forms(memory):

        def moved(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            out, s = memory.scan(c.replace(value=c.value[:, :, order]), permuted(s, axes, order), form=form)
            return out[:, :, order.argsort()], permuted(s, axes, order.argsort())

        want = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        compare(outcome(moved, memory, clip, state), want, f"form {form}", case, TOLERANCE)


def heads_permute(factory: Factory, case: Case) -> None:
    """Permuting the heads, in values, state and parameters, permutes readouts, final state and gradients."""
    memory = case.memory(factory)
    heads = memory.value_heads
    if heads < 2:
        raise NotApplicableError("this memory has no heads over the value channels that may be permuted")
    if {heads, case.value_dim} & {case.key_dim, case.feature_dim}:
        raise NotApplicableError("the sizes of the case do not tell heads from other channels")
    order = torch.arange(heads).roll(1)
    channels = torch.arange(case.value_dim).view(heads, -1)[order].flatten()
    back = channels.argsort()
    one = memory.init_state(case.batch, case.objects).tensors()
    two = replace(case, value_dim=2 * case.value_dim).memory(factory).init_state(case.batch, case.objects).tensors()
    axes = {name: differing_axis(one[name], two[name]) for name in one}

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
            out, s = other.scan(c.replace(value=c.value[..., channels]), permuted(s, axes, channels), form=form)
            return out[..., back], permuted(s, axes, back)

        want = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        got = outcome(moved, other, clip, state)
        got = {n: of_heads(x, back, order.argsort()) if "to parameter" in n else x for n, x in got.items()}
        compare(got, want, f"form {form}", case, TOLERANCE)


def the_future_leaves_the_past(factory: Factory, case: Case) -> None:
    """Changing, cutting or poisoning later frames leaves earlier readouts and their gradients as they were."""
    memory = case.memory(factory)
    cut = min(case.split, case.frames - 1)
    if cut < 1:
        raise NotApplicableError("the case has no frame before the cut")
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
        compare(of_past(outcome(past, memory, clip, state)), want, f"form {form}, future cut", case, TOLERANCE)
        for name, future in futures.items():
            got = of_past(outcome(past, memory, future, state))
            compare(got, want, f"form {form}, future {name}", case, TOLERANCE)
        readouts, final = memory.scan(futures["value nan"].replace(reset=None), state, form=form)
        if torch.isfinite(readouts[:, cut:]).any() or any(
            torch.isfinite(x).any() for x in final.tensors().values() if x.is_floating_point()
        ):
            raise BrokenLawError(f"form {form}: a NaN value leaves readouts or a state after it finite; {case}")


def a_reset_starts_afresh(factory: Factory, case: Case) -> None:
    """From a reset on, readouts and state are those of an empty memory, even after NaN; no gradient crosses it."""
    memory = case.memory(factory)
    clip, state, at = replace(case, resets=False).clip(), case.state(memory), min(case.split, case.frames - 1)
    if case.frames < 1:
        raise NotApplicableError("the case has no frames")
    empty = memory.init_state(case.batch, case.objects, dtype=torch.float64)
    reset = torch.zeros(case.batch, case.frames, dtype=torch.bool)
    reset[:, at] = True
    rest = clip.slice(at, case.frames)
    want = outcome(lambda c, s: fold(memory, c, s), memory, rest, empty)
    spoilt_state = state.map(lambda x: torch.full_like(x, float("nan")) if x.is_floating_point() else x)
    spoilt_clip = clip.map(lambda x: torch.cat([torch.full_like(x[:, :at], float("nan")), x[:, at:]], 1))
    for form in all_forms(memory):

        def after(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            out, s = memory.scan(c.replace(reset=reset), s, form=form)
            return out[:, at:], s

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
                if outside.abs().max().item() if outside.numel() else 0:
                    raise BrokenLawError(f"form {form}{label}: {name} is not 0 across a reset; {case}")
            expected = {name: x for name, x in want.items() if name in inside}
            compare(inside, expected, f"form {form}{label}, from the reset on", case, TOLERANCE)
    frame = rest.frame(0)
    heeded, fresh = (
        {f"state {name}": x.detach() for name, x in memory.write(start, tokens).tensors().items()}
        for start, tokens in ((state, frame.replace(reset=reset[:, at])), (empty, frame))
    )
    compare(heeded, fresh, "write of a frame with a reset", case, TOLERANCE)


def extremes_stay_finite(factory: Factory, case: Case) -> None:
    """With features × 10⁴ and parameters at ±30, ±100 and ±1000, forms agree and all is finite, in float32 too.

    First the parameters of one axis (biases, logarithms of rates), then all of them, whose matrices keep their signs.
    Memories that are not `bounded` are held to ±30 in float64.
    """
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    clip = clip.replace(feature=None if clip.feature is None else 1e4 * clip.feature)
    if not list(memory.parameters()):
        raise NotApplicableError("this memory has no parameters")
    single, small, start = deepcopy(memory).float(), clip.map(Tensor.float), state.to(dtype=torch.float32)
    drawn = [parameter.detach().clone() for parameter in memory.parameters()]
    for level in EXTREMES if memory.bounded else EXTREMES[:2]:
        for axes in sorted({min(x.ndim, 2) for x in drawn}):
            with torch.no_grad():
                for x, wide, narrow in zip(drawn, memory.parameters(), single.parameters(), strict=True):
                    extreme = torch.full_like(x, level) if x.ndim < 2 else level * x.sign()
                    wide.copy_(extreme if x.ndim <= axes else x)
                    narrow.copy_(wide)
            want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
            for form in all_forms(memory):
                got = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
                compare(got, want, f"form {form} at {level}", case, TOLERANCE)
                if not memory.bounded:
                    continue
                got = outcome(lambda c, s, form=form: single.scan(c, s, form=form), single, small, start)
                for name, x in got.items():
                    if not torch.isfinite(x).all():
                        raise BrokenLawError(f"form {form} at {level}, float32: {name} is not finite; {case}")


def gradients_are_right(factory: Factory, case: Case) -> None:
    """float64 gradients of every form agree with finite differences (torch.autograd.gradcheck)."""
    small = replace(case, batch=1, objects=min(case.objects, 2), tokens=min(case.tokens, 2), frames=min(case.frames, 2))
    memory = small.memory(factory)
    clip, state = small.clip(), small.state(memory)
    names, flat = list(tensors_of(clip)), state.tensors()
    held = [name for name, x in flat.items() if x.is_floating_point() and x.numel()]
    parameters = list(memory.parameters())
    inputs = [leaf(x) for x in tensors_of(clip).values()] + [leaf(flat[name]) for name in held]
    for form in all_forms(memory):

        def run(*tensors: Tensor, form: str = form) -> tuple[Tensor, ...]:
            tokens = clip.replace(**dict(zip(names, tensors, strict=False)))
            start = State.from_tensors(flat | dict(zip(held, tensors[len(names) :], strict=False)))
            out, final = memory.scan(tokens, start, form=form)
            return (out, *[x for x in final.tensors().values() if x.is_floating_point()])

        try:
            torch.autograd.gradcheck(run, (*inputs, *parameters), fast_mode=True, atol=1e-6, rtol=1e-4)
        except RuntimeError as error:
            raise BrokenLawError(f"form {form}: {error}; {small}") from None


def autocast_keeps_the_state(factory: Factory, case: Case) -> None:
    """Under bfloat16 autocast, and from bfloat16 tokens, the state is kept and computed in at least float32."""
    memory = case.memory(factory, torch.float32)
    clip, state = case.clip(torch.float32), case.state(memory, torch.float32)
    for form in all_forms(memory):
        out, want = memory.scan(clip, state, form=form)
        with torch.autocast("cpu", torch.bfloat16):
            read, got = memory.scan(clip, state, form=form)
            half = memory.scan(clip.map(Tensor.bfloat16), form=form)[1]
        kept = {f"state {name}": x for name, x in got.tensors().items()}
        kept |= {f"state {name} from bfloat16 tokens": x for name, x in half.tensors().items()}
        for name, x in kept.items():
            if x.is_floating_point() and x.dtype not in (torch.float32, torch.float64):
                raise BrokenLawError(f"form {form}: under autocast the {name} is {x.dtype}; {case}")
        expected = {f"state {name}": x.detach() for name, x in want.tensors().items() if x.is_floating_point()}
        compare({k: x.detach() for k, x in kept.items()}, expected, f"form {form} under autocast", case, 1e-4)
        readouts = {"readouts": read.detach().float()}
        compare(readouts, {"readouts": out.detach()}, f"form {form} under autocast", case, 2e-2)


def inputs_are_not_changed(factory: Factory, case: Case) -> None:
    """Neither tokens nor the state nor parameters change under scan and its backward pass."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    kept = [x.clone() for x in (*tensors_of(clip).values(), *state.tensors().values(), *memory.parameters())]
    for form in ("write and read", *all_forms(memory)):
        leaves = clip.map(lambda x: x.requires_grad_())
        direct = form == "write and read"
        out, _ = fold(memory, leaves, state) if direct else memory.scan(leaves, state, form=form)
        out.sum().backward()
        now = (*tensors_of(clip).values(), *state.tensors().values(), *memory.parameters())
        if any(not torch.equal(a, b) for a, b in zip(kept, now, strict=True)):
            raise BrokenLawError(f"form {form}: an input was changed in place; {case}")


def strides_do_not_matter(factory: Factory, case: Case) -> None:
    """Non-contiguous tokens and states give what contiguous ones give."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)

    def scattered(x: Tensor) -> Tensor:
        wide = torch.stack([x, x], -1)[..., 0]
        return wide.transpose(0, -1).contiguous().transpose(0, -1) if x.numel() else wide

    def directly(c: Tokens, s: State) -> tuple[Tensor, State]:
        """Write and read as a caller may: `scan` lays its inputs out anew before it computes."""
        outputs = []
        for frame in c.frames():
            out, s = memory.step(s.map(scattered), frame.map(scattered))
            outputs.append(out)
        return torch.stack(outputs, 1), s

    want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
    compare(outcome(directly, memory, clip, state), want, "write and read, strided", case, TOLERANCE)
    for form in all_forms(memory):
        got = outcome(
            lambda c, s, form=form: memory.scan(c.map(scattered), s.map(scattered), form=form), memory, clip, state
        )
        compare(got, want, f"form {form}, strided", case, TOLERANCE)


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
            same = [torch.equal(got, want)]
            same += [
                torch.equal(a, b) for a, b in zip(reached.tensors().values(), final.tensors().values(), strict=True)
            ]
            if not all(same):
                raise BrokenLawError(f"form {form}: a {label} state does not go on as it would have; {case}")


def cost_is_what_is_counted(factory: Factory, case: Case) -> None:
    """`cost` agrees with torch's FLOP counter on the plain form, and its state bytes with the state's."""
    memory = case.memory(factory, torch.float32)
    clip = replace(case, resets=False).clip(torch.float32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _, final = memory.scan(clip, form="recurrent")
    cost = memory.cost(Shape(case.batch, case.frames, case.objects, case.tokens))
    counted = counter.get_total_flops()
    if counted != 2 * cost.macs:
        raise BrokenLawError(f"cost says {cost.macs} multiply-accumulates, the counter {counted / 2:g}; {case}")
    if final.nbytes != cost.state_bytes:
        raise BrokenLawError(f"cost says {cost.state_bytes} state bytes, the state holds {final.nbytes}; {case}")


def no_frames_change_nothing(factory: Factory, case: Case) -> None:
    """A clip of no frames gives no readouts and the state that it was given; readouts have the values' dtype."""
    memory = case.memory(factory)
    state = case.state(memory)
    for form in all_forms(memory):
        out, final = memory.scan(case.clip(frames=0), state, form=form)
        if out.shape != (case.batch, 0, case.objects, case.tokens, case.value_dim):
            raise BrokenLawError(f"form {form}: no frames give readouts of shape {tuple(out.shape)}; {case}")
        if any(not torch.equal(a, b) for a, b in zip(final.tensors().values(), state.tensors().values(), strict=True)):
            raise BrokenLawError(f"form {form}: no frames change the state; {case}")
        dtype = memory.scan(case.clip(), state, form=form)[0].dtype
        if dtype != torch.float64:
            raise BrokenLawError(f"form {form}: values of float64 give readouts of {dtype}; {case}")


LAWS: Sequence[Callable[[Factory, Case], None]] = (
    forms_equal_the_fold,
    splits_do_not_matter,
    batch_items_are_apart,
    objects_permute,
    heads_permute,
    the_future_leaves_the_past,
    a_reset_starts_afresh,
    extremes_stay_finite,
    gradients_are_right,
    autocast_keeps_the_state,
    inputs_are_not_changed,
    strides_do_not_matter,
    saving_is_exact,
    cost_is_what_is_counted,
    no_frames_change_nothing,
)
"""All laws; a function's name is the law's name, and the first line of its docstring states it."""
