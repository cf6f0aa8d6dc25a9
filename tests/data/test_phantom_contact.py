"""Lost contact: parts of the sector without echoes in some frames, the same every time, with labels that stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.data import phantom
from memx.data.phantom.contact import contact

WHO = phantom.patient(0, 0)


@settings(deadline=None, max_examples=40, database=None)
@given(
    seed=st.integers(0, 999),
    frames=st.integers(1, 30),
    share=st.floats(0, 0.5),
    kept=st.sets(st.integers(0, 29), max_size=3),
)
def test_gains_are_factors_that_leave_kept_frames_alone(seed, frames, share, kept):
    gain = contact(phantom.patient(seed, 1), "4CH", frames=frames, lines=32, share=share, kept=tuple(kept))
    assert gain.shape == (frames, 32)
    assert (gain > 10 ** (-40 / 20) * 0.999).all()
    assert (gain <= 1).all()
    for i in kept & set(range(frames)):
        assert (gain[i] == 1).all()
    again = contact(phantom.patient(seed, 1), "4CH", frames=frames, lines=32, share=share, kept=tuple(kept))
    assert np.array_equal(gain, again)


def test_without_a_share_nothing_is_lost():
    assert (contact(WHO, "2CH", frames=20, lines=8, share=0) == 1).all()


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5])
def test_the_share_of_lost_frames_is_the_share_asked_for(share):
    gains = np.stack(
        [contact(phantom.patient(5, i), "4CH", frames=60, lines=16, share=share, kept=()) for i in range(60)]
    )
    lost = (gains < 0.9).any(-1)
    assert lost.mean() == pytest.approx(share, abs=0.04)
    begins = lost & ~np.pad(lost, ((0, 0), (1, 0)))[:, :-1]
    assert lost.sum() / begins.sum() == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share must be between"):
        contact(WHO, "4CH", frames=4, lines=8, share=share)


def test_pictures_darken_where_contact_is_lost_and_nothing_else_changes():
    options = {"size": 96, "frames": 12}
    plain, lossy = (phantom.simulate(WHO, "4CH", lost=share, **options) for share in (0.0, 0.5))
    assert np.array_equal(plain.labels, lossy.labels)
    assert np.array_equal(plain.volumes, lossy.volumes)
    gain = contact(WHO, "4CH", frames=12, lines=16, share=0.5, kept=(0, plain.ed))
    whole = (gain == 1).all(-1)
    assert not whole.all()
    for i in range(12):
        if whole[i]:
            assert np.array_equal(plain.video[i], lossy.video[i])
        else:
            assert lossy.video[i].mean() < 0.95 * plain.video[i].mean()
