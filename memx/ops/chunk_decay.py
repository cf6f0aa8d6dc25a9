"""The decays inside chunks, forward and backward: none, one a head, or one a key channel.

D_ij is the decay between tokens j ≤ i of a chunk, d_i that from the chunk's start to token i, both counting token i's
own. Exponents are sums over the tokens between, never differences of running sums, so −1e4 costs no precision and
−∞ is an exact 0. A reset is a boundary that neither crosses. An erase key that reads before its token's decay counts
the exponents up to the token before.

Gradients to the exponents are gathered while the products are differentiated: M_ij for D_ij and m_i for d_i; then
∂g_l = Σ_{i ≥ l} (m_i + Σ_{j < l} M_ij), again sums and no differences, so that nothing crosses a boundary.

Tensors are (N, C, ·): N chunks of all batch items and heads, C tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class NoDecay:
    """Neither decays nor resets."""

    def product(self, x: Tensor, y: Tensor, *, first: bool = False) -> Float[Tensor, "n c c"]:
        """x_i · (D_ij ⊙ y_j), 0 above the diagonal; `first` with the decays of an erase key that reads first."""
        return torch.bmm(x, y.mT).tril_()

    def product_backward(
        self, dP: Tensor, P: Tensor, x: Tensor, y: Tensor, *, first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Gradients to x and y of `product`; dP is 0 above the diagonal."""
        return torch.bmm(dP, y), torch.bmm(dP.mT, x)

    def from_start(self, x: Tensor, *, first: bool = False) -> Tensor:
        """d_i ⊙ x_i: what is left of the chunk's first state when token i meets it."""
        return x

    def from_start_backward(self, dx: Tensor, x: Tensor, *, first: bool = False) -> Tensor:
        """Gradient to x of `from_start`."""
        return dx

    def to_end(self, y: Tensor) -> Tensor:
        """D_{C, j} ⊙ y_j: what is left of token j's write at the end of the chunk."""
        return y

    def to_end_backward(self, dy: Tensor, y: Tensor) -> Tensor:
        """Gradient to y of `to_end`."""
        return dy

    def whole(self) -> Float[Tensor, "n k 1"] | None:
        """d_C: what is left of the state after the whole chunk; None for all of it."""
        return None

    def whole_backward(self, dwhole: Tensor) -> None:
        """Take the gradient to the exponents of `whole`."""

    def gradient(self) -> Tensor | None:
        """The gradient to the log-decays, from all that was differentiated; None where there are none."""
        return None


