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
    assert (gain > 10 ** (-60 / 20) * 0.999).all()
    assert (gain <= 1).all()
    lost = gain.min(axis=1) < 1
    assert (gain[lost] < 1).all()
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
    lost = (gains < 1).any(-1)
    assert lost.mean() == pytest.approx(share, abs=0.04)
    assert lost[:, 0].mean() == pytest.approx(share, abs=0.2)
    begins = lost & ~np.pad(lost, ((0, 0), (1, 0)))[:, :-1]
    assert lost.sum() / begins.sum() == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share must be between"):
        contact(WHO, "4CH", frames=4, lines=8, share=share)


def test_pictures_darken_where_contact_is_lost_and_nothing_else_changes():
    options = {"size": 96, "frames": 12}
    plain, lossy = (phantom.simulate(WHO, "4CH", lost=share, **options) for share in (0.0, 0.5))
    assert np.array_equal(plain.labels, lossy.labels)
    assert np.array_equal(plain.volumes, lossy.volumes)
    assert plain.lost == ()
    assert lossy.lost
    for i in range(12):
        if i not in lossy.lost:
            assert np.array_equal(plain.video[i], lossy.video[i])
        else:
            assert lossy.video[i].mean() < 0.95 * plain.video[i].mean()


def test_end_diastole_is_never_lost_and_end_systole_may_be():
    views = [phantom.simulate(phantom.patient(3, i), "2CH", frames=6, lost=0.5, images=False) for i in range(30)]
    assert all(clip.ed not in clip.lost for clip in views)
    assert any(clip.es in clip.lost for clip in views)
    assert any(clip.ed > clip.es for clip in views)


@pytest.mark.parametrize(("layout", "views"), [("camus", {"2CH", "4CH"}), ("echonet", {"4CH"})])
def test_a_data_set_says_which_frames_of_which_view_are_lost(layout, views, tmp_path):
    summary = phantom.write(tmp_path / "set", layout=layout, patients=3, size=64, frames=80, lost=0.5)
    assert all(set(person["lost"]) == views for person in summary["patients"])
    frames = [frame for person in summary["patients"] for lost in person["lost"].values() for frame in lost]
    assert frames
    assert 0 <= min(frames) <= max(frames) < 80
