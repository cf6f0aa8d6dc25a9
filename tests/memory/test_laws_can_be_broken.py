"""The laws find what they are for: each deliberately wrong memory breaks the law that it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memx.memory import Cost, Memory, Shape, State, laws
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
        return self._fold(clip, state)

    def cost(self, shape: Shape):
        frames, inner = shape.batch * shape.frames, shape.tokens * self.key_dim * shape.objects * self.value_dim
        held = 4 * shape.batch * shape.objects * self.key_dim * self.value_dim
        return Cost(macs=2 * frames * inner, pointwise=0, bytes_moved=0, state_bytes=held)


class LooksAhead(Sum):
    def _scan(self, clip, state, form):
        return self._fold(clip.replace(value=clip.value.flip(1)), state)


class WrongGradient(Sum):
    def _scan(self, clip, state, form):
        return self._fold(clip.replace(key=clip.key.detach() + 0 * clip.key), state)


class SeesTheBatch(Sum):
    def read(self, state, frame):
        return super().read(state, frame) + frame.query.mean()


class OrdersObjects(Sum):
    def read(self, state, frame):
        return super().read(state, frame).cumsum(1)


class IgnoresResets(Sum):
    def restart(self, state, frame):
        return state


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


class UnderstatesItsState(Sum):
    def cost(self, shape: Shape):
        return replace(super().cost(shape), state_bytes=1)


class Vanishes(Sum):
    def read(self, state, frame):
        out = super().read(state, frame)
        return out + (0 * out).sqrt()


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_a_right_memory_keeps_them_all(law):
    try:
        law(Sum, Case())
    except NotApplicableError as reason:
        if law is not laws.heads_permute or "no heads" not in str(reason):
            raise


@pytest.mark.parametrize(
    ("wrong", "law", "says"),
    [
        (LooksAhead, laws.forms_equal_the_fold, "form fast against the fold: readouts differs by"),
        (LooksAhead, laws.the_future_leaves_the_past, "form fast, future"),
        (LooksAhead, laws.splits_do_not_matter, "form fast cut at 1"),
        (WrongGradient, laws.forms_equal_the_fold, "gradient to key differs"),
        (WrongGradient, laws.gradients_are_right, "form fast"),
        (SeesTheBatch, laws.batch_items_are_apart, "in company"),
        (OrdersObjects, laws.objects_permute, "readouts differs"),
        (IgnoresResets, laws.a_reset_starts_afresh, "across a reset"),
        (LowPrecision, laws.gradients_are_right, "form"),
        (HalfState, laws.autocast_keeps_the_state, "is torch.bfloat16"),
        (ChangesItsInput, laws.inputs_are_not_changed, "an input was changed in place"),
        (Undercounts, laws.cost_is_what_is_counted, "cost says 1 multiply-accumulates, the counter 2304"),
        (UnderstatesItsState, laws.cost_is_what_is_counted, "cost says 1 state bytes, the state holds 512"),
    ],
)
def test_a_wrong_memory_breaks_its_law(wrong, law, says):
    with pytest.raises(BrokenLawError, match=says):
        law(wrong, Case())


def test_gradients_that_are_not_finite_break_a_law():
    with pytest.raises(BrokenLawError, match="not finite to begin with"):
        laws.forms_equal_the_fold(
            Vanishes, Case(warm=False, tokens=1, key_dim=1, seed=-1).__class__(value_dim=2, tokens=1)
        )
