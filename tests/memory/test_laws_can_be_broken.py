"""The laws find what they are for: each deliberately wrong memory breaks the law that it should."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from memx.memory import Cost, Memory, Shape, State, laws
from memx.memory.base import fold
from memx.memory.laws import BrokenLawError, Case, NotApplicableError


class Sum(Memory):
    """S ← S + Σ k vᵀ, right in every respect: what the wrong ones below differ from."""

    def __init__(self, key_dim: int, value_dim: int):
        super().__init__()
        self.key_dim, self.value_dim = key_dim, value_dim

    @property
    def forms(self):
        return ("fast", "recurrent")

    def init_state(self, batch, objects=1, *, device=None, dtype=None):
        dtype = torch.float64 if dtype == torch.float64 else torch.float32
        return State(S=torch.zeros(batch, objects, self.key_dim, self.value_dim, device=device, dtype=dtype))

    def write(self, state, frame):
        state = self.restart(state, frame)
        with torch.autocast("cpu", enabled=False):
            written = frame.key.to(state.S.dtype)[:, None].mT @ frame.value.to(state.S.dtype)
        return state.replace(S=state.S + written)

    def read(self, state, frame):
        return (frame.query.to(state.S.dtype)[:, None] @ state.S).to(frame.value.dtype)

    def _scan(self, clip, state, form):
        return fold(self, clip, state)

    def cost(self, shape: Shape):
        frames, inner = shape.batch * shape.frames, shape.tokens * self.key_dim * shape.objects * self.value_dim
        held = 4 * shape.batch * shape.objects * self.key_dim * self.value_dim
        tokens = 8 * frames * shape.tokens * (self.key_dim + shape.objects * self.value_dim)
        moved = tokens + 2 * shape.frames * held
        return Cost(macs=2 * frames * inner, pointwise=0, bytes_moved=moved, state_bytes=held)


class SumBefore(Sum):
    """The same, read before it is written, whose `read` says nothing about resets."""

    reads = "before_write"


class LooksAhead(Sum):
    def _scan(self, clip, state, form):
        return fold(self, clip.replace(value=clip.value.flip(1)), state)


class WrongGradient(Sum):
    def _scan(self, clip, state, form):
        return fold(self, clip.replace(key=clip.key.detach() + 0 * clip.key), state)


class SeesTheBatch(Sum):
    def read(self, state, frame):
        return super().read(state, frame) + frame.query.mean()


class WritesAcrossTheBatch(Sum):
    """Readouts of the frame that it writes are right; those after it are not."""

    def step(self, state, frame):
        out, state = super().step(state, frame)
        return out, state.replace(S=state.S + 0.1 * torch.nan_to_num(state.S).mean(0))


class GradientAcrossTheBatch(Sum):
    def read(self, state, frame):
        mean = torch.nan_to_num(frame.query).mean()
        return super().read(state, frame) + (mean - mean.detach())


class OrdersObjects(Sum):
    def read(self, state, frame):
        return super().read(state, frame).cumsum(1)


class OrdersObjectsOfItsState(Sum):
    def step(self, state, frame):
        out, state = super().step(state, frame)
        return out, state.replace(S=state.S * torch.arange(1, 1 + state.S.shape[1])[:, None, None])


class OrdersHeads(Sum):
    value_heads = 2

    def read(self, state, frame):
        return super().read(state, frame).cumsum(-1)


class OrdersHeadsOfItsState(Sum):
    value_heads = 2

    def step(self, state, frame):
        out, state = super().step(state, frame)
        return out, state.replace(S=state.S.cumsum(-1))


class Overflows(Sum):
    """A decay exp(−exp(a) · 0): the rate of infinity meets a step of 0."""

    def __init__(self, key_dim: int, value_dim: int):
        super().__init__(key_dim, value_dim)
        self.A_log = torch.nn.Parameter(torch.zeros(()))

    def write(self, state, frame):
        decay = (-self.A_log.to(state.S.dtype).exp() * 0).exp()
        return super().write(state.replace(S=decay * state.S), frame)


class OverflowsInMatrices(Sum):
    def __init__(self, key_dim: int, value_dim: int):
        super().__init__(key_dim, value_dim)
        self.A_log = torch.nn.Parameter(torch.rand(key_dim, value_dim))

    def read(self, state, frame):
        out = super().read(state, frame)
        return (
            out * (1 - (-self.A_log.to(out.dtype).exp().sum(0)).exp()) / (1 + 0 * self.A_log.to(out.dtype).exp().sum())
        )


class IgnoresResets(Sum):
    def restart(self, state, frame):
        return state


class HeedsTheFirstResetOnly(Sum):
    def _scan(self, clip, state, form):
        first = None if clip.reset is None else clip.reset & (clip.reset.cumsum(1) == 1)
        return fold(self, clip.replace(reset=first), state)


class WritesWithoutResets(Sum):
    def step(self, state, frame):
        return super().step(self.restart(state, frame), frame)

    def write(self, state, frame):
        return super().write(state, frame.replace(reset=None))


class ReadsItsMemoryAsItLies(Sum):
    """Takes for granted that keys are contiguous."""

    def write(self, state, frame):
        b, n, k = frame.key.shape
        return super().write(state, frame.replace(key=frame.key.as_strided((b, n, k), (n * k, k, 1))))


class KeepsSomethingToItself(Sum):
    def __init__(self, key_dim: int, value_dim: int):
        super().__init__(key_dim, value_dim)
        self.shift = torch.rand(())

    def read(self, state, frame):
        return super().read(state, frame) + self.shift


class ComputesInHalf(Sum):
    def write(self, state, frame):
        state = self.restart(state, frame)
        return state.replace(S=state.S + (frame.key[:, None].mT @ frame.value).to(state.S.dtype))


class ComputesInHalfFromHalf(Sum):
    """Right under autocast; what comes in half is computed in half."""

    def write(self, state, frame):
        state = self.restart(state, frame)
        with torch.autocast("cpu", enabled=False):
            return state.replace(S=state.S + (frame.key[:, None].mT @ frame.value).to(state.S.dtype))


class IsRandom(Sum):
    def read(self, state, frame):
        return super().read(state, frame) + torch.rand(())


class CountsItsCalls(Sum):
    calls = 0

    def read(self, state, frame):
        self.calls += 1
        return super().read(state, frame) * self.calls


class MovesOnWithoutFrames(Sum):
    def scan(self, clip, state=None, *, form="auto"):
        out, state = super().scan(clip, state, form=form)
        return out, state.replace(S=state.S + 1)


class LowPrecision(Sum):
    def write(self, state, frame):
        return state.replace(S=super().write(state, frame).S.bfloat16().to(state.S.dtype))


class HalfState(Sum):
    def init_state(self, batch, objects=1, *, device=None, dtype=None):
        return super().init_state(batch, objects, device=device).to(dtype=dtype)


class ChangesItsInput(Sum):
    def write(self, state, frame):
        frame.value.data.mul_(2)
        return super().write(state, frame)


class Undercounts(Sum):
    def cost(self, shape: Shape):
        return replace(super().cost(shape), macs=1)


class Declares(Sum):
    """A cost that no memory has; `changed` says in what."""

    changed: ClassVar[dict[str, int]]

    def cost(self, shape: Shape):
        return replace(super().cost(shape), **self.changed)


class MovesNothing(Declares):
    changed: ClassVar = {"bytes_moved": 7}


class MovesLessThanNothing(Declares):
    changed: ClassVar = {"pointwise": -7}


class SolvesWhatItSums(Declares):
    changed: ClassVar = {"uncounted_macs": 10**15}


class Solves(Sum):
    """Solves with the identity, and says nothing of it."""

    def read(self, state, frame):
        out = super().read(state, frame)
        eye = torch.eye(out.shape[-1], dtype=out.dtype)
        return torch.linalg.solve_triangular(eye, out, upper=False, left=False)


class GivesMoreThanTheFold(Sum):
    """The fast form gives a state with a tensor that the fold does not give."""

    def _scan(self, clip, state, form):
        out, state = fold(self, clip, state)
        return out, state.replace(more=state.S)


class UnderstatesItsState(Sum):
    def cost(self, shape: Shape):
        return replace(super().cost(shape), state_bytes=1)


class Vanishes(Sum):
    def read(self, state, frame):
        out = super().read(state, frame)
        return out + (0 * out).sqrt()


@pytest.mark.parametrize("memory", [Sum, SumBefore])
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_a_right_memory_keeps_them_all(law, memory):
    says_nothing = {laws.heads_permute: "no heads", laws.extremes_stay_finite: "no parameters"}
    if law in says_nothing:
        with pytest.raises(NotApplicableError, match=says_nothing[law]):
            law(memory, Case(resets=True))
    else:
        law(memory, Case(resets=True))


def test_a_memory_that_is_read_first_reads_nothing_after_a_reset():
    case = Case(resets=True, frames=6)
    memory, clip = case.memory(SumBefore), case.clip()
    out, _ = memory.scan(clip, case.state(memory))
    assert clip.reset.any()
    assert not out[clip.reset].any()
    assert out[~clip.reset].any()


BREAKERS = [
    (LooksAhead, laws.forms_equal_the_fold, "form fast against the fold: readouts off by"),
    (LooksAhead, laws.the_future_leaves_the_past, "form fast, future"),
    (LooksAhead, laws.splits_do_not_matter, "form fast cut after 1"),
    (WrongGradient, laws.forms_equal_the_fold, "gradient to key off by"),
    (WrongGradient, laws.gradients_are_right, "form fast: gradient of readouts to key is"),
    (SeesTheBatch, laws.batch_items_are_apart, "in company"),
    (WritesAcrossTheBatch, laws.batch_items_are_apart, "readouts off by"),
    (GradientAcrossTheBatch, laws.batch_items_are_apart, "gradient to query"),
    (OrdersObjects, laws.objects_permute, "readouts off by"),
    (OrdersObjectsOfItsState, laws.objects_permute, "off by"),
    (OrdersHeads, laws.heads_permute, "readouts off by"),
    (OrdersHeadsOfItsState, laws.heads_permute, "off by"),
    (Overflows, laws.extremes_stay_finite, "at 100, float32: readouts not finite"),
    (OverflowsInMatrices, laws.extremes_stay_finite, "at 100, float32: readouts not finite"),
    (IgnoresResets, laws.a_reset_starts_afresh, "crosses a reset"),
    (WritesWithoutResets, laws.a_reset_starts_afresh, "write of a frame with a reset"),
    (HeedsTheFirstResetOnly, laws.resets_cut_a_clip, "form fast, with a reset in every frame: readouts off by"),
    (ReadsItsMemoryAsItLies, laws.strides_do_not_matter, "write and read, strided: readouts off by"),
    (KeepsSomethingToItself, laws.saving_is_exact, "a loaded state does not go on as it would have"),
    (MovesOnWithoutFrames, laws.no_frames_change_nothing, "no frames change the state"),
    (LowPrecision, laws.gradients_are_right, "form"),
    (HalfState, laws.autocast_keeps_the_state, "is torch.bfloat16"),
    (ComputesInHalf, laws.autocast_keeps_the_state, "under autocast: state S off by"),
    (ChangesItsInput, laws.inputs_are_not_changed, "write and read: value was changed in place"),
    (
        IsRandom,
        laws.runs_repeat,
        "not deterministic: form recurrent, the second of two identical runs: readouts off by",
    ),
    (CountsItsCalls, laws.runs_repeat, "not deterministic"),
    (GivesMoreThanTheFold, laws.forms_equal_the_fold, "there is final state more, which there should not be"),
    (ComputesInHalfFromHalf, laws.autocast_keeps_the_state, "form recurrent from bfloat16 tokens: state S off by"),
    (MovesNothing, laws.cost_is_what_is_counted, "cost says 7 bytes moved, but the readouts alone are"),
    (MovesLessThanNothing, laws.cost_is_what_is_counted, "cost says pointwise = -7, which cannot be negative"),
    (SolvesWhatItSums, laws.cost_is_what_is_counted, "uncounted_macs = 1000000000000000, but nothing of torch.linalg"),
    (Solves, laws.cost_is_what_is_counted, "uncounted_macs = 0, but torch.linalg.solve_triangular is called"),
    (Undercounts, laws.cost_is_what_is_counted, "cost says 1 multiply-accumulates, the counter 2304"),
    (UnderstatesItsState, laws.cost_is_what_is_counted, "cost says 1 state bytes, the state holds 512"),
]


@pytest.mark.parametrize(("wrong", "law", "says"), BREAKERS)
def test_a_wrong_memory_breaks_its_law(wrong, law, says):
    with pytest.raises(BrokenLawError, match=says):
        law(wrong, Case())


def test_gradients_that_are_not_finite_break_a_law():
    with pytest.raises(BrokenLawError, match="not finite to begin with"):
        laws.forms_equal_the_fold(Vanishes, Case(value_dim=2, tokens=1))


def test_every_law_can_be_broken():
    assert {law for _, law, _ in BREAKERS} == set(laws.LAWS)
