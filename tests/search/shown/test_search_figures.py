"""Figures of a study: every one that can be drawn is drawn, and what is drawn is what was measured."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from memx.report import pareto_figure, search_figures, slice_figure
from memx.report.pareto_figure import pareto
from memx.report.search_axes import Scale, limits, spread
from memx.report.search_figures import history, parameter_importance, trial_curves
from memx.report.slice_figure import slices
from memx.report.style import render
from memx.search.rows import Goal, Standing, Trial

SHARES = {
    "dice": {"model.memory": 0.6, "model.memory[gated_delta].heads": 0.3, "model.value_dim": 0.1},
    "latency_ms": {"model.value_dim": 1.0, "model.memory": 0.0},
}
FIGURES: dict[str, Callable[[Standing], Callable[..., bytes]]] = {
    "history": lambda s: partial(history, s),
    "trial_curves": lambda s: partial(trial_curves, s),
    "parameter_importance": lambda s: partial(parameter_importance, s, SHARES),
    "slices": lambda s: partial(slices, s, s.goals[0]),
    "pareto": lambda s: partial(pareto, s),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    """The figure itself, as a function of this package leaves it."""

    def run(draw: Callable[..., bytes]) -> Figure:
        kept: list[Figure] = []

        def keep(painter: Any, size: tuple[float, float], *, format: str, dark: bool) -> bytes:
            def and_keep(figure: Figure, theme: Any) -> None:
                painter(figure, theme)
                kept.append(figure)

            return render(and_keep, size, format="png", dark=dark, dpi=40)

        for module in (search_figures, slice_figure, pareto_figure):
            monkeypatch.setattr(module, "render", keep)
        draw()
        return kept[0]

    return run


def test_every_public_figure_is_drawn_here() -> None:
    public = {
        name
        for module in (search_figures, slice_figure, pareto_figure)
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - {"sliced"} == set(FIGURES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_is_an_svg_that_loads_nothing_and_repeats(made_up: ModuleType, name: str) -> None:
    draw = FIGURES[name](made_up.study(16))
    data = draw(format="svg", dark=False)
    root = ElementTree.fromstring(data)
    links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
    assert root.tag.endswith("svg")
    assert all(link.startswith(("#", "data:")) for link in links)
    assert data == draw(format="svg", dark=False)
    assert data != draw(format="svg", dark=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["history", "trial_curves", "pareto"])
def test_a_lone_trial_is_drawn(made_up: ModuleType, name: str, drawn) -> None:
    study = made_up.study(8, running=0)
    lone = replace(study, trials=(next(trial for trial in study.trials if trial.state == "complete"),))
    assert drawn(FIGURES[name](lone)).axes


def points(figure: Figure, panel: int) -> int:
    return sum(len(item.get_offsets()) for item in figure.axes[panel].collections if isinstance(item, PathCollection))


def test_history_hides_no_trial_that_has_ended(made_up: ModuleType, drawn) -> None:
    standing = made_up.study()
    figure = drawn(partial(history, standing))
    shown = sum(trial.state not in ("waiting", "taken_over") for trial in standing.trials)
    assert [points(figure, panel) for panel in (0, 1)] == [shown, shown]
    (steps,) = [line for line in figure.axes[0].lines if len(np.atleast_1d(line.get_xdata())) > 2]
    best = np.asarray(steps.get_ydata())
    assert np.all(np.diff(best) >= 0)
    assert best[-1] == max(trial.measures["dice"] for trial in standing.candidates())


def test_the_front_has_names_and_its_stairs_go_one_way(made_up: ModuleType, drawn) -> None:
    standing = made_up.study()
    axes = drawn(partial(pareto, standing)).axes[0]
    names = {item.get_text() for item in axes.texts if item.get_text()}
    assert names == {f"{trial.number} {trial.parameters['model.memory']}" for trial in standing.best()}
    stairs = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert np.all(np.diff(np.asarray(stairs.get_ydata())) >= 0)
    constraint = [line for line in axes.lines if list(line.get_xdata()) == [12.0, 12.0]]
    assert constraint, "the limit on latency is drawn"


@pytest.mark.parametrize("directions", [("maximize", "maximize"), ("minimize", "minimize"), ("minimize", "maximize")])
def test_a_front_never_covers_a_trial_it_does_not_beat(directions: tuple[Any, Any], drawn) -> None:
    goals = tuple(Goal(name, direction) for name, direction in zip("ab", directions, strict=True))
    places = np.random.default_rng(0).random((12, 2))
    trials = tuple(Trial(i, "complete", {}, {"a": float(a), "b": float(b)}) for i, (a, b) in enumerate(places))
    standing = Standing("s", goals, (), trials)
    axes = drawn(partial(pareto, standing)).axes[0]
    (stairs,) = [line for line in axes.lines if line.get_drawstyle().startswith("steps")]
    corners = np.column_stack(stairs.get_data())
    post = stairs.get_drawstyle() == "steps-post"
    signs = {"maximize": 1, "minimize": -1}
    for (x0, y0), (x1, y1) in pairwise(corners):
        corner = (x1, y0) if post else (x0, y1)
        for trial in trials:
            across = signs[directions[1]] * (trial.measures["b"] - corner[0])
            up = signs[directions[0]] * (trial.measures["a"] - corner[1])
            assert not (across > 1e-12 and up > 1e-12), "nothing lies beyond a corner of the stairs"


def test_three_goals_make_a_matrix_of_pairs(made_up: ModuleType, drawn) -> None:
    standing = made_up.study(24, goals=(made_up.DICE, made_up.LATENCY, made_up.SIZE))
    figure = drawn(partial(pareto, standing))
    assert [axes.get_ylabel().split(",")[0].rstrip(" ↑↓") for axes in figure.axes] == [
        "Validation Dice", "Validation Dice", "Latency a frame"
    ]  # fmt: skip


def test_choices_are_strips_and_numbers_have_the_scale_of_their_range(made_up: ModuleType, drawn) -> None:
    standing = made_up.study()
    panels = {axes.get_title(loc="left"): axes for axes in drawn(partial(slices, standing, standing.goals[0])).axes}
    assert panels["learning_rate"].get_xscale() == panels["value_dim"].get_xscale() == "log"
    assert panels["width"].get_xscale() == panels["heads"].get_xscale() == "linear"
    assert [tick.get_text() for tick in panels["memory"].get_xticklabels()] == sorted(made_up.MEMORIES)
    assert panels["value_dim"].get_xticks().tolist() == [32, 64, 128]


def test_importance_says_how_conditional_parameters_are_treated(made_up: ModuleType, drawn) -> None:
    standing = made_up.study()
    figure = drawn(partial(parameter_importance, standing, SHARES))
    assert [item.get_text() for item in figure.axes[0].get_yticklabels()] == ["value_dim", "memory", "heads †"]
    text = " ".join(figure.get_supxlabel().split())
    assert "† Only some choices have it" in text
    assert "Not assessed, since not every trial has them: capacity" in text


def test_what_cannot_be_drawn_is_refused(made_up: ModuleType) -> None:
    nothing = made_up.study(0)
    for name, words in {
        "history": "no trial has a value",
        "trial_curves": "no trial was validated",
        "pareto": "no trial is complete",
        "slices": "no parameter differs",
    }.items():
        with pytest.raises(ValueError, match=words):
            FIGURES[name](nothing)()
    with pytest.raises(ValueError, match="needs two goals"):
        pareto(made_up.study(6, goals=(made_up.DICE,)))
    with pytest.raises(ValueError, match="there are none"):
        parameter_importance(made_up.study(6), {})


def test_limits_are_read_from_constraints() -> None:
    standing = Standing("s", (), ("latency_ms < 20", "dice >= 0.8", "macs <= lots", "latency_ms<=30"), ())
    assert limits(standing, "latency_ms") == [20.0, 30.0]
    assert limits(standing, "dice") == [0.8]
    assert limits(standing, "macs") == limits(standing, "latency") == []


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=30),
    direction=st.sampled_from(["maximize", "minimize"]),
)
def test_a_scale_holds_the_best_and_the_better_quarters(values: list[float], direction: Any) -> None:
    scale = Scale.of(Goal("m", direction), values, [])
    assert scale.low < scale.high
    better = sorted(values, reverse=direction == "maximize")
    assert all(scale.holds(value) for value in better[: max(1, 3 * len(values) // 4)])
    assert all(scale.holds(scale.clipped(value)) for value in values)


@settings(deadline=None, max_examples=60)
@given(places=st.lists(st.floats(0, 1), max_size=12), apart=st.floats(0.01, 0.2))
def test_spread_places_keep_apart_and_in_order(places: list[float], apart: float) -> None:
    places = sorted(places, reverse=True)
    found = spread(places, apart, 1.0)
    assert all(above - below >= apart - 1e-9 for above, below in pairwise(found))
    assert all(place <= 1.0 + 1e-9 for place in found)
    if all(above - below >= apart for above, below in pairwise(places)):
        assert found == pytest.approx(places)
