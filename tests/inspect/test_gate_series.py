"""Known gates give known curves, channel by channel and row by row."""

from __future__ import annotations

import numpy as np
import torch

from memx.inspect.gate_series import GateSummaries, table
from memx.memory.gate import Gate


def series(*values: torch.Tensor, axes: str, log: bool = False):
    collected = GateSummaries()
    for value in values:
        collected.add({"alpha": Gate(value, axes, log=log)})
    return collected.series()[0]


def test_a_gate_of_rows_and_heads_is_split_into_both() -> None:
    """value[o, k, h] = o + k / 10 + h / 100 at frame 0, and twice that at frame 1."""
    o, k, h = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (2, 4, 3)), indexing="ij")
    value = (o + k / 10 + h / 100)[None]
    found = series(value, 2 * value, axes="b o k h")
    assert (found.axes, found.channel) == ("o k h", "head")
    times = np.array([1, 2])[:, None, None]
    np.testing.assert_allclose(found.channels, times * (np.arange(2)[:, None] + 0.15 + np.arange(3) / 100))
    np.testing.assert_allclose(found.spread, times * np.full((2, 3), np.std([0, 0.1, 0.2, 0.3])))
    assert found.rows is not None
    np.testing.assert_allclose(found.rows, times * (np.arange(2)[:, None] + np.arange(4) / 10 + 0.01))
    np.testing.assert_allclose(found.mean, times[..., 0] * (np.arange(2) + 0.16))


def test_a_constant_gate_has_a_flat_curve_without_spread() -> None:
    found = series(*[torch.full((1, 2, 5), 0.25)] * 4, axes="b h n")
    assert (found.mean == 0.25).all()
    assert (found.bottom == 0.25).all()
    assert (found.top == 0.25).all()
    assert not found.spread.any()
    assert found.rows is None
    assert found.channels.shape == (4, 1, 2)


def test_a_logarithm_is_shown_as_its_gate() -> None:
    found = series(torch.log(torch.tensor([[0.5, 0.25]])), axes="b h", log=True)
    np.testing.assert_allclose(found.channels[0, 0], [0.5, 0.25])


def test_the_percentiles_are_those_of_all_entries() -> None:
    found = series(torch.arange(101.0)[None, None], axes="b h n")
    assert (found.bottom[0, 0], found.mean[0, 0], found.top[0, 0]) == (5, 50, 95)


def test_axes_that_are_not_there_count_as_one() -> None:
    assert table(torch.ones(3), "h", "o", "h").shape == (1, 3, 1)
    assert table(torch.ones(1, 2, 4, 5, 6), "b o v y x", "o", "v").shape == (2, 4, 30)
    assert table(torch.ones(1, 5), "b n", "o", "").shape == (1, 1, 5)
