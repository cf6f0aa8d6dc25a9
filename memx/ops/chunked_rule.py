"""The rank-one recurrence in chunks as one differentiable function: slab after slab of ops/chunk.py, and back again."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.ops import chunk
from memx.ops.chunk_decay import NoDecay, chunk_decay
from memx.ops.chunk_layout import Layout


class Inputs(NamedTuple):
    """Everything that has a time axis: (b t h ·), log-decays (b t h) or (b t h k), resets (b t)."""

    query: Tensor | None
    erase: Tensor | None
    write: Tensor
    value: Tensor | None
    log_decay: Tensor | None
    reset: Tensor | None

    def within(self, span: slice, part: Layout) -> tuple[chunk.Tokens, NoDecay]:
        """The tokens of a slab, and their decays."""
        query, erase, value = (
            None if x is None else part.split(x[:, span]) for x in (self.query, self.erase, self.value)
        )
        tokens = chunk.Tokens(query, erase, part.split(self.write[:, span]), value)
        gates, reset = (None if x is None else x[:, span] for x in (self.log_decay, self.reset))
        return tokens, chunk_decay(part.gates(gates), part.resets(reset), tokens.write)


class Run(NamedTuple):
    """What a forward pass gives, and what the backward pass needs."""

    out: Tensor | None
    states: Float[Tensor, "periods bh k v"]
    slabs: list[tuple[slice, Layout]]
    kept: list[Tensor | None]
    """The tensors of chunk.Kept of every slab, one slab after another."""


def _forward(layout: Layout, inputs: Inputs, state: Tensor, *, erase_first: bool, scale: float, keep: bool) -> Run:
    value = inputs.value
    assert value is not None
    channels = max(inputs.write.shape[-1], value.shape[-1])
    if inputs.log_decay is not None and inputs.log_decay.ndim == 4:
        channels = max(channels, layout.size * inputs.write.shape[-1])  # the decays between a chunk's tokens
    out, last, states, kept = None, state.flatten(0, 1), [], []
    slabs = list(layout.slabs(channels))
    for span, part in slabs:
        tokens, decay = inputs.within(span, part)
        read, chunks = chunk.forward(part, decay, tokens, last, erase_first=erase_first, scale=scale)
        if read is not None:
            out = layout.empty(read) if out is None else out
            part.join(read, into=out[:, span])
        last = chunks.states[-1]
        if span.stop % layout.period == 0:
            states.append(chunks.states[part.per_period :: part.per_period])
        if keep:
            kept += chunks
    return Run(out, torch.cat(states), slabs, kept)


class ChunkedRule(torch.autograd.Function):
    """out (b t h v), the states after every period (periods, b·h, k, v), and the gradients of both, once."""

    @staticmethod
    def forward(ctx, layout, erase_first, scale, reset, query, erase, write, value, log_decay, state):
        inputs = Inputs(query, erase, write, value, log_decay, reset)
        out, states, slabs, kept = _forward(layout, inputs, state, erase_first=erase_first, scale=scale, keep=True)
        ctx.layout, ctx.slabs, ctx.erase_first, ctx.scale = layout, slabs, erase_first, scale
        if erase is not None:  # U is kept, which takes the place of V
            inputs = inputs._replace(value=None)
        ctx.save_for_backward(*inputs, *kept)
        return out, states

    @staticmethod
    def backward(ctx, dout, dstates):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise RuntimeError("form='chunk' can be differentiated once; for higher derivatives take form='recurrent'")
        layout, saved = ctx.layout, iter(ctx.saved_tensors)
        inputs = Inputs(*itertools.islice(saved, len(Inputs._fields)))
        kept = [chunk.Kept(*itertools.islice(saved, len(chunk.Kept._fields))) for _ in ctx.slabs]
        G = torch.zeros_like(dstates[0])
        grown: list[Any] = [None] * 5
        for (span, part), chunks in reversed(list(zip(ctx.slabs, kept, strict=True))):
            tokens, decay = inputs.within(span, part)
            ends = dstates[span.start // layout.period : span.stop // layout.period]
            slopes, G = chunk.backward(
                part,
                decay,
                tokens,
                chunks,
                None if inputs.query is None else part.split(dout[:, span] * ctx.scale),
                ends,
                G,
                erase_first=ctx.erase_first,
            )
            dgates = None if inputs.log_decay is None else decay.gradient()
            for j, slope in enumerate((*slopes, dgates)):
                if slope is not None:
                    grown[j] = layout.empty(slope) if grown[j] is None else grown[j]
                    part.join(slope, into=grown[j][:, span])
        return None, None, None, None, *grown, G.unflatten(0, (layout.b, layout.h))


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
    differentiable = query, erase, write, value, log_decay, state
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in differentiable):
        out, states = ChunkedRule.apply(layout, erase_first, scale, reset, *differentiable)
    else:
        inputs = Inputs(*differentiable[:-1], reset)
        out, states, *_ = _forward(layout, inputs, state, erase_first=erase_first, scale=scale, keep=False)
    return out, states.unflatten(1, (layout.b, layout.h))
