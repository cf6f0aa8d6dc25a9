"""Dealing out: every clip of a step is seen once, by one process, in the run's order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.engine.dealing import Deal, deal_shares
from memx.errors import UserError


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_every_draw_of_a_step_is_dealt_once(accumulate: int, processes: int, each: int, step: int) -> None:
    batch = accumulate * processes * each
    hands = [Deal(batch, accumulate, processes, rank).places(step) for rank in range(processes)]
    assert all(len(hand) == accumulate and all(len(micro) == each for micro in hand) for hand in hands)
    seen = sorted(place for hand in hands for micro in hand for place in micro)
    assert seen == list(range(step * batch, (step + 1) * batch))


def test_a_batch_that_does_not_come_out_even_is_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match=r"train\.batch=10 .* 2 micro-batches .* and 3 processes.* such as 6 or 12"):
        Deal(10, 2, 3)
    with pytest.raises(UserError, match=r"to 4 micro-batches \(train\.accumulate\): .* multiple of 4, such as 4$"):
        Deal(3, 4)


def test_a_micro_batch_counts_by_its_supervised_frames() -> None:
    def micro(*frames: int) -> dict[str, torch.Tensor]:
        supervised = torch.arange(4)[None] < torch.tensor(frames)[:, None]
        return {"supervised": supervised, "video": torch.zeros(len(frames), 4, 1, 2, 2)}

    assert deal_shares([micro(1, 2), micro(3, 0)], one_length=True) == [0.5, 0.5]
    assert deal_shares([micro(1), micro(3)], one_length=True) == [0.25, 0.75]
    assert deal_shares([micro(0), micro(0)], one_length=True) == [0.5, 0.5]
