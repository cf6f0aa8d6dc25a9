"""The sensory GRU against its equations."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from memx.sensory import ConvGRU, GRUSensory


def test_the_gru_is_its_equation():
    gru = ConvGRU(3, 4).double()
    g, h = torch.randn(2, 3, 5, 5, dtype=torch.float64), torch.randn(2, 4, 5, 5, dtype=torch.float64)
    f, u, n = F.conv2d(torch.cat([g, h], 1), gru.gates.weight, gru.gates.bias, padding=1).split(4, 1)
    expected = f.sigmoid() * h * (1 - u.sigmoid()) + u.sigmoid() * n.tanh()
    torch.testing.assert_close(gru(g, h), expected, atol=1e-12, rtol=0)


def test_the_state_stays_bounded():
    gru = ConvGRU(3, 4)
    h = torch.zeros(1, 4, 3, 3)
    with torch.no_grad():
        for _ in range(200):
            h = gru(10 * torch.randn(1, 3, 3, 3), h)
    assert h.abs().max() <= 1


def test_decoder_maps_are_averaged_down_to_the_grid():
    sensory = GRUSensory(6, 4, (8, 5, 2)).double()
    h = sensory.init_state(2, 3, (2, 3), dtype=torch.float64)
    maps = [torch.randn(2, 3, c, 2 * s, 3 * s, dtype=torch.float64) for c, s in ((8, 1), (5, 2), (3, 4))]
    seen = sum(
        proj(F.adaptive_avg_pool2d(m.flatten(0, 1), (2, 3))) for proj, m in zip(sensory.decoder_proj, maps, strict=True)
    )
    *coarse, finest = maps
    expected = sensory.decoder_gru(seen, h.flatten(0, 1)).view_as(h)
    torch.testing.assert_close(
        sensory.see_decoder(h, (*coarse, finest[:, :, :-1]), finest[:, :, -1]), expected, atol=1e-12, rtol=0
    )


def test_each_object_has_a_state_of_its_own():
    sensory = GRUSensory(6, 4, (8,)).double()
    value = torch.randn(2, 3, 6, 4, 4, dtype=torch.float64)
    h = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64)
    whole = sensory.see_value(h, value)
    torch.testing.assert_close(whole[1:, 2:], sensory.see_value(h[1:, 2:], value[1:, 2:]), atol=1e-12, rtol=0)
