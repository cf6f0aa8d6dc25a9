"""Figures over time: area and volume of a structure with ED and ES, and Dice frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from memx.report.style import ImageFormat, Theme, render


@dataclass(frozen=True)
class Curve:
    """One quantity over the frames of a clip.

    values  (t,) as predicted; 0 and NaN, where nothing was found, leave gaps
    truth   frame → value in the frames that have labels
    """

    quantity: str
    unit: str
    values: Sequence[float]
    truth: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """A mean over clips frame by frame and the ends of its interval, (t,) each, NaN where there is none."""

    frames: Sequence[int]
    mean: Sequence[float] | NDArray[np.float64]
    low: Sequence[float] | NDArray[np.float64]
    high: Sequence[float] | NDArray[np.float64]


def time_curves(
    curves: Sequence[Curve],
    *,
    fps: float | None = None,
    frames: Sequence[int] | None = None,
    ed: int | None = None,
    es: int | None = None,
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Quantities of one clip, a panel each, in seconds where `fps` is known and in frames, from 1, where not.

    frames  (t,) what the frames are called, from 0, where they are not the first ones; None: 0, 1, …

    ED and ES are marked with the predicted values. The truth is hollow, and dashed where frames follow each other.
    Raises ValueError for no curve, curves of several lengths, and frames outside them.
    """
    if not curves or len({len(curve.values) for curve in curves}) != 1:
        raise ValueError("curves: wants at least one, and all of one length")
    length = len(curves[0].values)
    marks = {name: frame for name, frame in (("ED", ed), ("ES", es)) if frame is not None}
    outside = [*marks.items(), *(("truth", frame) for curve in curves for frame in curve.truth)]
    for name, frame in outside:
        if not 0 <= frame < length:
            raise ValueError(f"{name.lower()} is {frame}; the curve has frames 0 to {length - 1}")

    def draw(figure: Figure, theme: Theme) -> None:
        time = np.arange(length) / fps if fps else np.asarray(range(length) if frames is None else frames) + 1
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, curve in zip(panels, curves, strict=True):
            _draw_curve(axes, theme, time, curve, marks)
        panels[-1].set_xlabel("time (s)" if fps else "frame")
        if not fps:
            panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if any(curve.truth for curve in curves):
            panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, columnspacing=1)

    return render(draw, (4.8, 0.7 + 2.4 * len(curves)), format=format, dark=dark)


def dice_course(
    courses: Mapping[str, Course], *, quantity: str = "Dice", format: ImageFormat = "svg", dark: bool = False
) -> bytes:
    """Mean Dice of each structure frame by frame, with its interval as a band."""
    if not courses:
        raise ValueError("courses needs at least one structure")

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for place, (name, course) in enumerate(courses.items()):
            colour = (theme.first, theme.second, theme.third)[place % 3]
            frames = np.asarray(course.frames) + 1
            axes.fill_between(frames, course.low, course.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(frames, course.mean, color=colour, label=name, marker="o" if len(frames) <= 60 else None, ms=3)
        axes.margins(x=0.03, y=0.15)
        axes.set_title(f"{quantity} over the clip")
        axes.set_xlabel("frame")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0, columnspacing=1)

    return render(draw, (4.8, 3.1), format=format, dark=dark)


def _draw_curve(axes: Axes, theme: Theme, time: np.ndarray, curve: Curve, marks: Mapping[str, int]) -> None:
    values = np.asarray(curve.values, dtype=np.float64)
    small = {"marker": "o" if len(values) <= 60 else None, "markersize": 3}
    if curve.truth:
        truth = np.full(len(values), np.nan)
        truth[list(curve.truth)] = list(curve.truth.values())
        axes.plot(time, truth, color=theme.muted, ls="--", lw=1.4, marker="o", ms=4.5, fillstyle="none", label="truth")
    label = "prediction" if curve.truth else None
    axes.plot(time, np.where(values > 0, values, np.nan), color=theme.first, label=label, **small)
    looks = {"ED": (theme.second, "top"), "ES": (theme.third, "bottom")}
    for name, frame in marks.items():  # in the margins, where no curve runs
        colour, side = looks[name]
        at = (time[frame], values[frame])
        axes.axvline(at[0], color=colour, linewidth=1, linestyle=":")
        axes.plot(*at, "o", color=colour, markersize=8)
        late = abs(time[frame] - time[0]) > 0.6 * np.ptp(time)
        axes.annotate(
            f"{name}  {values[frame]:,.{0 if values[frame] >= 1000 else 1}f} {curve.unit}",
            (time[frame], 0.97 if side == "top" else 0.03),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-5 if late else 5, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va=side,
            color=colour,
            weight="bold",
        )
    axes.margins(x=0.03, y=0.32)
    axes.set_title(f"{curve.quantity} ({curve.unit})")
    axes.yaxis.set_major_locator(MaxNLocator(4))
