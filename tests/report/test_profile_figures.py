"""Figures of a profile: words and bars agree, light and dark differ, and nothing to draw is refused."""

from __future__ import annotations

from functools import partial

import pytest
from matplotlib.figure import Figure

from memx.report import profile_figures, scaling_figures
from memx.report.profile_figures import Cost, Time, bytes_held, component_costs, frame_times, time_shares
from memx.report.scaling_figures import Growth, growth
from memx.report.style import LIGHT
from memx.report.words import mib, millions, short_bytes, times

COSTS = [Cost("small", 1000, 500, 10), Cost("large", 900_000, 0, 2_000_000), Cost("idle", 0, 0, 7)]
DRAWN = {
    "costs": partial(component_costs, COSTS),
    "times": partial(frame_times, [Time("a clip", 3.0, 4.0, "333 frames/s"), Time("a frame", 5.0, 5.0)]),
    "shares": partial(time_shares, {"memory": 1.0, "decoder": 3.0, "tiny": 0.001}),
    "bytes": partial(bytes_held, {"weights": {"": 2.0**20}, "state": {"1 clip": 8192.0, "none": 0.0}}),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    """Draw, and give the figure instead of its bytes."""

    def keep(draw, size, *, format, dark):
        figure = Figure(figsize=size)
        draw(figure, LIGHT)
        return figure

    for module in (profile_figures, scaling_figures):
        monkeypatch.setattr(module, "render", keep)
    return lambda call: call()


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_light_and_dark_and_both_formats(name: str) -> None:
    light, dark = (DRAWN[name](dark=dark) for dark in (False, True))
    assert light.lstrip().startswith(b"<?xml")
    assert light != dark
    assert light == DRAWN[name](dark=False)
    assert DRAWN[name](format="png").startswith(b"\x89PNG")


def test_components_come_by_their_flops(drawn) -> None:
    figure = drawn(DRAWN["costs"])
    arithmetic, parameters = figure.axes
    assert [label.get_text() for label in arithmetic.get_yticklabels()] == ["large", "small", "idle"]
    assert words(figure) == ["1.80 M  100%", "2.50 k  <1%", "0", "2.00 M", "10", "7"]
    assert arithmetic.get_title() == "FLOPs: 1.80 M"
    assert parameters.get_title() == "Parameters: 2.00 M"
    bars = [bar.get_width() for bar in arithmetic.patches]
    assert bars == [1_800_000, 2000, 0, 0, 500, 0]


def test_whiskers_reach_the_95th_percentile(drawn) -> None:
    (axes,) = drawn(DRAWN["times"]).axes
    assert [bar.get_width() for bar in axes.patches] == [3.0, 5.0]
    whiskers = axes.collections[0].get_segments()
    assert [(line[0][0], line[1][0]) for line in whiskers] == [(3.0, 4.0), (5.0, 5.0)]
    assert axes.get_xlim()[0] == 0, "bars start at zero"


def test_shares_add_up_and_the_most_comes_first(drawn) -> None:
    figure = drawn(DRAWN["shares"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["decoder", "memory", "tiny"]
    assert words(figure) == ["3.00 ms  75%", "1.00 ms  25%", "0.00 ms  <1%"]


def test_bytes_of_nothing_are_left_out(drawn) -> None:
    figure = drawn(DRAWN["bytes"])
    assert words(figure) == ["1.00 MiB", "8.00 KiB"]


def test_a_flat_line_is_drawn_flat(drawn) -> None:
    """Noise of 1% takes less than a hundredth of the height."""
    panels = {"ms": {"a": Growth([10, 100], [5.0, 5.05])}, "MiB": {"a": Growth([10, 100], [1.0, 1000.0])}}
    flat, steep = drawn(partial(growth, panels, axis="frames")).axes
    low, high = flat.get_ylim()
    assert high / low == pytest.approx(10)
    assert low < 5 < high
    low, high = steep.get_ylim()
    assert low < 1 < 1000 < high
    assert high / low < 2000


@pytest.mark.parametrize(
    "call",
    [
        partial(component_costs, []),
        partial(frame_times, []),
        partial(time_shares, {}),
        partial(bytes_held, {"state": {"a": 0}}),
        partial(growth, {}, axis="frames"),
    ],
)
def test_nothing_to_draw_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"costs|items|milliseconds|groups|panels"):
        call()


@pytest.mark.parametrize(
    ("form", "value", "words"),
    [
        (mib, 2**20, "1.00 MiB"),
        (mib, 2**20 - 1, "1,024.00 KiB"),
        (mib, 13824, "13.50 KiB"),
        (millions, 999, "999"),
        (millions, 999_900, "1.00 M"),
        (millions, 20_496_000_000, "20.5 G"),
        (short_bytes, 540_672, "528 KiB"),
        (short_bytes, 12, "12 B"),
        (times, 0.994, "0.99 ×"),
        (times, 14.24, "14.2 ×"),
        (times, 350.4, "350 ×"),
    ],
)
def test_words(form, value: float, words: str) -> None:
    assert form(value) == words
