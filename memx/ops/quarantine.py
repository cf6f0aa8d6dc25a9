"""Keep NaN and infinity from reaching what came before them.

In a matrix form a token of the future meets the past with weight 0, and 0 · NaN = NaN; the same happens in the
backward pass of a plain loop, where it meets a gradient of 0. So non-finite tokens are replaced by zeros before
any product, and NaN is added afterwards to every result that depends on them: no result and no gradient before
the bad token changes, and everything after it, up to the next reset, is NaN.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def may_look(x: Tensor) -> bool:
    """Whether numbers may be looked at: on the CPU and outside a compiler, where that costs no wait and no graph."""
    return x.is_cpu and not torch.compiler.is_compiling()


def plainly_finite(*tensors: Tensor | None, logarithm: Tensor | None = None) -> bool:
    """Whether everything is seen to be finite at the cost of a sum each; a logarithm may be −∞.

    False also where sums overflow. To be asked only where `may_look`; elsewhere the masks of this module are computed.
    """
    if logarithm is not None and logarithm.numel() and not logarithm.detach().amax().item() < torch.inf:
        return False
    total = 0.0
    for x in tensors:
        if x is not None:
            total += x.detach().sum().item()
    return math.isfinite(total)


def bad_rows(x: Float[Tensor, "*batch c"]) -> Bool[Tensor, "*batch"]:
    """True where a row holds a NaN or an infinity."""
    return ~torch.isfinite(x).all(-1)


def cleared(x: Tensor, bad: Bool[Tensor, "*batch"]) -> Tensor:
    """`x` with the bad rows zero; `bad` has the leading axes of `x`."""
    return torch.where(bad.reshape(*bad.shape, *[1] * (x.ndim - bad.ndim)), x.new_zeros(()), x)


def poison(bad: Tensor, like: Tensor) -> Tensor:
    """NaN where `bad`, else 0, in the dtype of `like`: add it to a result."""
    return like.new_zeros(()).expand(bad.shape).masked_fill(bad, float("nan"))


def spoiled(
    bad: Bool[Tensor, "b t *rest"], reset: Bool[Tensor, "b t"] | None, start: Bool[Tensor, "b *rest"]
) -> Bool[Tensor, "b t1 *rest"]:
    """Where a sequence is spoiled: at and after a bad step, up to the next reset. Entry 0 is the start itself.

    `start` says whether the initial state is bad. A step that is bad and reset at once is spoiled.
    """
    bad = torch.cat([start.unsqueeze(1), bad], dim=1)
    step = torch.arange(bad.shape[1], device=bad.device).reshape(1, -1, *[1] * (bad.ndim - 2))
    last_bad = torch.where(bad, step, -1).cummax(1).values
    if reset is None:
        return last_bad >= 0
    fresh = torch.cat([reset.new_zeros(reset.shape[0], 1), reset], dim=1).reshape(*bad.shape[:2], *[1] * (bad.ndim - 2))
    return last_bad >= torch.where(fresh, step, 0).cummax(1).values
