"""The rank-one recurrence in chunks, with its backward pass written out.

Within a chunk of C tokens that starts from the state S

    (I + A) U = V − (d ⊙ E) S        A_ij = E_i · (D_ij ⊙ B_j) for j < i
    out = scale ((d ⊙ Q) S + P U)    P_ij = Q_i · (D_ij ⊙ B_j) for j ≤ i
    S ← d_C ⊙ S + (D_C ⊙ B)ᵀ U

with queries Q, erase keys E, write keys B, values V, and the decays D and d of ops/chunk_decay.py. With
T = (I + A)⁻¹, U = T V − T (d ⊙ E) S, so that only two products a chunk are done one after another.

Backward, from dout (times scale) and the gradient G to the state after the chunk:

    dU = Pᵀ dout + (D_C ⊙ B) G
    dS = d_C ⊙ G + (d ⊙ Q)ᵀ dout − (T (d ⊙ E))ᵀ dU
    W = Tᵀ dU = dV,      dA = −W Uᵀ,      d(d ⊙ E) = −W Sᵀ,      dP = dout Uᵀ,      d(D_C ⊙ B) = U Gᵀ

Decays and products of keys are computed anew; inputs in chunks, T, T (d ⊙ E), U and the chunks' first states are kept.
The WY form of Yang et al., arXiv 2406.06484.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from memx.ops.chunk_decay import NoDecay, chunk_decay
from memx.ops.triangular import unit_lower_inverse


@dataclass(frozen=True)
class Layout:
    """How (b, t, h, ·) becomes (chunks · b · h, size, ·), chunk-major, every `period` tokens padded to whole chunks."""

    b: int
    t: int
    h: int
    size: int
    period: int

    @property
    def per_period(self) -> int:
        """Chunks of a period."""
        return -(-self.period // self.size)

    @property
    def chunks(self) -> int:
        return self.t // self.period * self.per_period

    def split(self, x: Tensor) -> Tensor:
        """(b t h ·) → (chunk·b·h, token, ·); padding is zeros, steps that change nothing."""
        missing = self.per_period * self.size - self.period
        if missing:
            x = F.pad(x.unflatten(1, (-1, self.period)), (0, 0, 0, 0, 0, missing)).flatten(1, 2)
        x = x.unflatten(1, (self.chunks, self.size)).permute(1, 0, 3, 2, 4)
        return x.reshape(-1, self.size, x.shape[-1])

    def join(self, x: Tensor) -> Tensor:
        """The inverse of `split`, without the padding."""
        x = x.unflatten(0, (self.chunks, self.b, self.h)).permute(1, 0, 3, 2, 4)
        x = x.reshape(self.b, -1, self.per_period * self.size, self.h, x.shape[-1])
        return x[:, :, : self.period].flatten(1, 2)

    def gates(self, g: Tensor | None) -> Tensor | None:
        """Log-decays (b t h) or (b t h k) in chunks."""
        if g is None:
            return None
        return self.split(g.unsqueeze(-1)).squeeze(-1) if g.ndim == 3 else self.split(g)

    def resets(self, reset: Bool[Tensor, "b t"] | None) -> Bool[Tensor, "n c"] | None:
        if reset is None:
            return None
        return self.split(reset[:, :, None, None].expand(-1, -1, self.h, 1)).squeeze(-1)

    def by_chunk(self, x: Tensor) -> Tensor:
        """(chunk·b·h, …) → (chunk, b·h, …)."""
        return x.unflatten(0, (self.chunks, self.b * self.h))


@dataclass
class Chunks:
    """What the forward pass computed, in chunks; what the backward pass needs of it."""

    query: Tensor | None
    erase: Tensor | None
    write: Tensor
    inverse: Tensor | None
    """T."""
    recall: Tensor | None
    """T (d ⊙ E)."""
    news: Tensor
    """U."""
    states: Float[Tensor, "chunks1 bh k v"]
    """The state before every chunk, and the last."""


def forward(
    layout: Layout,
    decay: NoDecay,
    query: Tensor | None,
    erase: Tensor | None,
    write: Tensor,
    value: Tensor,
    state: Float[Tensor, "bh k v"],
    *,
    erase_first: bool,
    scale: float,
) -> tuple[Float[Tensor, "n c v"] | None, Chunks]:
    """Outputs in chunks (None without queries), and all that led to them."""
    inverse = recall = recalls = None
    news = value
    if erase is not None:
        inverse = unit_lower_inverse(decay.product(erase, write, first=erase_first))
        recall = torch.bmm(inverse, decay.from_start(erase, first=erase_first))
        news = torch.bmm(inverse, value)
        recalls = layout.by_chunk(recall)
    kept, ended = _kept(layout, decay), layout.by_chunk(decay.to_end(write).mT)
    by_chunk = layout.by_chunk(news)
    whole = state.new_empty(layout.chunks + 1, *state.shape)
    whole[0] = state
    for c in range(layout.chunks):
        S, u = whole[c], by_chunk[c]
        if recalls is not None:
            torch.baddbmm(u, recalls[c], S, alpha=-1, out=u)
        after = whole[c + 1]
        torch.baddbmm(S if kept is None else torch.mul(S, kept[c], out=after), ended[c], u, out=after)
    chunks = Chunks(query, erase, write, inverse, recall, news, whole)
    if query is None:
        return None, chunks
    out = torch.bmm(decay.from_start(query), whole[:-1].flatten(0, 1))
    return torch.baddbmm(out, decay.product(query, write), news, beta=scale, alpha=scale), chunks


def backward(
    layout: Layout,
    decay: NoDecay,
    chunks: Chunks,
    dout: Float[Tensor, "n c v"] | None,
    dstates: Float[Tensor, "periods bh k v"],
    *,
    erase_first: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, Tensor]:
    """Gradients to query, erase, write, value (in chunks) and the first state; `decay` gathers its own."""
    query, erase, write, news = chunks.query, chunks.erase, chunks.write, chunks.news
    before = chunks.states[:-1].flatten(0, 1)
    ended, kept = decay.to_end(write), _kept(layout, decay)
    P = dP = reads = douts = recalls = None
    dnews = torch.zeros_like(news)
    if query is not None and dout is not None:
        P = decay.product(query, write)
        dnews = torch.bmm(P.mT, dout)
        reads, douts = layout.by_chunk(decay.from_start(query).mT), layout.by_chunk(dout)
        dP = torch.bmm(dout, news.mT).tril_()
    if chunks.recall is not None:
        recalls = layout.by_chunk(chunks.recall.mT)
    G = torch.zeros_like(chunks.states[0])
    ended_by_chunk, dnews_by_chunk = layout.by_chunk(ended), layout.by_chunk(dnews)
    after = torch.empty_like(chunks.states[1:])
    for c in reversed(range(layout.chunks)):
        if (c + 1) % layout.per_period == 0:
            G = G + dstates[(c + 1) // layout.per_period - 1]
        after[c] = G
        du = dnews_by_chunk[c]
        torch.baddbmm(du, ended_by_chunk[c], G, out=du)
        G = G if kept is None else G * kept[c]
        if reads is not None and douts is not None:
            G = torch.baddbmm(G, reads[c], douts[c])
        if recalls is not None:
            G = torch.baddbmm(G, recalls[c], du, alpha=-1)
    after = after.flatten(0, 1)
    if kept is not None:
        decay.whole_backward((after * before).sum(-1))

    dquery = derase = None
    dwrite = decay.to_end_backward(torch.bmm(news, after.mT), write)
    if P is not None and dP is not None and query is not None and dout is not None:
        dquery, more = decay.product_backward(dP, P, query, write)
        dquery = dquery + decay.from_start_backward(torch.bmm(dout, before.mT), query)
        dwrite = dwrite + more
    dvalue = dnews
    if erase is not None and chunks.inverse is not None:
        dvalue = torch.bmm(chunks.inverse.mT, dnews)
        A = decay.product(erase, write, first=erase_first).tril_(-1)
        dA = torch.bmm(dvalue, news.mT).tril_(-1).neg_()
        derase, more = decay.product_backward(dA, A, erase, write, first=erase_first)
        derase = derase + decay.from_start_backward(torch.bmm(dvalue, before.mT).neg_(), erase, first=erase_first)
        dwrite = dwrite + more
    return dquery, derase, dwrite, dvalue, G


def _kept(layout: Layout, decay: NoDecay) -> Tensor | None:
    whole = decay.whole()
    return None if whole is None else layout.by_chunk(whole)


class ChunkedRule(torch.autograd.Function):
    """out (b t h v), the states after every period (periods, b·h, k, v), and the gradients of both, once."""

    @staticmethod
    def forward(ctx, layout, erase_first, scale, reset, query, erase, write, value, log_decay, state):
        query, erase = (None if x is None else layout.split(x) for x in (query, erase))
        write, value = layout.split(write), layout.split(value)
        gates, resets = layout.gates(log_decay), layout.resets(reset)
        decay = chunk_decay(gates, resets, write)
        start, options = state.flatten(0, 1), {"erase_first": erase_first, "scale": scale}
        out, chunks = forward(layout, decay, query, erase, write, value, start, **options)
        ctx.layout, ctx.erase_first, ctx.scale = layout, erase_first, scale
        kept = chunks.query, chunks.erase, chunks.write, chunks.inverse, chunks.recall, chunks.news, chunks.states
        ctx.save_for_backward(gates, resets, *kept)
        ctx.channelwise = log_decay is not None and log_decay.ndim == 4
        states = chunks.states[layout.per_period :: layout.per_period]
        return (None if out is None else layout.join(out)), states.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, dstates):  # pyright: ignore[reportIncompatibleMethodOverride]
        gates, resets, *kept = ctx.saved_tensors
        layout, chunks = ctx.layout, Chunks(*kept)
        decay = chunk_decay(gates, resets, chunks.write)
        dout = None if dout is None or chunks.query is None else layout.split(dout * ctx.scale)
        grown = backward(layout, decay, chunks, dout, dstates, erase_first=ctx.erase_first)
        dquery, derase, dwrite, dvalue, dstate = grown
        dgates = decay.gradient() if gates is not None else None
        if dgates is not None:
            dgates = layout.join(dgates if ctx.channelwise else dgates.unsqueeze(-1))
            dgates = dgates if ctx.channelwise else dgates.squeeze(-1)
        joined = [None if x is None else layout.join(x) for x in (dquery, derase, dwrite, dvalue)]
        return None, None, None, None, *joined, dgates, dstate.unflatten(0, (layout.b, layout.h))


def run(
    layout: Layout,
    query: Float[Tensor, "b t h k"] | None,
    erase: Float[Tensor, "b t h k"] | None,
    write: Float[Tensor, "b t h k"],
    value: Float[Tensor, "b t h v"],
    log_decay: Float[Tensor, "b t h"] | Float[Tensor, "b t h k"] | None,
    reset: Bool[Tensor, "b t"] | None,
    state: Float[Tensor, "b h k v"],
    *,
    erase_first: bool,
    scale: float,
) -> tuple[Float[Tensor, "b t h v"] | None, Float[Tensor, "periods b h k v"]]:
    """Outputs, and the state after every period."""
    out, states = ChunkedRule.apply(layout, erase_first, scale, reset, query, erase, write, value, log_decay, state)
    return out, states.unflatten(1, (layout.b, layout.h))
