"""Figures of the gradients to a memory's gates: over the frames of a clip, and over the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from memx.report.inspect_figures import roomy, symbol
from memx.report.style import ImageFormat, Theme, render

DIVERGING = "RdBu_r"
Pair = tuple[str, str]


def clip_gradient_maps(
    channels: Mapping[str, np.ndarray],
    pearson: Mapping[Pair, np.ndarray],
    *,
    supervised: Sequence[bool],
    channel: Mapping[str, str],
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """∂L/∂gate as heat maps (frames to the right, channels down), and how alike those of two gates are, by frame.

    channels   gate → (t, c);  channel  gate → what its channels are, "" for one number
    pearson    pair of gates → (t)
    supervised frames whose masks are in the loss: drawn as ticks above the maps
    """
    if not channels:
        raise ValueError("channels is empty; there is no gradient to draw")

    def draw(figure: Figure, theme: Theme) -> None:
        roomy(figure)
        panels: Any = figure.subplots(1, len(channels) + bool(pearson), squeeze=False)[0]
        for axes, (name, values) in zip(panels, channels.items(), strict=False):
            t, c = values.shape
            most = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
            power = int(np.floor(np.log10(most)))
            image = axes.imshow(
                values.T / 10.0**power,
                aspect="auto",
                cmap=DIVERGING,
                vmin=-most / 10.0**power,
                vmax=most / 10.0**power,
                interpolation="nearest",
                extent=(0.5, t + 0.5, c + 0.5, 0.5),
            )
            bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=16)
            bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
            bar.ax.set_title(_power(power), fontsize=9, loc="left", color=theme.muted, weight="normal")
            axes.set_title(f"∂L/∂{symbol(name)}")
            axes.set_ylabel(channel.get(name) or "all channels")
            axes.grid(visible=False)
            axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            if c <= 12:
                axes.set_yticks(range(1, c + 1) if c > 1 else [])
            _frames(axes, t)
        if pearson:
            axes = panels[-1]
            for (pair, values), colour in zip(pearson.items(), _colours(theme, len(pearson)), strict=True):
                axes.plot(
                    np.arange(1, len(values) + 1), values, marker="o", markersize=4, color=colour, label=_pair(pair)
                )
            axes.set_title("Correlation of the gradients")
            axes.set_ylabel("Pearson's r")
            _correlation_axis(axes, theme)
            _frames(axes, len(supervised))
            if len(pearson) > 1:
                axes.legend(loc="best")
        for axes in [] if all(supervised) else panels:
            for frame in np.flatnonzero(supervised):
                axes.plot(
                    frame + 1,
                    1.02,
                    marker="v",
                    markersize=5,
                    color=theme.ink,
                    clip_on=False,
                    transform=axes.get_xaxis_transform(),
                )

    return render(draw, (3.8 * (len(channels) + bool(pearson)), 2.9), format=format, dark=dark)


def training_gradient_curves(
    norms: Mapping[str, np.ndarray],
    pearson: Mapping[Pair, np.ndarray],
    cosine: Mapping[Pair, np.ndarray],
    channels: Mapping[str, int],
    matrix: np.ndarray,
    *,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """Over training steps: the size of ∂L/∂gate, how alike those of two gates are, and every channel with every other.

    norms, pearson, cosine   a figure a step;  matrix (c, c) Pearson's r over the steps, gate after gate, of which each
    has `channels`
    """

    def draw(figure: Figure, theme: Theme) -> None:
        roomy(figure)
        panels: Any = figure.subplots(1, 3 if pearson else 2, width_ratios=[1, 1, 1.12] if pearson else [1, 1.12])
        for (name, values), colour in zip(norms.items(), _colours(theme, len(norms)), strict=True):
            _smoothed(panels[0], values, colour, symbol(name))
        panels[0].set_yscale("log")
        sizes = np.concatenate([values[values > 0] for values in norms.values()])
        wide = sizes.size > 0 and sizes.max() > 1e3 * sizes.min()
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        panels[0].yaxis.set_minor_formatter(NullFormatter())
        panels[0].set_title("Size of the gradient")
        panels[0].set_ylabel("‖∂L/∂gate‖")
        panels[0].set_xlabel("training step")
        panels[0].legend(loc="best")
        if pearson:
            colours = iter(_colours(theme, 2 * len(pearson)))
            for pair, values in pearson.items():
                _smoothed(panels[1], values, next(colours), f"Pearson's r{_of(pair, pearson)}")
                _smoothed(panels[1], cosine[pair], next(colours), f"cosine{_of(pair, pearson)}", dashes=(4, 2))
            panels[1].set_title(f"∂L/∂{symbol(next(iter(pearson))[0])} against ∂L/∂{symbol(next(iter(pearson))[1])}")
            panels[1].set_ylabel("correlation")
            panels[1].set_xlabel("training step")
            panels[1].legend(loc="best")
            _correlation_axis(panels[1], theme)
        _matrix(figure, panels[-1], matrix, channels, theme)

    return render(draw, (12.0 if pearson else 8.0, 3.5), format=format, dark=dark)


def _matrix(figure: Figure, axes: Any, matrix: np.ndarray, channels: Mapping[str, int], theme: Theme) -> None:
    axes.set_facecolor(theme.grid)
    image = axes.imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=18)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    ends = np.cumsum(list(channels.values()))
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color=theme.ink, linewidth=1.2)
        axes.axvline(end - 0.5, color=theme.ink, linewidth=1.2)
    middles = ends - np.array(list(channels.values())) / 2 - 0.5
    names = [f"∂L/∂{symbol(name)}" for name in channels]
    axes.set_xticks(middles, names)
    axes.set_yticks(middles, names, rotation=90, va="center")
    axes.tick_params(length=0, labelcolor=theme.ink)
    axes.grid(visible=False)
    axes.set_title("r of channels over the steps")


def _smoothed(axes: Any, values: np.ndarray, colour: str, label: str, dashes: tuple[float, float] = (1, 0)) -> None:
    """A curve over the steps: thin as it is, and in full its mean over a window of a tenth of the steps."""
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
    half = max(1, len(values) // 20)
    smooth = [
        np.nanmean(w) if np.isfinite(w := values[max(0, i - half) : i + half + 1]).any() else np.nan
        for i in range(len(values))
    ]
    axes.plot(steps, smooth, color=colour, label=label, dashes=dashes)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _correlation_axis(axes: Any, theme: Theme) -> None:
    axes.axhline(0, color=theme.muted, linewidth=1)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])


def _frames(axes: Any, count: int) -> None:
    axes.set_xlabel("frame of the training sample")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, count + 0.5)


def _pair(pair: Pair) -> str:
    return f"{symbol(pair[0])} and {symbol(pair[1])}"


def _of(pair: Pair, pairs: Mapping[Pair, np.ndarray]) -> str:
    return f" of {_pair(pair)}" if len(pairs) > 1 else ""


def _power(power: int) -> str:
    return "" if power == 0 else f"×10{str(power).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _colours(theme: Theme, count: int) -> tuple[str, ...]:
    three = (theme.first, theme.second, theme.third)
    return tuple(three[i % 3] for i in range(count))
