"""Reading a space-time memory: attention of a frame's tokens to all tokens that the memory holds."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from memx.ops.precision import compute_dtype, no_autocast
from memx.ops.quarantine import bad_rows, cleared, poison
from memx.ops.shapes import Sizes

Similarity = Literal["dot", "cosine", "l2"]


def default_scale(similarity: Similarity, key_dim: int) -> float:
    """k^−½ for `dot` and `l2`; 10 (a temperature of 0.1) for `cosine`."""
    return 10.0 if similarity == "cosine" else key_dim**-0.5


def space_time_attention(
    q: Float[Tensor, "b n k"],
    k: Float[Tensor, "b m k"],
    v: Float[Tensor, "b o m v"],
    *,
    mask: Bool[Tensor, "b n m"] | Bool[Tensor, "b 1 m"] | None = None,
    similarity: Similarity = "dot",
    scale: float | None = None,
    top_k: int | None = None,
) -> Float[Tensor, "b o n v"]:
    """Softmax attention to memory tokens; the affinity is computed once for all objects.

        out_o(n) = Σ_m softmax_m(scale · s(q_n, k_m)) v_o(m)
        s: q · k (dot), q · k / |q||k| (cosine), or −|q − k|² (l2; its |q|² is the same for all m and drops out)

    `mask` is True where a token may be read; a query that may read nothing gives zeros. A key, or a value of an
    object, that holds a NaN or an infinity makes NaN exactly those readouts (of that object) whose queries may read
    it, and reaches no other readout and no gradient of one; so does a query that is not finite. `top_k` keeps that
    many largest similarities of every query, and what ties with the least of them, so that the result does not
    depend on the order of the memory.
    Raises ValueError for shapes that do not fit. STM, arXiv 1904.00607; STCN (l2), arXiv 2106.05210; XMem (top-k).
    """
    sizes = Sizes("space_time_attention")
    sizes.check("q", q, "b n k")
    sizes.check("k", k, "b m k")
    sizes.check("v", v, "b o m v")
    if mask is not None:
        one_for_all = isinstance(mask, Tensor) and mask.shape[1:2] == (1,)
        sizes.check("mask", mask, "b 1 m" if one_for_all else "b n m", flags=True)
        mask = mask.bool()
    if similarity not in get_args(Similarity):
        raise ValueError(f"space_time_attention: similarity must be dot, cosine or l2, not {similarity!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"space_time_attention: top_k must be at least 1, not {top_k}")
    b, o, m, width = v.shape
    n = q.shape[1]
    out_dtype, dtype = v.dtype, compute_dtype(q, k, v)
    if m == 0:
        return v.new_zeros(b, o, n, width)
    with no_autocast(q.device):
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        bad_query, bad_key, bad_value = bad_rows(q), bad_rows(k), bad_rows(v)
        q, k, v = cleared(q, bad_query), cleared(k, bad_key), cleared(v, bad_value)
        s = _similarity(q, k, similarity) * (default_scale(similarity, sizes["k"]) if scale is None else scale)
        if mask is not None:
            s = s.masked_fill(~mask, -torch.inf)
        if top_k is not None and (torch.compiler.is_exporting() or top_k < m):  # a graph's m may be open
            least = s.detach().topk(cast(int, torch.sym_min(top_k, m)), dim=-1, sorted=True).values[..., -1:]
            s = s.masked_fill(s < least, -torch.inf)
        weights = _softmax(s)
        wide = v.transpose(1, 2).flatten(2)
        out = (weights @ wide).unflatten(-1, (o, width)).transpose(1, 2)
        spoiled = _spoiled(bad_query, bad_value | bad_key.unsqueeze(1), mask)
        return (out + poison(spoiled, out).unsqueeze(-1)).to(out_dtype)


def _spoiled(
    bad_query: Bool[Tensor, "b n"], bad: Bool[Tensor, "b o m"], mask: Bool[Tensor, "b #n m"] | None
) -> Bool[Tensor, "b o #n"]:
    """Which readouts are NaN: those of queries that are bad and may read something, or that may read a bad token."""
    if mask is None:
        return bad.any(-1, keepdim=True) | bad_query.unsqueeze(1)
    # object by object, so that nothing larger than the affinity is held
    meets = torch.stack([(mask & row.unsqueeze(1)).any(-1) for row in bad.unbind(1)], dim=1)
    return meets | (bad_query & mask.any(-1)).unsqueeze(1)


def _similarity(q: Tensor, k: Tensor, similarity: Similarity) -> Tensor:
    if similarity == "dot":
        return q @ k.mT
    if similarity == "cosine":
        return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    return 2 * (q @ k.mT) - k.square().sum(-1).unsqueeze(-2)


def _softmax(s: Tensor) -> Tensor:
    """Softmax over the last axis; a row of −∞ gives zeros."""
    top = s.detach().amax(-1, keepdim=True)
    e = (s - top.masked_fill(top == -torch.inf, 0)).exp()
    total = e.sum(-1, keepdim=True)
    return e / torch.where(total > 0, total, torch.ones_like(total))
