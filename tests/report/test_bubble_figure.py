"""The bubble figure: every network is on it by name, no name lies on another, and it says what it cannot show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from memx.report import bubble_figure
from memx.report.bubble_figure import Bubble, bubbles
from memx.report.style import ImageFormat, Theme, render

CLOSE = [
    Bubble("a_network_of_ours", 31.0, 35_000_000, "gated_delta", 0.921, (0.911, 0.930)),
    Bubble("the_same_again", 31.4, 35_000_000, "gated_delta", 0.9205, (0.910, 0.929)),
    Bubble("nearly_the_same", 30.8, 35_000_000, "linear", 0.9212, (0.912, 0.931), "validation"),
    Bubble("a_slow_one", 24.0, 54_000_000, "softmax", 0.931),
    Bubble("small", 95.0, 1_400_000, "linear", 0.897, (0.882, 0.911)),
]
UNSCORED = [Bubble("fast_and_new", 97.0, 1_400_000, "linear"), Bubble("slow_and_new", 23.0, 54_000_000, "softmax")]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    """The figure itself, as `bubbles` leaves it."""

    def run(points: Sequence[Bubble]) -> Figure:
        kept: list[Figure] = []

        def keep(draw, size, *, format, dark):
            def and_keep(figure: Figure, theme: Theme) -> None:
                draw(figure, theme)
                kept.append(figure)

            return render(and_keep, size, format=format, dark=dark)

        monkeypatch.setattr(bubble_figure, "render", keep)
        bubbles(points, quantity="Dice, test patients", source="a machine", format="png")
        return kept[0]

    return run


def names_of(figure: Figure) -> list[Annotation]:
    return [
        item for axes in figure.axes for item in axes.texts if isinstance(item, Annotation) and item.get_text() != ""
    ]


@pytest.mark.parametrize("points", [CLOSE[:1], CLOSE[:2], CLOSE, CLOSE + UNSCORED, UNSCORED], ids=len)
def test_names_lie_on_no_name_and_on_no_other_bubble(drawn, points: list[Bubble]) -> None:
    figure = drawn(points)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    names = names_of(figure)
    assert sorted(item.get_text().split("\n")[0] for item in names) == sorted(point.name for point in points)
    boxes = [item.get_window_extent(canvas.get_renderer()) for item in names]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    for axes in figure.axes[: 2 if len(points) == len(CLOSE + UNSCORED) else 1]:
        for item in axes.collections:
            if isinstance(item, PathCollection):
                (x, y), side = axes.transData.transform(np.asarray(item.get_offsets()))[0], item.get_sizes()[0] ** 0.5
                radius = 0.9 * side / 2 * figure.dpi / 72
                for box in boxes:
                    nearest = (min(max(x, box.x0), box.x1) - x, min(max(y, box.y0), box.y1) - y)
                    assert (nearest[0] ** 2 + nearest[1] ** 2) ** 0.5 > radius


def test_area_goes_with_parameters(drawn) -> None:
    figure = drawn(CLOSE)
    areas = {round(np.asarray(item.get_offsets())[0, 0].item(), 1): item.get_sizes()[0] for item in bubbles_of(figure)}
    assert areas[24.0] / areas[31.0] == pytest.approx(54 / 35)


def bubbles_of(figure: Figure) -> list[PathCollection]:
    return [item for item in figure.axes[0].collections if isinstance(item, PathCollection)]


def test_networks_without_a_dice_stand_below(drawn) -> None:
    figure = drawn(CLOSE + UNSCORED)
    above, below = figure.axes[:2]
    assert below.get_title(loc="left").startswith("no Dice")
    assert below.get_position().y1 < above.get_position().y0
    assert {item.get_text() for item in below.texts if item.get_text()} == {"fast_and_new", "slow_and_new"}
    assert above.get_xscale() == below.get_xscale() == "log"
    assert above.get_xlim() == below.get_xlim()


def test_without_any_dice_parameters_are_drawn_and_the_title_says_so(drawn) -> None:
    axes = drawn(UNSCORED).axes[0]
    assert axes.get_title(loc="left") == "Size against speed: none of these networks has a Dice"
    assert axes.get_ylabel() == "parameters, millions"
    assert axes.get_yscale() == "log"


def test_near_speeds_are_on_a_linear_axis(drawn) -> None:
    assert drawn(CLOSE[:4]).axes[0].get_xscale() == "linear"


def test_every_memory_has_a_look_of_its_own(drawn) -> None:
    kinds = [f"memory_{number}" for number in range(17)]
    figure = drawn([Bubble(kind, 10.0 + number, 1_000_000, kind, 0.9) for number, kind in enumerate(kinds)])
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == kinds
    looks = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == len(kinds)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("format", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_both_formats_and_pages(format: ImageFormat, starts: bytes, dark: bool) -> None:
    first = bubbles(CLOSE + UNSCORED, source="a machine", format=format, dark=dark)
    assert first.startswith(starts)
    assert first == bubbles(CLOSE + UNSCORED, source="a machine", format=format, dark=dark)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        bubbles([])
    with pytest.raises(ValueError, match=r"broken: 0\.0 frames a second"):
        bubbles([*CLOSE, Bubble("broken", 0.0, 1, "linear")])


@settings(deadline=None, max_examples=40)
@given(least=st.floats(1e-3, 1e6), factor=st.floats(1.0, 1e4))
def test_ticks_are_within_the_ends_and_there_are_some(least: float, factor: float) -> None:
    ticks = bubble_figure._round_ticks(least, least * factor)
    assert all(least <= tick <= least * factor for tick in ticks)
    assert ticks == sorted(ticks)
    if factor >= bubble_figure.WIDE:
        assert len(ticks) >= 2


@settings(deadline=None, max_examples=40)
@given(least=st.integers(1, 10**9), factor=st.integers(1, 10**4))
def test_sizes_of_the_legend_are_not_larger_than_the_largest(least: int, factor: int) -> None:
    sizes = bubble_figure._round_sizes(least, least * factor)
    assert 1 <= len(sizes) <= 3
    assert sizes == sorted(set(sizes))
    assert sizes[-1] <= least * factor <= 2.5 * sizes[-1]
