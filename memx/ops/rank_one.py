"""The one recurrence behind linear attention, retention, GLA, SSD, the delta rule, gated delta and KDA.

    S' = exp(g_t) ⊙ S_{t−1}                      g: none, per head, or per head and key channel
    u_t = v_t − S'ᵀ a_t                          a: the erase key; without one u_t = v_t
    S_t = S' + b_t u_tᵀ                          b: the write key
    out_t = scale · S_tᵀ q_t

The delta rule has a = k, b = β k. `recurrent` is the definition; `chunked` computes the same in matrix products
(ops/chunk.py).
Inputs here are finite (log-decays may be −∞) and of one dtype: ops/delta.py sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.ops import chunked_rule
from memx.ops.chunk_layout import Layout
from memx.ops.triangular import inverse_macs


@dataclass(frozen=True)
class Steps:
    """The inputs of the recurrence, one step a token."""

    query: Float[Tensor, "b t h k"] | None
    """None where only the final state is wanted."""
    erase: Float[Tensor, "b t h k"] | None
    write: Float[Tensor, "b t h k"]
    value: Float[Tensor, "b t h v"]
    log_decay: Float[Tensor, "b t h"] | Float[Tensor, "b t h k"] | None
    reset: Bool[Tensor, "b t"] | None
    state: Float[Tensor, "b h k v"]
    erase_first: bool = False
    """The erase key reads the state as it was before this step's decay (after its reset), as in RWKV-7."""
    scale: float = 1.0
    """What readouts are multiplied by."""


def recurrent(steps: Steps) -> tuple[Float[Tensor, "b t h v"] | None, Float[Tensor, "b h k v"]]:
    """One token after another."""
    S = steps.state
    decay = None if steps.log_decay is None else steps.log_decay.exp()
    if decay is not None and decay.ndim == 3:
        decay = decay.unsqueeze(-1)
    outputs = []
    for t in range(steps.value.shape[1]):
        if steps.reset is not None:
            S = torch.where(steps.reset[:, t, None, None, None], S.new_zeros(()), S)
        before = S
        if decay is not None:
            S = decay[:, t].unsqueeze(-1) * S
        u = steps.value[:, t].unsqueeze(-2)
        if steps.erase is not None:
            u = u - steps.erase[:, t].unsqueeze(-2) @ (before if steps.erase_first else S)
        S = S + steps.write[:, t].unsqueeze(-1) * u
        if steps.query is not None:
            outputs.append(steps.scale * (steps.query[:, t].unsqueeze(-2) @ S))
    if steps.query is None:
        return None, S
    return torch.cat(outputs, dim=2).transpose(1, 2) if outputs else torch.zeros_like(steps.value), S


def one_step(
    query: Float[Tensor, "b 1 h k"],
    key: Float[Tensor, "b 1 h k"],
    value: Float[Tensor, "b 1 h v"],
    state: Float[Tensor, "b h k v"],
    *,
    beta: Float[Tensor, "b 1 h"] | None,
    log_decay: Float[Tensor, "b 1 h"] | Float[Tensor, "b 1 h k"] | None,
    erases: bool,
    scale: float,
) -> tuple[Float[Tensor, "b 1 h v"], Float[Tensor, "b h k v"]]:
    """A single token of the rules of ops/delta.py; elementwise, which is faster for one token than matrix products."""
    b, _, h, k = key.shape
    column, S = key.reshape(b, h, k, 1), state
    u = value.reshape(b, h, 1, value.shape[-1])
    if log_decay is not None:
        S = S * log_decay.exp().reshape(b, h, k if log_decay.ndim == 4 else 1, 1)
    if erases:
        u = u - (S * column).sum(-2, keepdim=True)
    if beta is not None:
        u = u * beta.reshape(b, h, 1, 1)
    S = torch.addcmul(S, column, u)
    return (S * (query * scale).reshape(b, h, k, 1)).sum(-2).reshape(value.shape), S


def chunk_size(t: int, k: int, v: int, *, channelwise: bool) -> int:
    """The number of tokens a chunk that is fastest for these sizes, as measured on a CPU (docs/benchmarks.md).

    8 where every key channel decays on its own, else 32, or 64 where key and value together have 256 channels or more.
    At most t.
    """
    size = 8 if channelwise else 64 if k + v >= 256 else 32
    return max(1, min(size, t))


def chunked(steps: Steps, size: int | None = None) -> tuple[Float[Tensor, "b t h v"] | None, Float[Tensor, "b h k v"]]:
    """Chunks of `size` tokens: inside a chunk everything at once, a short loop over the chunks' states."""
    t = steps.value.shape[1]
    if t == 0:
        return (None if steps.query is None else torch.zeros_like(steps.value)), steps.state
    out, states = _in_chunks(steps, t, size)
    return out, states[0]


def frame_states(steps: Steps, tokens: int, size: int | None = None) -> Float[Tensor, "b frames h k v"]:
    """The state after every `tokens` steps, which must divide their number."""
    if steps.value.shape[1] == 0:
        return steps.state.unsqueeze(1)[:, :0]
    return _in_chunks(steps, tokens, size)[1].transpose(0, 1)


def _in_chunks(steps: Steps, period: int, size: int | None) -> tuple[Tensor | None, Float[Tensor, "periods b h k v"]]:
    b, t, h, k = steps.write.shape
    channelwise = steps.log_decay is not None and steps.log_decay.ndim == 4
    size = min(size, period) if size else chunk_size(period, k, steps.value.shape[-1], channelwise=channelwise)
    return chunked_rule.run(
        Layout(b, t, h, size, period),
        steps.query,
        steps.erase,
        steps.write,
        steps.value,
        steps.log_decay,
        steps.reset,
        steps.state,
        erase_first=steps.erase_first,
        scale=steps.scale,
    )


def state_macs(t: int, h: int, k: int, v: int, *, erase: bool, channelwise: bool) -> tuple[int, int]:
    """Multiply-accumulates of `chunked` without a query: what FlopCounterMode sees, and what it does not."""
    size = chunk_size(t, k, v, channelwise=channelwise)
    chunks = h * -(-t // size)
    if not erase:
        return chunks * size * k * v, 0
    counted, uncounted = inverse_macs(size)
    return chunks * (counted + 2 * size * size * k + size * size * v + 2 * size * k * v), chunks * uncounted
