"""Figures of an inspection: they are drawn from any gates, the same each time, and refuse what does not fit."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from memx.inspect.gate_series import GateSummaries
from memx.memory.gate import Gate
from memx.report.inspect_figures import gate_curves, gate_maps, state_curves, symbol
from memx.report.inspect_gradient_figures import clip_gradient_maps, training_gradient_curves
from memx.report.inspect_readout import MapRow, readout_sheet


def gates(frames: int = 4):
    """A gate of rows and heads, one of tokens without bound, and one number."""
    found = GateSummaries()
    for t in range(frames):
        found.add(
            {
                "alpha": Gate(torch.rand(1, 1, 5, 3) * (t + 1) / frames, "b o k h"),
                "beta": Gate(4 * torch.rand(1, 2, 7), "b h n", high=float("inf")),
                "rate": Gate(torch.full((1,), 0.5), "h"),
            }
        )
    return found.series()


def size(image: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(image)).size


@pytest.mark.parametrize(("frames", "dark"), [(1, False), (30, True)])
def test_gates_of_any_axes_and_length_are_drawn(frames: int, dark: bool) -> None:
    series = gates(frames)
    for draw in (gate_maps, gate_curves):
        assert min(size(draw(series, dark=dark, marks={"ED": 0}))) > 300
    assert gate_curves(series) == gate_curves(series)


def test_a_memory_without_gates_has_no_such_figure() -> None:
    for draw in (gate_maps, gate_curves):
        with pytest.raises(ValueError, match="gates is empty"):
            draw([])
    with pytest.raises(ValueError, match="channels is empty"):
        clip_gradient_maps({}, {}, supervised=[], channel={})


def test_a_state_that_is_no_matrix_has_two_panels() -> None:
    plain = {"state_bytes": np.arange(3), "readout_norm": np.ones((3, 2)), "structures": ["lv", "la"]}
    none = state_curves(frobenius=None, spectral=None, effective_rank=None, rank_limit=None, **plain)
    figures = {"frobenius": np.ones((3, 2)), "spectral": np.ones((3, 2)), "effective_rank": np.ones((3, 2))}
    assert size(state_curves(**figures, rank_limit=4, **plain))[0] > size(none)[0]


def test_gradients_with_gaps_are_drawn() -> None:
    r = np.array([np.nan, 0.5, -1.0])
    channels = {"alpha": np.random.default_rng(0).normal(size=(3, 4)), "beta": np.zeros((3, 4))}
    pair = {("alpha", "beta"): r}
    assert clip_gradient_maps(channels, pair, supervised=[True, False, True], channel={"alpha": "head"})
    matrix = np.full((8, 8), np.nan)
    norms = {"alpha": np.ones(3), "beta": np.ones(3)}
    assert training_gradient_curves(norms, pair, pair, {"alpha": 4, "beta": 4}, matrix)
    assert training_gradient_curves({"alpha": np.ones(3)}, {}, {}, {"alpha": 4}, matrix[:4, :4])


def test_the_readout_keeps_the_frames_proportions() -> None:
    """Pixels twice as high as wide: a frame of 20 × 20 is drawn 40 high and 20 wide, so the sheet is higher."""
    frame, mask = torch.rand(1, 20, 20), np.zeros((20, 20), dtype=np.int64)
    mask[5:15, 5:15] = 1
    values = np.random.default_rng(0).random((20, 20))
    values[:, :3] = np.nan
    rows = [MapRow("size", "‖r(n)‖", [values] * 4), MapRow("component", "", [values - 0.5] * 4, centred=True)]
    words = [f"frame {i}" for i in range(4)]
    square = size(readout_sheet([frame] * 4, [mask] * 4, rows, words, spacing=(1.0, 1.0)))
    tall = size(readout_sheet([frame] * 4, [mask] * 4, rows, words, spacing=(2.0, 1.0)))
    assert tall[0] == square[0]
    assert tall[1] > 1.8 * square[1]
    with pytest.raises(ValueError, match="4 frames, 4 labels and 3 captions"):
        readout_sheet([frame] * 4, [mask] * 4, rows, words[:3], spacing=None)


def test_scales_are_shared_and_centred_where_they_should_be() -> None:
    maps = [np.array([[np.nan, 1.0]]), np.array([[-3.0, 2.0]])]
    plain, centred = MapRow("", "", maps).scale(), MapRow("", "", maps, centred=True).scale()
    assert (plain.vmin, plain.vmax) == (-3, 2)
    assert (centred.vmin, centred.vmax) == (-3, 3)
    broken = MapRow("", "", [np.full((2, 2), np.nan)]).scale()
    assert broken.vmin is not None
    assert broken.vmax is not None
    assert broken.vmax > broken.vmin


@pytest.mark.parametrize(
    ("name", "shown"), [("alpha", "α"), ("beta_2", "β₂"), ("reset", "reset"), ("output", "output")]
)
def test_symbols(name: str, shown: str) -> None:
    assert symbol(name) == shown
