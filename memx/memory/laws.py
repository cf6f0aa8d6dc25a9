"""The laws that every memory obeys, as plain functions: the tests and `memx check` hold registered memories to them.

A law takes a factory (anything that builds a memory from `key_dim`, `value_dim`, `feature_dim`: a class, a
functools.partial, a registry Part) and a Case. It returns nothing when the law is kept, raises BrokenLawError with the
figures when it is not, and NotApplicableError where it says nothing about this memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from memx.memory.base import Memory, Shape, Tokens
from memx.memory.state import State, cat_batch
from memx.registry import build_part

Factory = Callable[..., Any]
TOLERANCE = 1e-8


class BrokenLawError(AssertionError):
    """A law does not hold; the message has the case and the figures."""


class NotApplicableError(Exception):
    """The law says nothing about this memory; the message says why."""


@dataclass(frozen=True)
class Case:
    """One drawn case: the sizes, where resets fall, and the seed that makes the numbers."""

    batch: int = 2
    frames: int = 3
    objects: int = 2
    tokens: int = 3
    key_dim: int = 4
    value_dim: int = 6
    feature_dim: int = 5
    split: int = 1
    """Frames before the cut, for laws about a part of a clip."""
    warm: bool = True
    """Start from a state that has seen a frame, not from an empty one."""
    resets: bool = False
    """Draw resets, each frame and item with probability 1/3."""
    seed: int = 0

    def memory(self, factory: Factory, dtype: torch.dtype = torch.float64) -> Memory:
        """The memory with its parameters moved a little from where they are initialised."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            facts = {"key_dim": self.key_dim, "value_dim": self.value_dim, "feature_dim": self.feature_dim}
            memory = build_part(factory, **facts)
            with torch.no_grad():
                for parameter in memory.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return memory.to(dtype)

    def clip(self, dtype: torch.dtype = torch.float64, *, frames: int | None = None, salt: int = 0) -> Tokens:
        """Normal tokens of the case; another `salt` gives others."""
        generator = torch.Generator().manual_seed(7919 * self.seed + salt)
        b, t, n = self.batch, self.frames if frames is None else frames, self.tokens

        def draw(*shape: int) -> Tensor:
            return (0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)

        key, query = draw(b, t, n, self.key_dim), draw(b, t, n, self.key_dim)
        value, feature = draw(b, t, self.objects, n, self.value_dim), draw(b, t, n, self.feature_dim)
        reset = torch.rand(b, t, generator=generator) < 1 / 3 if self.resets else None
        return Tokens(key, query, value, feature, reset)

    def state(self, memory: Memory, dtype: torch.dtype = torch.float64) -> State:
        """The state that the case starts from: empty, or after one frame of other tokens."""
        state = memory.init_state(self.batch, self.objects, dtype=dtype)
        if not self.warm:
            return state
        return fold(memory, replace(self, resets=False).clip(dtype, frames=1, salt=1), state)[1].detach()


def fold(memory: Memory, clip: Tokens, state: State) -> tuple[Tensor, State]:
    """`write` and `read`, frame after frame: what every form must equal."""
    outputs = []
    for frame in clip.frames():
        out, state = memory.step(state, frame)
        outputs.append(out)
    return (torch.stack(outputs, 1) if outputs else clip.value.new_zeros(clip.value.shape)), state


def _forms(memory: Memory) -> list[str]:
    return list(dict.fromkeys(("recurrent", *memory.forms)))


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_(x.is_floating_point())


def _leaves(clip: Tokens) -> dict[str, Tensor]:
    named = {"key": clip.key, "query": clip.query, "value": clip.value, "feature": clip.feature}
    return {name: x for name, x in named.items() if x is not None}


