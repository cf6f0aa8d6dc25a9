"""The figures of a report, each a function of plain numbers that returns the bytes of an SVG or PNG image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from memx.report.style import ImageFormat, Theme, render

SINGLE = (4.8, 3.1)


def learning_curves(
    iterations: Sequence[float],
    train_loss: Sequence[float],
    *,
    val_iterations: Sequence[float] = (),
    val_dice: Sequence[float] = (),
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Training loss with its running mean, and below it validation Dice with the best value marked, over iterations."""
    _same_length("iterations", iterations, "train_loss", train_loss)
    _same_length("val_iterations", val_iterations, "val_dice", val_dice)

    def draw(figure: Figure, theme: Theme) -> None:
        panels = figure.subplots(2 if len(val_dice) else 1, 1, sharex=True, squeeze=False)[:, 0]
        loss = np.asarray(train_loss, dtype=np.float64)
        panels[0].plot(iterations, loss, color=theme.first, alpha=0.3, linewidth=1)
        panels[0].plot(iterations, _running_mean(loss), color=theme.first)
        panels[0].set_title("Training loss")
        panels[0].set_ylim(bottom=0)
        if len(val_dice):
            best = int(np.nanargmax(val_dice))
            panels[1].plot(val_iterations, val_dice, color=theme.second, marker="o", markersize=3.5)
            panels[1].plot(
                val_iterations[best], val_dice[best], "o", color=theme.second, markersize=8, fillstyle="none"
            )
            panels[1].set_title(f"Validation Dice: best {val_dice[best]:.3f} at {val_iterations[best]:g}")
            panels[1].margins(y=0.15)
        panels[-1].set_xlabel("iteration")
        for panel in panels:
            panel.yaxis.set_major_locator(MaxNLocator(4))

    return render(draw, (4.8, 4.2) if len(val_dice) else SINGLE, format=format, dark=dark)


def dice_distribution(
    groups: Mapping[str, Sequence[tuple[str, float]]],
    *,
    quantity: str = "Dice",
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Every mask's Dice, a row a structure: a dot each, a box from quartile to quartile, the median, the worst by name.

    So that a few missed masks do not press all others together, the axis ends at three times the error of the tenth
    percentile; what lies below is drawn as a triangle on its edge.

    groups    structure → (name of the case, Dice)
    quantity  what the axis is called
    """
    if not groups or not all(len(cases) for cases in groups.values()):
        raise ValueError("groups needs at least one structure, each with at least one case")

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        names = list(groups)
        colours = (theme.first, theme.second, theme.third)
        everything = np.array([value for cases in groups.values() for _, value in cases])
        least = max(float(everything.min()), 1 - 3 * (1 - float(np.quantile(everything, 0.1))), 0.0)
        width = max(1 - least, 0.01)
        for place, name in enumerate(names):
            values = np.array([value for _, value in groups[name]])
            colour = colours[place % len(colours)]
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.barh(place, high - low, left=low, height=0.5, color=colour, alpha=0.16)
            axes.plot([middle, middle], [place - 0.25, place + 0.25], color=colour, linewidth=2.4)
            heights = place + np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
            below = values < least
            axes.scatter(values[~below], heights[~below], s=14, color=colour, alpha=0.75, linewidths=0)
            edge = np.full(below.sum(), least)
            axes.scatter(edge, heights[below], s=26, marker="<", color=colour, linewidths=0, clip_on=False)
            worst = int(values.argmin())
            shown = max(values[worst], least)
            axes.text(
                shown,
                place + 0.37,
                f"{groups[name][worst][0]}  {values[worst]:.3f}",
                va="center",
                ha="left" if shown < 1 - width / 2 else "right",
                fontsize=8,
                color=theme.muted,
            )
        axes.set_xlim(least - 0.04 * width, 1 + 0.02 * width)
        axes.set_ylim(len(names) - 0.45, -0.4)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=theme.ink, labelsize=10)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(6))

    return render(draw, (4.8, 1.0 + 0.85 * len(groups)), format=format, dark=dark)


def worst_cases(
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    columns: int = 4,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """A sheet of frames (y, x, 3) uint8 with their captions, in the order given: the worst first."""
    _same_length("images", images, "captions", captions)
    if not len(images):
        raise ValueError("images is empty; a sheet needs at least one")
    across = min(columns, len(images))
    rows = math.ceil(len(images) / across)

    def draw(figure: Figure, theme: Theme) -> None:
        grid: Any = figure.subplots(rows, across, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, caption in zip(grid.flat, images, captions, strict=False):
            axes.imshow(image, interpolation="nearest")
            axes.set_title(caption, fontsize=8.5, weight="normal", color=theme.muted)

    shapes = [image.shape[0] / image.shape[1] for image in images]
    return render(draw, (2.2 * across, (2.2 * max(shapes) + 0.35) * rows), format=format, dark=dark)


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a twentieth of the run, cut off at both ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    left = np.maximum(np.arange(len(values)) - half, 0)
    right = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[right] - sums[left]) / (right - left)


def _same_length(first: str, a: Sequence[Any], second: str, b: Sequence[Any]) -> None:
    if len(a) != len(b):
        raise ValueError(f"{first} has {len(a)} items and {second} {len(b)}; they belong together")
