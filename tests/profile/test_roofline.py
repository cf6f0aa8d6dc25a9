"""A projection obeys the laws of the roofline, is marked as one, and is held to the device at hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import UserError
from memx.models.build import build
from memx.profile import projection as projecting
from memx.profile.arithmetic import Call, Tally
from memx.profile.cards import CARDS, LAUNCH_SECONDS, Peaks, card_of, find_card
from memx.profile.components import Component
from memx.profile.measured_peaks import Measured, measure_peaks
from memx.profile.projection import Projection, count_frame, project
from memx.profile.projection_figure import roofline
from memx.profile.roofline import bound, formats
from memx.profile.speed import Job
from memx.recipe import Recipe

TINY = ["gdkvm_phantom", "data.size=32", "data.frames=2", "train.batch=2"]
PEAKS = Peaks({"fp32": 4.0, "bf16": 16.0}, 2.0, 8.0)

calls = st.builds(
    Call,
    st.just("mm"),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["float32", "bfloat16"]),
)
tallies = st.lists(calls, max_size=6).map(lambda made: Tally(calls=Counter(made)))


def tree(own: Tally, *parts: Tally) -> Component:
    """A model of parts that did this."""
    made = tuple(Component(f"part{number}", "Part", 0, tally, True) for number, tally in enumerate(parts))
    return Component("", "Model", 0, own, True, made)


frames = st.builds(tree, tallies, tallies, tallies).filter(lambda frame: frame.whole.calls)


def test_a_hand_count() -> None:
    """A product of 8 MACs and 2 elementwise operations at 4 and 2 FLOP/s, and a copy of 24 bytes at 8 bytes/s."""
    product, copy = Call("mm", 8, 2, 16, "float32"), Call("clone", 0, 0, 24, "float32")
    (stage,) = bound(tree(Tally(calls=Counter({product: 2, copy: 1}))), PEAKS).stages
    assert (stage.calls, stage.flops, stage.bytes) == (3, 36, 56)
    assert stage.arithmetic == pytest.approx(2 * (16 / 4 + 2 / 2))
    assert stage.traffic == pytest.approx(2 * 16 / 8 + 24 / 8)
    assert stage.seconds == pytest.approx(2 * 5 + 3)
    assert stage.waiting == pytest.approx(3)
    assert stage.bound_by == "arithmetic"
    assert stage.intensity == pytest.approx(36 / 56)


@settings(deadline=None, max_examples=50)
@given(frames, st.floats(0.01, 100))
def test_time_scales_inversely_with_the_peaks(frame: Component, factor: float) -> None:
    faster = Peaks({k: factor * v for k, v in PEAKS.products.items()}, factor * PEAKS.vector, factor * PEAKS.bandwidth)
    assert bound(frame, faster).seconds == pytest.approx(bound(frame, PEAKS).seconds / factor)


@settings(deadline=None, max_examples=50)
@given(frames)
def test_never_below_either_resource_nor_above_both(frame: Component) -> None:
    found = bound(frame, PEAKS)
    for stage in (*found.stages, found.whole):
        assert max(stage.arithmetic, stage.traffic) <= stage.seconds * (1 + 1e-12)
        assert stage.seconds <= (stage.arithmetic + stage.traffic) * (1 + 1e-12)
        assert 0 <= stage.waiting <= stage.seconds * (1 + 1e-12)


@settings(deadline=None, max_examples=50)
@given(frames)
def test_one_resource_without_end_leaves_the_other(frame: Component) -> None:
    no_waiting = bound(frame, replace(PEAKS, bandwidth=inf)).whole
    assert no_waiting.seconds == pytest.approx(bound(frame, PEAKS).whole.arithmetic)
    assert no_waiting.waiting == 0
    no_work = bound(frame, Peaks(dict.fromkeys(PEAKS.products, inf), inf, PEAKS.bandwidth)).whole
    assert no_work.seconds == pytest.approx(bound(frame, PEAKS).whole.traffic)
    assert no_work.bound_by == "memory"


@settings(deadline=None, max_examples=50)
@given(frames)
def test_stages_sum_to_the_whole(frame: Component) -> None:
    found = bound(frame, PEAKS)
    one = bound(tree(frame.whole), PEAKS)
    assert found.seconds == pytest.approx(sum(stage.seconds for stage in found.stages)) == pytest.approx(one.seconds)
    assert (found.whole.flops, found.whole.bytes) == (frame_flops(frame), frame.whole.bytes)
    assert found.binding.seconds == max(stage.seconds for stage in found.stages)


def frame_flops(frame: Component) -> int:
    return sum(count * call.flops for call, count in frame.whole.calls.items())


def test_products_run_at_the_peak_of_their_format(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(operator: str, form: str, peaks: Peaks) -> float:
        return bound(tree(Tally(calls=Counter([Call(operator, 8, 0, 0, form)]))), peaks).seconds

    assert seconds("mm", "float32", PEAKS) == pytest.approx(4 * seconds("mm", "bfloat16", PEAKS))
    tf32 = Peaks({"fp32": 4.0, "tf32": 8.0}, 2.0, 8.0)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert seconds("convolution", "float32", tf32) == pytest.approx(2.0)
    assert seconds("convolution", "float32", PEAKS) == pytest.approx(4.0), "a device without TF32"
    assert seconds("mm", "float32", tf32) == pytest.approx(4.0), "torch rounds no matrix product unless told"
    with pytest.raises(UserError, match=r"mm: there is no peak for products in float64; there are fp32, tf32"):
        seconds("mm", "float64", tf32)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_has_a_source_and_peaks_of_every_format(name: str) -> None:
    card = find_card(name)
    assert card.source
    assert set(card.peaks.products) == {"fp32", "tf32", "bf16", "fp16"}
    assert card.peaks.products["fp32"] <= card.peaks.products["tf32"] <= card.peaks.products["bf16"]
    assert card.peaks.products["fp32"] == card.peaks.vector
    assert all(card_of(device) is card for device in card.devices)


def test_the_card_of_the_paper_and_cards_that_are_like_another() -> None:
    assert find_card("rtx_3090").peaks == Peaks(
        {"fp32": 35.6e12, "tf32": 35.6e12, "bf16": 71e12, "fp16": 71e12}, 35.6e12, 936e9
    )
    assert card_of("NVIDIA GeForce RTX 3090 Ti") is None
    assert card_of("NVIDIA GeForce RTX 3090") is CARDS["rtx_3090"]


def test_a_device_is_measured() -> None:
    """Within bounds that every processor keeps to."""
    found = measure_peaks("cpu", ["bf16"])
    assert set(found.peaks.products) == {"fp32", "bf16"}
    assert found.peaks.vector == found.peaks.products["fp32"] > 1e8
    assert 1e8 < found.peaks.bandwidth < 1e14
    assert 1e-9 < found.launch < 1e-2


@pytest.fixture
def job() -> Job:
    recipe = Recipe.load(TINY[0], TINY[1:])
    return Job(build(recipe).eval(), torch.rand(1, 4, 1, 32, 32))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured(Peaks({"fp32": 1e11, "bf16": 2e11}, 1e11, 2e10), 1e-6)
    monkeypatch.setattr(projecting, "measure_peaks", lambda device, formats: found)
    return found


def test_a_projection_is_marked_as_one(job: Job, measured: Measured) -> None:
    found = project(job, CARDS["rtx_3090"], stages={"image_encoder": 0.002}, seconds=0.01)
    assert found.bound is not None
    assert found.at_share is not None
    data = json.loads(json.dumps(found.as_dict()))
    assert data["projected"] is True
    assert all(stage["projected"] is True for stage in data["stages"])
    assert sum(stage["bound_ms"] for stage in data["stages"]) == pytest.approx(data["bound_ms"])
    assert data["fps_at_most"] == pytest.approx(1000 / data["bound_ms"])
    assert data["launches_ms"] == pytest.approx(1000 * LAUNCH_SECONDS * data["operators"])
    assert data["source"] == CARDS["rtx_3090"].source
    assert found.here.share == pytest.approx(found.here.bound.seconds / 0.01)
    assert found.at_share == pytest.approx(found.bound.seconds / found.here.share)
    shares = {stage["stage"]: stage["share_reached"] for stage in data["here"]["stages"]}
    encoder = next(stage for stage in found.here.bound.stages if stage.stage == "image_encoder")
    assert shares["image_encoder"] == pytest.approx(encoder.seconds / 0.002)
    assert shares["decoder"] is None, "it was not timed"
    assert roofline(found, format="png").startswith(b"\x89PNG")
    assert roofline(found, dark=True) == roofline(found, dark=True)


def test_nothing_is_projected_to_the_device_at_hand(
    job: Job, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memx.cli.projection import projection_pieces

    found = project(job, CARDS["rtx_3090"], stages={}, seconds=0.01)
    here = replace(found, bound=None)
    assert here.as_dict()["projected"] is False
    assert "bound_ms" not in here.as_dict()
    assert (here.at_share, here.launches) == (None, None)
    said = [piece for piece in projection_pieces(here) if isinstance(piece, str)]
    assert "NVIDIA GeForce RTX 3090 is the device at hand: the speed above is measured on it" in said[1]
    assert not any("projected:" in piece for piece in said)
    assert roofline(here, format="png").startswith(b"\x89PNG")


def test_half_precision_moves_fewer_bytes_and_is_counted_as_it_runs(job: Job) -> None:
    whole, half = count_frame(job, 1), count_frame(replace(job, precision="bf16"), 1)
    assert formats(whole) == {"fp32"}
    assert "bf16" in formats(half)
    assert half.whole.macs.total() == whole.whole.macs.total()
    products = {"convolution", "addmm", "bmm", "mm"}

    def through(frame: Component) -> int:
        return sum(n * call.bytes for call, n in frame.whole.calls.items() if call.operator in products)

    assert through(half) < 0.75 * through(whole)


def test_the_command_projects_and_validates(command, tmp_path: Path) -> None:
    status, out, err = command("profile", *TINY, "--fps", "--rounds", "1", "--batch", "1", "--out", tmp_path)
    assert status == 0, err
    for words in (
        "NVIDIA GeForce RTX 3090, projected",
        "bound by",
        "NVIDIA Ampere GA102 GPU architecture, whitepaper",
        "At the share of its bound that",
        "µs a launch, projected: about",
        "bound and measured",
        "whole, unwatched",
        "Peaks measured here",
    ):
        assert words in out
    data = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["projection"]
    assert (data["card"], data["projected"]) == ("rtx_3090", True)
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_another_card_and_a_batch_without_one_clip(command) -> None:
    status, out, err = command(
        "profile", *TINY, "--fps", "--rounds", "1", "--batch", "2", "--json", "--card", "h200_sxm"
    )
    assert status == 0, err
    data = json.loads(out)
    assert data["projection"]["title"] == "NVIDIA H200 SXM"
    assert data["projection"]["here"]["measured_ms"] > 0


def test_an_unknown_card_is_refused_with_the_nearest(command) -> None:
    status, _, err = command("profile", *TINY, "--card", "rtx3090")
    assert status == 2
    assert "--card rtx3090: no peaks are known of it; there are rtx_3090, rtx_4090" in err
    assert "did you mean rtx_3090?" in err


def test_nothing_is_projected_without_times(command) -> None:
    status, out, err = command("profile", *TINY, "--flops", "--json")
    assert status == 0, err
    assert json.loads(out)["projection"] is None


def test_projection_is_of_a_record(job: Job, measured: Measured) -> None:
    """The frame in the middle of the clip is counted, whatever its precision."""
    found = project(job, CARDS["a100_40gb"], stages={}, seconds=1.0)
    assert isinstance(found, Projection)
    assert (found.frame, found.precision) == (2, "fp32")
