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

Decays and products of keys are computed anew; T, T (d ⊙ E), U and the chunks' first states are kept. All tensors here
are in chunks; ops/chunked_rule.py brings them there.
The WY form of Yang et al., arXiv 2406.06484.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memx.ops.chunk_decay import NoDecay
from memx.ops.chunk_layout import Layout
from memx.ops.triangular import unit_lower_inverse


class Tokens(NamedTuple):
    """Tokens in chunks (n c ·), or gradients to them."""

    query: Tensor | None
    """Q; None where no outputs are wanted."""
    erase: Tensor | None
    """E; None where nothing is erased."""
    write: Tensor
    """B."""
    value: Tensor | None
    """V; the backward pass needs it only where nothing is erased."""


class Kept(NamedTuple):
    """What the forward pass computed and the backward pass needs."""

    inverse: Float[Tensor, "n c c"] | None
    """T."""
    recall: Float[Tensor, "n c k"] | None
    """T (d ⊙ E)."""
    news: Float[Tensor, "n c v"] | None
    """U; None where it is V."""
    states: Float[Tensor, "chunks1 bh k v"]
    """The state before every chunk, and the last."""


def forward(
    layout: Layout,
    decay: NoDecay,
    tokens: Tokens,
    state: Float[Tensor, "bh k v"],
    *,
    erase_first: bool,
    scale: float,
) -> tuple[Float[Tensor, "n c v"] | None, Kept]:
    """Outputs (None without queries), and what led to them."""
    query, erase, write, value = tokens
    inverse = recall = recalls = None
    assert value is not None
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
        after = torch.mul(S, 1.0 if kept is None else kept[c], out=whole[c + 1])
        torch.baddbmm(after, ended[c], u, out=after)
    chunks = Kept(inverse, recall, None if erase is None else news, whole)
    if query is None:
        return None, chunks
    out = torch.bmm(decay.from_start(query), whole[:-1].flatten(0, 1))
    return torch.baddbmm(out, decay.product(query, write), news, beta=scale, alpha=scale, out=out), chunks


def backward(
    layout: Layout,
    decay: NoDecay,
    tokens: Tokens,
    chunks: Kept,
    dout: Float[Tensor, "n c v"] | None,
    dstates: Float[Tensor, "periods bh k v"],
    dlast: Float[Tensor, "bh k v"],
    *,
    erase_first: bool,
) -> tuple[Tokens, Float[Tensor, "bh k v"]]:
    """Gradients to the tokens and the first state, from those to the outputs (times scale), to the states at the ends
    of periods, if any end here, and to the last state by what comes later; `decay` gathers its own."""
    query, erase, write, value = tokens
    news = value if chunks.news is None else chunks.news
    assert news is not None
    before = chunks.states[:-1].flatten(0, 1)
    ended, kept = decay.to_end(write), _kept(layout, decay)
    reads = douts = recalls = dquery = derase = None
    dwrite, dnews = torch.zeros_like(write), torch.zeros_like(news)
    if query is not None and dout is not None:
        P = decay.product(query, write)
        dnews = torch.bmm(P.mT, dout)
        dquery, dwrite = decay.product_backward(torch.bmm(dout, news.mT).tril_(), P, query, write)
        dquery += decay.from_start_backward(torch.bmm(dout, before.mT), query)
        reads, douts = layout.by_chunk(decay.from_start(query).mT), layout.by_chunk(dout)
        del P
    if chunks.recall is not None:
        recalls = layout.by_chunk(chunks.recall.mT)
    G = dlast
    ended_by_chunk, dnews_by_chunk = layout.by_chunk(ended), layout.by_chunk(dnews)
    after = torch.empty_like(chunks.states[1:])
    for c in reversed(range(layout.chunks)):
        if len(dstates) and (c + 1) % layout.per_period == 0:
            G = G + dstates[(c + 1) // layout.per_period - 1]
        after[c] = G
        du = dnews_by_chunk[c]
        torch.baddbmm(du, ended_by_chunk[c], G, out=du)
        G = G if kept is None else G * kept[c]
        if reads is not None and douts is not None:
            G = torch.baddbmm(G, reads[c], douts[c])
        if recalls is not None:
            G = torch.baddbmm(G, recalls[c], du, alpha=-1)
    del dout, douts
    after = after.flatten(0, 1)
    if kept is not None:
        decay.whole_backward((after * before).sum(-1))
    dwrite += decay.to_end_backward(torch.bmm(news, after.mT), write)

    dvalue = dnews
    if erase is not None and chunks.inverse is not None:
        dvalue = torch.bmm(chunks.inverse.mT, dnews)
        A = decay.product(erase, write, first=erase_first).tril_(-1)
        dA = torch.bmm(dvalue, news.mT).tril_(-1).neg_()
        derase, more = decay.product_backward(dA, A, erase, write, first=erase_first)
        derase += decay.from_start_backward(torch.bmm(dvalue, before.mT).neg_(), erase, first=erase_first)
        dwrite += more
    return Tokens(dquery, derase, dwrite, dvalue), G


def _kept(layout: Layout, decay: NoDecay) -> Tensor | None:
    whole = decay.whole()
    return None if whole is None else layout.by_chunk(whole)
