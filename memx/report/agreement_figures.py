"""Agreement of ejection fractions: scatter and Bland–Altman plots, each the bytes of an SVG or PNG image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memx.metrics.agreement import agreement
from memx.report.style import ImageFormat, Theme, halo, render

SQUARE = (4.6, 4.2)


def ef_scatter(
    truth: Sequence[float],
    prediction: Sequence[float],
    *,
    method: str,
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Predicted against true ejection fraction in percent, with the line of identity, r and the mean absolute error."""
    _pairs(truth, prediction)

    def draw(figure: Figure, theme: Theme) -> None:
        _draw_scatter(figure.subplots(), theme, truth, prediction, method)

    return render(draw, SQUARE, format=format, dark=dark)


def ef_bland_altman(
    truth: Sequence[float],
    prediction: Sequence[float],
    *,
    method: str,
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Difference against mean of predicted and true ejection fraction, with bias and 95% limits of agreement."""
    _pairs(truth, prediction)

    def draw(figure: Figure, theme: Theme) -> None:
        _draw_bland_altman(figure.subplots(), theme, truth, prediction, method)

    return render(draw, SQUARE, format=format, dark=dark)


def _draw_scatter(axes: Axes, theme: Theme, truth: Sequence[float], prediction: Sequence[float], method: str) -> None:
    found = agreement(truth, prediction)
    assert found is not None
    everything = np.array([*truth, *prediction])
    margin = max(3.0, 0.08 * float(np.ptp(everything)))
    ends = (float(everything.min()) - margin, float(everything.max()) + margin)
    axes.plot(ends, ends, color=theme.muted, linewidth=1, linestyle="--")
    axes.scatter(truth, prediction, s=26, color=theme.first, alpha=0.8, linewidths=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="EF of the true masks (%)", ylabel="EF predicted (%)")
    r = f"r = {found.r:.3f}   " if found.r is not None else ""
    axes.set_title(f"EF, {method}")
    _say(axes, theme, f"{r}MAE {found.mae:.1f}   n = {found.n}")


def _draw_bland_altman(
    axes: Axes, theme: Theme, truth: Sequence[float], prediction: Sequence[float], method: str
) -> None:
    found = agreement(truth, prediction)
    assert found is not None
    first, second = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    axes.axhline(0, color=theme.muted, linewidth=0.8)
    axes.axhline(found.bias, color=theme.second)
    if found.low is not None and found.high is not None:
        axes.axhspan(found.low, found.high, color=theme.second, alpha=0.1, linewidth=0)
        for limit in (found.low, found.high):
            axes.axhline(limit, color=theme.second, linewidth=1, linestyle="--")
    axes.scatter((first + second) / 2, second - first, s=26, color=theme.first, alpha=0.8, linewidths=0)
    reach = 1.35 * max(np.abs(second - first).max(), abs(found.low or 0), abs(found.high or 0), 2.0)
    axes.set(ylim=(-reach, reach), xlabel="mean of both EFs (%)", ylabel="predicted − true (points)")
    axes.margins(x=0.08)
    axes.set_title(f"Bland–Altman, {method}")
    limits = "" if found.low is None else f"   95% limits {found.low:+.1f} to {found.high:+.1f}"
    _say(axes, theme, f"bias {found.bias:+.1f}{limits}".replace("-", "−"))


def _say(axes: Axes, theme: Theme, text: str) -> None:
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", color=theme.ink, path_effects=halo(theme))


def _pairs(truth: Sequence[float], prediction: Sequence[float]) -> None:
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} items and prediction {len(prediction)}; they belong together")
    if not len(truth):
        raise ValueError("truth is empty; agreement needs at least one pair")