class _Decay(NoDecay):
    """What decays a head and decays a channel have in common; `g` (N, C) or (N, C, k)."""

    def __init__(self, g: Tensor, segment: Int[Tensor, "n c"] | None):
        self.g, self.segment = g, segment
        self.pairs, self.start = self._cut(self._unbroken()), self._start_of(g)
        self._M = self._m = None

    @property
    def M(self) -> Tensor:
        """Gradients to the exponents of D, gathered; made when the first comes."""
        if self._M is None:
            self._M = torch.zeros_like(self.pairs)
        return self._M

    @property
    def m(self) -> Tensor:
        """Gradients to the exponents of d."""
        if self._m is None:
            self._m = torch.zeros_like(self.start)
        return self._m

    def _unbroken(self) -> Tensor:
        """D without resets."""
        size = self.g.shape[1]
        if self.g.ndim == 2:
            return self.g.unsqueeze(2).expand(-1, -1, size).tril(-1).cumsum(1).exp_().tril_()
        upper = torch.ones(size, size, dtype=torch.bool, device=self.g.device).triu()
        own = self.g.unsqueeze(2).expand(-1, -1, size, -1).masked_fill(upper.unsqueeze(-1), 0)
        return own.cumsum(1).exp_().masked_fill_(upper.triu(1).unsqueeze(-1), 0)

    def _cut(self, D: Tensor) -> Tensor:
        """D with 0 between tokens that a reset parts; in place."""
        if self.segment is None:
            return D
        apart = self.segment.unsqueeze(-1) != self.segment.unsqueeze(-2)
        return D.masked_fill_(apart.reshape(*apart.shape, *[1] * (D.ndim - 3)), 0)

    def _start_of(self, g: Tensor) -> Tensor:
        d = g.cumsum(1).exp_()
        if self.segment is None:
            return d
        return d.masked_fill_((self.segment > 0).reshape(*d.shape[:2], *[1] * (d.ndim - 2)), 0)

    def _pairs(self, first: bool) -> Tensor:
        """D; with `first` row i counts the exponents up to token i − 1, and its diagonal is not defined."""
        if not first:
            return self.pairs
        rows = self._unbroken()
        return self._cut(torch.cat([torch.zeros_like(rows[:, :1]), rows[:, :-1]], dim=1))

    def _start(self, first: bool) -> Tensor:
        if not first:
            return self.start
        return self._start_of(torch.cat([torch.zeros_like(self.g[:, :1]), self.g[:, :-1]], dim=1))

    def _wide(self, d: Tensor) -> Tensor:
        """Decays (N, C) or (N, C, k) beside tokens (N, C, k)."""
        return d if self.g.ndim == 3 else d.unsqueeze(-1)

    def _narrow(self, dexponents: Tensor) -> Tensor:
        """The inverse for gradients (N, …, k): summed over the channels that share an exponent."""
        return dexponents if self.g.ndim == 3 else dexponents.sum(-1)

    def _gather(self, dexponents: Tensor, first: bool) -> None:
        """Add to M what D_ij met; with `first` row i to the exponents of row i − 1."""
        if first:
            self.M[:, :-1] += dexponents[:, 1:]
        else:
            self.M.add_(dexponents)

    def from_start(self, x: Tensor, *, first: bool = False) -> Tensor:
        return x * self._wide(self._start(first))

    def from_start_backward(self, dx: Tensor, x: Tensor, *, first: bool = False) -> Tensor:
        dx = self.from_start(dx, first=first)
        met = self._narrow(dx * x)
        if first:
            self.m[:, :-1] += met[:, 1:]
        else:
            self.m.add_(met)
        return dx

    def to_end(self, y: Tensor) -> Tensor:
        return y * self._wide(self.pairs[:, -1])

    def to_end_backward(self, dy: Tensor, y: Tensor) -> Tensor:
        dy = self.to_end(dy)
        self.M[:, -1] += self._narrow(dy * y)
        return dy

    def whole(self) -> Float[Tensor, "n #k 1"]:
        return self._wide(self.start[:, -1:]).mT

    def whole_backward(self, dwhole: Float[Tensor, "n k"]) -> None:
        self.m[:, -1] += self._narrow(dwhole) * self.start[:, -1]

    def gradient(self) -> Tensor:
        size = self.g.shape[1]
        from_here = self.m.flip(1).cumsum(1).flip(1)
        later = self.M.flip(1).cumsum(1).flip(1)
        upper = torch.ones(size, size, dtype=torch.bool, device=later.device).triu()
        return from_here + later.masked_fill_(upper.reshape(size, size, *[1] * (later.ndim - 3)), 0).sum(2)


class HeadDecay(_Decay):
    """One decay a head: D scales the products of keys."""

    def product(self, x: Tensor, y: Tensor, *, first: bool = False) -> Float[Tensor, "n c c"]:
        return torch.bmm(x, y.mT).mul_(self._pairs(first))

    def product_backward(
        self, dP: Tensor, P: Tensor, x: Tensor, y: Tensor, *, first: bool = False
    ) -> tuple[Tensor, Tensor]:
        self._gather(dP * P, first)
        dP = dP * self._pairs(first)
        return torch.bmm(dP, y), torch.bmm(dP.mT, x)


class ChannelDecay(_Decay):
    """One decay a key channel: D is inside the products of keys."""

    def product(self, x: Tensor, y: Tensor, *, first: bool = False) -> Float[Tensor, "n c c"]:
        return ((self._pairs(first) * y.unsqueeze(1)) @ x.unsqueeze(-1)).squeeze(-1)

    def product_backward(
        self, dP: Tensor, P: Tensor, x: Tensor, y: Tensor, *, first: bool = False
    ) -> tuple[Tensor, Tensor]:
        pairs = self._pairs(first)
        decayed = pairs * y.unsqueeze(1)
        dx = (dP.unsqueeze(-2) @ decayed).squeeze(-2)
        ddecayed = dP.unsqueeze(-1) * x.unsqueeze(2)
        self._gather(ddecayed * decayed, first)
        return dx, (ddecayed * pairs).sum(1)


def chunk_decay(
    g: Float[Tensor, "n c"] | Float[Tensor, "n c k"] | None, reset: Bool[Tensor, "n c"] | None, like: Tensor
) -> NoDecay:
    """The decays of chunks from their log-decays and resets."""
    if g is None and reset is None:
        return NoDecay()
    segment = None if reset is None else reset.to(torch.int32).cumsum(1)
    if g is None:
        g = like.new_zeros(like.shape[:2])
    return (HeadDecay if g.ndim == 2 else ChannelDecay)(g, segment)
