"""The time of a network's stages beside its bound: measured on the device at hand, projected for another."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from memx.profile.projection import Here, Projection
from memx.profile.roofline import StageBound
from memx.report.style import ImageFormat, Theme, render

_THIN, _THICK = 0.34, 0.78


def roofline(found: Projection, *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """A row a stage of a streamed frame, the longest bound on the device at hand first.

    Left, on the device at hand: what was measured, and in it the bound. Right, on the card, pale: the bound, which is
    all that is known of it. A bound is split into the operators that arithmetic binds and those that memory binds.
    """
    names = [stage.stage for stage in sorted(found.here.bound.stages, key=lambda stage: -stage.seconds)]
    panels = 1 if found.bound is None else 2

    def draw(figure: Figure, theme: Theme) -> None:
        row = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
        _measured(row[0], found.here, names, theme)
        if found.bound is not None:
            stages = {stage.stage: stage for stage in found.bound.stages}
            title = f"{found.card.title}, projected: at least {_time(found.bound.seconds)}"
            _bounds(row[1], [stages[name] for name in names], theme, _THICK, pale=True)
            for at, name in enumerate(names):
                _beside(row[1], at, stages[name].seconds, _time(stages[name].seconds), theme)
            _finish(row[1], title, [stages[name].seconds for name in names], 1e6, "µs a frame at least")
        row[0].set_yticks(range(len(names)), [name or "(between them)" for name in names])
        row[0].set_ylim(len(names) - 0.4, -0.6)
        legend = [
            Patch(color=theme.first, label="bound: arithmetic"),
            Patch(color=theme.second, label="bound: memory traffic"),
            Patch(color=theme.grid, label="measured, and the share of the bound reached"),
        ]
        figure.legend(handles=legend, loc="outside lower center", ncols=3)

    return render(draw, (1.2 + 4.6 * panels, 1.4 + 0.3 * len(names)), format=format, dark=dark)


def _measured(axes: Axes, here: Here, names: Sequence[str], theme: Theme) -> None:
    stages = {stage.stage: stage for stage in here.bound.stages}
    seconds = [here.stages.get(name, 0.0) for name in names]
    axes.barh(range(len(names)), [1000 * value for value in seconds], _THICK, color=theme.grid)
    _bounds(axes, [stages[name] for name in names], theme, _THIN, scale=1000)
    for at, (name, value) in enumerate(zip(names, seconds, strict=True)):
        share = here.stage_share(name)
        words = "not timed" if share is None else f"{_time(value)}, {share:.0%}"
        _beside(axes, at, max(value, stages[name].seconds), words, theme, scale=1000)
    title = f"{here.device}, measured: {_time(here.seconds)}, {here.share:.0%}"
    longest = [max(value, stages[name].seconds) for name, value in zip(names, seconds, strict=True)]
    _finish(axes, title, longest, 1000, "ms a frame")


def _bounds(
    axes: Axes, stages: Sequence[StageBound], theme: Theme, height: float, scale: float = 1e6, *, pale: bool = False
) -> None:
    alpha = 0.55 if pale else 1.0
    arithmetic = [scale * (stage.seconds - stage.waiting) for stage in stages]
    if pale:
        axes.barh(range(len(stages)), [scale * stage.seconds for stage in stages], height, color=theme.background)
    axes.barh(range(len(stages)), arithmetic, height, color=theme.first, alpha=alpha)
    memory = [scale * stage.waiting for stage in stages]
    axes.barh(range(len(stages)), memory, height, arithmetic, color=theme.second, alpha=alpha)


def _beside(axes: Axes, at: int, seconds: float, words: str, theme: Theme, scale: float = 1e6) -> None:
    axes.annotate(
        words, (scale * seconds, at), (4, 0), textcoords="offset points", va="center", color=theme.ink, fontsize=8.5
    )


def _finish(axes: Axes, title: str, seconds: Sequence[float], scale: float, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_xlim(0, 1.3 * scale * max(seconds))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:,.3g} µs" if seconds < 1e-3 else f"{1000 * seconds:,.3g} ms"
