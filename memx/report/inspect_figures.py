"""Figures of a memory on a clip: its gates over frames, and what its state is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from memx.inspect.gate_series import GateSeries
from memx.report.style import ImageFormat, Theme, halo, render

HEAT = "viridis"
SPREAD = "cividis"
Marks = Mapping[str, int]
"""Frames to mark, such as those of end diastole and end systole, by name; counted from 0."""


def symbol(name: str) -> str:
    """A gate's name as it is written: α, β, β₂, or the name itself."""
    word, _, index = name.partition("_")
    greek = {"alpha": "α", "beta": "β"}.get(word)
    return name if greek is None else greek + index.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def gate_maps(
    gates: Sequence[GateSeries],
    *,
    object: int = 0,
    marks: Marks | None = None,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """Each gate as heat maps over frames: by channel its mean and its spread, and by key row its mean.

    Colours run over the values from the second frame on, since the first frame may meet an empty state; an arrow on the
    colour bar says that some lie outside. Frames that did not meet a gate are blank.
    """
    if not gates:
        raise ValueError("gates is empty; a memory without gates has no such figure")

    def draw(figure: Figure, theme: Theme) -> None:
        roomy(figure)
        grid: Any = figure.subplots(len(gates), 3, squeeze=False)
        for row, gate in zip(grid, gates, strict=True):
            place = min(object, gate.channels.shape[1] - 1)
            name, channel = symbol(gate.name), gate.channel or "all channels"
            over = _pooled_axes(gate)
            _heat(figure, row[0], gate.channels[:, place], name, f"{name}, {over[0]}", channel, theme, HEAT, marks)
            _heat(figure, row[1], gate.spread[:, place], "std", f"{name}, {over[1]}", channel, theme, SPREAD, None)
            if gate.rows is None:
                row[2].set_axis_off()
                continue
            title = f"{name}, mean over {_plural(gate.channel)}" if gate.channel else f"{name} of each key channel"
            _heat(figure, row[2], gate.rows[:, place], name, title, "key channel (row of S)", theme, HEAT, marks)

    return render(draw, (11.4, 2.75 * len(gates)), format=format, dark=dark)


def gate_curves(
    gates: Sequence[GateSeries],
    *,
    object: int = 0,
    marks: Marks | None = None,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """The mean of each gate over frames, with the range that the middle 90% of its entries lie in.

    Gates that can take the same values share a panel.
    """
    if not gates:
        raise ValueError("gates is empty; a memory without gates has no such figure")
    groups: dict[tuple[float, float], list[GateSeries]] = {}
    for gate in gates:
        bounded = (0.0, 1.0) if gate.low >= 0 and gate.high <= 1 else (gate.low, gate.high)
        groups.setdefault(bounded, []).append(gate)

    def draw(figure: Figure, theme: Theme) -> None:
        roomy(figure)
        panels = figure.subplots(1, len(groups), squeeze=False)[0]
        for axes, ((low, high), members) in zip(panels, groups.items(), strict=True):
            for gate, colour in zip(members, _colours(theme, len(members)), strict=False):
                place = min(object, gate.mean.shape[1] - 1)
                frames = np.arange(1, len(gate.mean) + 1)
                axes.fill_between(frames, gate.bottom[:, place], gate.top[:, place], color=colour, alpha=0.18, lw=0)
                axes.plot(frames, gate.mean[:, place], color=colour, marker=_marker(len(frames)), markersize=3)
                last = np.flatnonzero(np.isfinite(gate.mean[:, place]))[-1]
                axes.annotate(
                    symbol(gate.name),
                    (frames[last], gate.mean[last, place]),
                    xytext=(7, 0),
                    textcoords="offset points",
                    va="center",
                    color=colour,
                    weight="bold",
                    fontsize=12,
                    path_effects=halo(theme),
                )
            if np.isfinite([low, high]).all():
                axes.set_ylim(low - 0.03 * (high - low), high + 0.14 * (high - low))
            axes.set_xlim(1 - 0.03 * len(members[0].mean), 1.07 * len(members[0].mean))
            axes.set_title(
                f"{' and '.join(symbol(gate.name) for gate in members)}: mean, and middle 90% of the entries"
            )
            axes.set_ylabel("gate")
            _frames_axis(axes, len(members[0].mean), marks, theme)

    return render(draw, (9.0 if len(groups) == 1 else 5.6 * len(groups), 3.3), format=format, dark=dark)


def state_curves(
    *,
    frobenius: np.ndarray | None,
    spectral: np.ndarray | None,
    effective_rank: np.ndarray | None,
    rank_limit: int | None,
    state_bytes: np.ndarray,
    readout_norm: np.ndarray,
    structures: Sequence[str],
    marks: Marks | None = None,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """The state after every frame: its norms and effective rank, or where it is no matrix its size; and the readout.

    Arrays are (t, o); several objects are drawn in a colour each.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        roomy(figure)
        panels: Any = figure.subplots(1, 2 if effective_rank is None else 3)
        if effective_rank is None or frobenius is None or spectral is None:
            _lines(panels[0], {"": state_bytes[:, None] / 1024}, [""], theme, marks)
            panels[0].set_title("Size of the state")
            panels[0].set_ylabel("KiB")
        else:
            _lines(panels[0], {"Frobenius": frobenius, "spectral": spectral}, structures, theme, marks)
            panels[0].set_title("Norm of the state")
            panels[0].set_ylabel("‖S‖")
            _lines(panels[1], {"": effective_rank}, structures, theme, marks)
            panels[1].set_title(f"Effective rank (at most {rank_limit})")
            panels[1].set_ylabel("directions in use")
        _lines(panels[-1], {"": readout_norm}, structures, theme, marks)
        panels[-1].set_title("Readout")
        panels[-1].set_ylabel("‖r(n)‖, mean over tokens")

    return render(draw, (7.6 if effective_rank is None else 11.4, 2.9), format=format, dark=dark)


def roomy(figure: Figure) -> None:
    """Room between panels, so that one's labels keep apart from the next one's colour bar."""
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.1, h_pad=0.08)


def _heat(
    figure: Figure,
    axes: Any,
    values: np.ndarray,
    unit: str,
    title: str,
    rows: str,
    theme: Theme,
    cmap: str,
    marks: Marks | None,
) -> None:
    """(t, c) as an image with frames to the right, and its colour bar."""
    inner = values[1:] if len(values) > 2 and np.isfinite(values[1:]).any() else values
    low, high = float(np.nanmin(inner)), float(np.nanmax(inner))
    if high - low < 1e-9:
        low, high = low - 0.5e-3, high + 0.5e-3
    slack = 1e-6 * (high - low)
    below, above = np.nanmin(values) < low - slack, np.nanmax(values) > high + slack
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    t, c = values.shape
    image = axes.imshow(
        values.T,
        aspect="auto",
        cmap=cmap,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        extent=(0.5, t + 0.5, c + 0.5, 0.5),
    )
    bar = figure.colorbar(image, ax=axes, extend=extend, pad=0.02, aspect=16)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.set_title(unit, fontsize=9, loc="left", color=theme.muted, weight="normal")
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    axes.set_title(title)
    axes.set_ylabel(rows)
    axes.grid(visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if c <= 12:
        axes.set_yticks(range(1, c + 1))
    if c == 1:
        axes.set_yticks([])
    _frames_axis(axes, t, marks, theme, below=True)
    axes.set_xlim(0.5, t + 0.5)


def _lines(
    axes: Any, curves: Mapping[str, np.ndarray], structures: Sequence[str], theme: Theme, marks: Marks | None
) -> None:
    """Curves (t, o): an object a colour, a quantity a line style; named at their ends."""
    count = next(iter(curves.values())).shape[1]
    single = count == 1
    colours = _colours(theme, len(curves) if single else count)
    for index, (name, values) in enumerate(curves.items()):
        for o in range(values.shape[1]):
            colour = colours[index if single else o]
            label = " ".join(filter(None, (name, "" if single else structures[o])))
            frames = np.arange(1, len(values) + 1)
            style = "-" if single or index == 0 else "--"
            axes.plot(frames, values[:, o], style, color=colour, marker=_marker(len(frames)), markersize=3, label=label)
    if len(curves) > 1 or not single:
        axes.legend(loc="best")
    most = max(float(np.nanmax(values, initial=0.0)) for values in curves.values())
    axes.set_ylim(0, 1.2 * most if most > 0 else 1)
    _frames_axis(axes, len(next(iter(curves.values()))), marks, theme)


def _frames_axis(axes: Any, count: int, marks: Marks | None, theme: Theme, *, below: bool = False) -> None:
    """Whole frames from 1, with the marked ones named: on the plot as lines, or `below` an image as its ticks."""
    axes.set_xlabel("frame")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if count <= 16:
        axes.set_xticks(range(1, count + 1, 1 if count <= 10 else 2))
    for name, frame in (marks or {}).items():
        if below:
            continue
        axes.axvline(frame + 1, color=theme.muted, linewidth=1, linestyle=":")
        axes.annotate(
            name,
            (frame + 1, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3 if frame < 0.8 * count else -3, -2),
            textcoords="offset points",
            ha="left" if frame < 0.8 * count else "right",
            va="top",
            fontsize=8.5,
            color=theme.muted,
            path_effects=halo(theme),
        )


def _pooled_axes(gate: GateSeries) -> tuple[str, str]:
    """What the mean and the spread of a channel are taken over, in words."""
    words = {"k": "key channels", "n": "tokens", "y": "rows", "x": "columns", "h": "heads", "v": "value channels"}
    channel = {"head": "h", "value channel": "v"}.get(gate.channel, "")
    pooled = [words[letter] for letter in gate.axes.split() if letter in words and letter != channel]
    over = " and ".join(pooled).replace("rows and columns", "positions")
    return (f"mean over {over}", f"spread over {over}") if over else ("as it is", "spread (one number: none)")


def _plural(channel: str) -> str:
    return {"head": "heads", "value channel": "value channels"}.get(channel, "")


def _colours(theme: Theme, count: int) -> tuple[str, ...]:
    """As many as are asked for, starting over after the last."""
    three = (theme.first, theme.second, theme.third)
    return tuple(three[i % 3] for i in range(count))


def _marker(count: int) -> str | None:
    return "o" if count <= 60 else None