def _objective(results: dict[str, Tensor]) -> Tensor:
    """A fixed linear functional of the results, so that a gradient has no say of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for place, x in enumerate(results.values()):
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        total = total + (x.double() * weights).sum()
    return total


def outcome(
    run: Callable[[Tokens, State], tuple[Tensor, State]], memory: Memory, clip: Tokens, state: State
) -> dict[str, Tensor]:
    """Readouts, final state, and the gradients to tokens, parameters and initial state, by name."""
    clip, state = clip.map(_leaf), state.map(_leaf)
    out, final = run(clip, state)
    results = {"readouts": out} | {f"final state {k}": x for k, x in final.tensors().items() if x.is_floating_point()}
    inputs = {f"gradient to {k}": x for k, x in _leaves(clip).items()}
    inputs |= {f"gradient to parameter {k}": x for k, x in memory.named_parameters()}
    inputs |= {f"gradient to initial state {k}": x for k, x in state.tensors().items() if x.is_floating_point()}
    objective = _objective(results)
    if objective.requires_grad:
        gradients = torch.autograd.grad(objective, list(inputs.values()), allow_unused=True)
        for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
            results[name] = torch.zeros_like(x) if gradient is None else gradient
    return {name: x.detach() for name, x in results.items()}


def _compare(got: dict[str, Tensor], want: dict[str, Tensor], what: str, case: Case, tolerance: float) -> None:
    for name, expected in want.items():
        actual = got[name]
        if actual.shape != expected.shape:
            raise BrokenLawError(f"{what}: {name} has shape {tuple(actual.shape)}, not {tuple(expected.shape)}; {case}")
        if not expected.numel():
            continue
        if not torch.isfinite(expected).all():
            raise BrokenLawError(f"{what}: {name} is not finite to begin with; {case}")
        error = (actual.double() - expected.double()).abs().max().item()
        size = max(1.0, expected.abs().max().item())
        if not error <= tolerance * size:
            raise BrokenLawError(f"{what}: {name} differs by {error:.3g} (largest entry {size:.3g}); {case}")


def forms_equal_the_fold(factory: Factory, case: Case) -> None:
    """Every form of `scan` equals the fold of write and read: readouts, final state and every gradient."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
    for form in _forms(memory):
        got = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        _compare(got, want, f"form {form} against the fold", case, TOLERANCE)
    if not case.warm:
        out, _ = memory.scan(clip)
        _compare(
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
    for form in _forms(memory):

        def halves(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            first, s = memory.scan(c.slice(0, cut), s, form=form)
            second, s = memory.scan(c.slice(cut, case.frames), s, form=form)
            return torch.cat([first, second], 1), s

        want = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        _compare(outcome(halves, memory, clip, state), want, f"form {form} cut at {cut}", case, TOLERANCE)


def batch_items_are_apart(factory: Factory, case: Case) -> None:
    """Each item of a batch gives what it gives alone, whatever the others hold, NaN included."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    for form in _forms(memory):
        for i in range(case.batch):
            alone = memory.scan(clip[i : i + 1], state[i : i + 1], form=form)[0]
            others = torch.arange(case.batch) != i
            spoilt = clip.map(
                lambda x, others=others: x.masked_fill(others.view(-1, *[1] * (x.ndim - 1)), float("nan"))
            )
            for company in (clip, spoilt):
                together = memory.scan(company, state, form=form)[0][i : i + 1]
                got, want = {"readouts": together.detach()}, {"readouts": alone.detach()}
                _compare(got, want, f"form {form}, item {i} in company", case, TOLERANCE)


def objects_permute(factory: Factory, case: Case) -> None:
    """Permuting the objects permutes the readouts."""
    if case.objects < 2:
        raise NotApplicableError("a permutation needs two objects")
    memory = case.memory(factory)
    clip, order = case.clip(), torch.arange(case.objects).roll(1)
    for form in _forms(memory):
        want = memory.scan(clip, form=form)[0][:, :, order]
        got = memory.scan(clip.replace(value=clip.value[:, :, order]), form=form)[0]
        _compare({"readouts": got.detach()}, {"readouts": want.detach()}, f"form {form}", case, TOLERANCE)


def heads_permute(factory: Factory, case: Case) -> None:
    """Permuting the heads, with their value channels and parameters, permutes the readouts."""
    memory = case.memory(factory)
    heads = memory.value_heads
    if heads < 2:
        raise NotApplicableError("this memory has no heads over the value channels that may be permuted")
    if {heads, case.value_dim} & {case.key_dim, case.feature_dim}:
        raise NotApplicableError("the sizes of the case do not tell heads from other channels")
    order = torch.arange(heads).roll(1)
    channels = torch.arange(case.value_dim).view(heads, -1)[order].flatten()
    clip = case.clip()
    want = {form: memory.scan(clip, form=form)[0][..., channels].detach() for form in _forms(memory)}
    with torch.no_grad():
        for parameter in memory.parameters():
            moved = parameter
            for axis, size in enumerate(parameter.shape):
                if size in (heads, case.value_dim):
                    moved = moved.index_select(axis, channels if size == case.value_dim else order)
            parameter.copy_(moved)
    for form in _forms(memory):
        got = memory.scan(clip.replace(value=clip.value[..., channels]), form=form)[0]
        _compare({"readouts": got.detach()}, {"readouts": want[form]}, f"form {form}", case, TOLERANCE)


def the_future_leaves_the_past(factory: Factory, case: Case) -> None:
    """Changing, cutting or poisoning later frames leaves earlier readouts and their gradients as they were."""
    memory = case.memory(factory)
    cut = min(case.split, case.frames - 1)
    if cut < 1:
        raise NotApplicableError("the case has no frame before the cut")
    clip, state = case.clip(), case.state(memory)
    other = case.clip(salt=2)

    def swapped(part: str, value: Callable[[Tensor], Tensor]) -> Tokens:
        named = _leaves(clip)
        x = named[part]
        return clip.replace(**{part: torch.cat([x[:, :cut], value(_leaves(other)[part][:, cut:])], 1)})

    futures = {f"{part} changed": swapped(part, lambda x: x) for part in _leaves(clip)}
    for bad in (float("nan"), float("inf"), float("-inf")):
        futures |= {
            f"{part} {bad}": swapped(part, lambda x, bad=bad: torch.full_like(x, bad)) for part in _leaves(clip)
        }

    for form in _forms(memory):

        def past(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            return memory.scan(c, s, form=form)[0][:, :cut], State()

        def of_past(results: dict[str, Tensor]) -> dict[str, Tensor]:
            tokens = {f"gradient to {name}" for name in _leaves(clip)}
            return {name: x[:, :cut] if name in tokens else x for name, x in results.items()}

        want = of_past(outcome(past, memory, clip.slice(0, cut), state))
        _compare(of_past(outcome(past, memory, clip, state)), want, f"form {form}, future cut", case, TOLERANCE)
        for name, future in futures.items():
            got = of_past(outcome(past, memory, future, state))
            _compare(got, want, f"form {form}, future {name}", case, TOLERANCE)
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
    for form in _forms(memory):

        def after(c: Tokens, s: State, form: str = form) -> tuple[Tensor, State]:
            out, s = memory.scan(c.replace(reset=reset), s, form=form)
            return out[:, at:], s

        for label, tokens, start in (("", clip, state), (" after NaN", spoilt_clip, spoilt_state)):
            got = outcome(after, memory, tokens, start)
            inside = {}
            for name, x in got.items():
                if name.startswith("gradient to initial state"):
                    outside = x
                elif name.removeprefix("gradient to ") in _leaves(clip):
                    outside, inside[name] = x[:, :at], x[:, at:]
                else:
                    inside[name] = x
                    continue
                if outside.abs().max().item() if outside.numel() else 0:
                    raise BrokenLawError(f"form {form}{label}: {name} is not 0 across a reset; {case}")
            expected = {name: x for name, x in want.items() if name in inside}
            _compare(inside, expected, f"form {form}{label}, from the reset on", case, TOLERANCE)


def extremes_stay_finite(factory: Factory, case: Case) -> None:
    """With features × 10⁴ and every bias-like parameter at ±30, forms agree and gradients are finite."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    clip = clip.replace(feature=None if clip.feature is None else 1e4 * clip.feature)
    for level in (30.0, -30.0):
        with torch.no_grad():
            for parameter in memory.parameters():
                if parameter.ndim == 1:
                    parameter.fill_(level)
        want = outcome(lambda c, s: fold(memory, c, s), memory, clip, state)
        for form in _forms(memory):
            got = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
            _compare(got, want, f"form {form} at {level}", case, TOLERANCE)


def gradients_are_right(factory: Factory, case: Case) -> None:
    """float64 gradients of every form agree with finite differences (torch.autograd.gradcheck)."""
    small = replace(case, batch=1, objects=min(case.objects, 2), tokens=min(case.tokens, 2), frames=min(case.frames, 2))
    memory = small.memory(factory)
    clip, state = small.clip(), small.state(memory)
    names, flat = list(_leaves(clip)), state.tensors()
    held = [name for name, x in flat.items() if x.is_floating_point() and x.numel()]
    parameters = list(memory.parameters())
    inputs = [_leaf(x) for x in _leaves(clip).values()] + [_leaf(flat[name]) for name in held]
    for form in _forms(memory):

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
    for form in _forms(memory):
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
        _compare({k: x.detach() for k, x in kept.items()}, expected, f"form {form} under autocast", case, 1e-4)
        readouts = {"readouts": read.detach().float()}
        _compare(readouts, {"readouts": out.detach()}, f"form {form} under autocast", case, 2e-2)


def inputs_are_not_changed(factory: Factory, case: Case) -> None:
    """Neither tokens nor the state nor parameters change under scan and its backward pass."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)
    kept = [x.clone() for x in (*_leaves(clip).values(), *state.tensors().values(), *memory.parameters())]
    for form in ("write and read", *_forms(memory)):
        leaves = clip.map(lambda x: x.requires_grad_())
        direct = form == "write and read"
        out, _ = fold(memory, leaves, state) if direct else memory.scan(leaves, state, form=form)
        out.sum().backward()
        now = (*_leaves(clip).values(), *state.tensors().values(), *memory.parameters())
        if any(not torch.equal(a, b) for a, b in zip(kept, now, strict=True)):
            raise BrokenLawError(f"form {form}: an input was changed in place; {case}")


def strides_do_not_matter(factory: Factory, case: Case) -> None:
    """Non-contiguous tokens and states give what contiguous ones give."""
    memory = case.memory(factory)
    clip, state = case.clip(), case.state(memory)

    def scattered(x: Tensor) -> Tensor:
        wide = torch.stack([x, x], -1)[..., 0]
        return wide.transpose(0, -1).contiguous().transpose(0, -1) if x.numel() else wide

    for form in _forms(memory):
        want = outcome(lambda c, s, form=form: memory.scan(c, s, form=form), memory, clip, state)
        got = outcome(
            lambda c, s, form=form: memory.scan(c.map(scattered), s.map(scattered), form=form), memory, clip, state
        )
        _compare(got, want, f"form {form}, strided", case, TOLERANCE)


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
    for form in _forms(memory):
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
    for form in _forms(memory):
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
