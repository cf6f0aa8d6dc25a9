"""The one recurrence behind linear attention, retention, GLA, SSD, the delta rule, gated delta and KDA.

    S' = exp(g_t) ⊙ S_{t−1}                      g: none, per head, or per head and key channel
    u_t = v_t − S'ᵀ a_t                          a: the erase key; without one u_t = v_t
    S_t = S' + b_t u_tᵀ                          b: the write key
    out_t = S_tᵀ q_t

The delta rule has a = k, b = β k. `recurrent` is the definition; `chunked` computes the same in matrix products.
Inputs here are finite (log-decays may be −∞) and of one dtype: ops/delta.py sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


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
            outputs.append(steps.query[:, t].unsqueeze(-2) @ S)
    if steps.query is None:
        return None, S
    return torch.cat(outputs, dim=2).transpose(1, 2) if outputs else torch.zeros_like(steps.value), S


def default_chunk_size(key_dim: int, *, channelwise: bool) -> int:
    """Chunks of 16 where every key channel decays on its own, else 32, 64 or 128 by the key size."""
    if channelwise:
        return 16
    return 32 if key_dim <= 32 else 64 if key_dim < 128 else 128


def chunked(steps: Steps, size: int) -> tuple[Float[Tensor, "b t h v"] | None, Float[Tensor, "b h k v"]]:
    """Chunks of `size` tokens: inside a chunk everything at once, a short loop over the chunks' states.

    Within a chunk (I + tril(A, −1)) U = V − (a ⊙ d) S with A_ij = a_i · (D_ij ⊙ b_j), where D_ij is the decay
    between tokens j and i and d_i that from the chunk's start. Decays are sums over the tokens between, never
    differences of running sums, so that −1e4 costs no precision and −∞ is an exact 0; a reset is a boundary that
    D and d do not cross. The triangular solve is the WY form of Yang et al., arXiv 2406.06484.
    """
    b, t, h, k = steps.write.shape
    if t == 0:
        return (None if steps.query is None else torch.zeros_like(steps.value)), steps.state
    size = min(size, t)
    chunks = -(-t // size)

    def split(x: Tensor) -> Tensor:
        """(b t h ·) → (chunk, b·h, token, ·), the last chunk padded with steps that change nothing."""
        x = F.pad(x, (0, 0, 0, 0, 0, chunks * size - t))
        return x.unflatten(1, (chunks, size)).permute(1, 0, 3, 2, 4).flatten(1, 2)

    write, value = split(steps.write), split(steps.value)
    erase = None if steps.erase is None else split(steps.erase)
    query = None if steps.query is None else split(steps.query)
    decay = _Decay(steps, split)

    S = steps.state.flatten(0, 1)
    written = decay.to_end(write).mT
    starts, news = [], []
    if erase is None:
        news.append(value)
        for c, added in enumerate((written @ value).unbind(0)):
            starts.append(S)
            S = decay.through(S, c) + added
    else:
        A = decay.between(erase, write).tril(-1)
        rhs = torch.cat([value, decay.from_start(erase)], dim=-1)
        solved = torch.linalg.solve_triangular(A, rhs, upper=False, unitriangular=True)
        fresh, recall = solved.split([value.shape[-1], k], dim=-1)
        for c in range(chunks):
            starts.append(S)
            u = torch.baddbmm(fresh[c], recall[c], S, alpha=-1)
            S = torch.baddbmm(decay.through(S, c), written[c], u)
            news.append(u.unsqueeze(0))
    final = S.unflatten(0, (b, h))
    if query is None:
        return None, final
    out = decay.from_start(query) @ torch.stack(starts) + decay.between(query, write).tril() @ torch.cat(news)
    out = out.unflatten(1, (b, h)).permute(1, 0, 3, 2, 4).flatten(1, 2)
    return out[:, :t], final


def chunked_state_macs(b: int, t: int, h: int, k: int, v: int, size: int, *, erase: bool = True) -> int:
    """Multiply-accumulates of the matrix products of `chunked` without a query."""
    size = min(size, t)
    products = size * size * k + 2 * size * k * v if erase else size * k * v
    return b * h * -(-t // size) * products


def chunked_solve_macs(b: int, t: int, h: int, k: int, v: int, size: int) -> int:
    """Multiply-accumulates of the unit triangular solves of `chunked` with an erase key: k + v right-hand sides."""
    size = min(size, t)
    return b * h * -(-t // size) * (size * (size - 1) // 2) * (k + v)


class _Decay:
    """The decays inside chunks, and where resets cut them."""

    def __init__(self, steps: Steps, split) -> None:
        heads, channels = steps.write.shape[2], steps.write.shape[3]
        self.segment = None
        if steps.reset is not None:
            reset = steps.reset[:, :, None, None].expand(-1, -1, heads, 1)
            self.segment = split(reset.to(torch.int32)).cumsum(-2).squeeze(-1)
        self.sums = self.pairs = self.kept = None
        g = steps.log_decay
        if g is None and self.segment is None:
            return
        if g is None:
            g = steps.value.new_zeros(*steps.write.shape[:3])
        g = split(g.unsqueeze(-1) if g.ndim == 3 else g)
        size = g.shape[-2]
        causal = torch.ones(size, size, dtype=torch.bool, device=g.device).tril()
        alive = causal if self.segment is None else causal & (self.segment.unsqueeze(-1) == self.segment.unsqueeze(-2))
        between = g.unsqueeze(-2).expand(*g.shape[:-1], size, g.shape[-1])
        between = between.masked_fill(~causal.tril(-1).unsqueeze(-1), 0).cumsum(-3)
        self.pairs = between.masked_fill(~alive.unsqueeze(-1), -torch.inf).exp()
        start = g.cumsum(-2)
        if self.segment is not None:
            start = start.masked_fill((self.segment > 0).unsqueeze(-1), -torch.inf)
        self.kept = start.exp()
        self.channelwise = g.shape[-1] == channels and steps.log_decay is not None and steps.log_decay.ndim == 4

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """x_i · (D_ij ⊙ y_j) for the tokens of each chunk; entries above the diagonal are not defined."""
        if self.pairs is None:
            return x @ y.mT
        if not self.channelwise:
            return (x @ y.mT) * self.pairs.squeeze(-1)
        return (x.unsqueeze(-2) * y.unsqueeze(-3) * self.pairs).sum(-1)

    def from_start(self, x: Tensor) -> Tensor:
        """d_i ⊙ x_i: what is left of the chunk's first state when token i meets it."""
        return x if self.kept is None else x * self.kept

    def to_end(self, x: Tensor) -> Tensor:
        """D_{C−1, j} ⊙ x_j: what is left of token j's write at the end of the chunk."""
        return x if self.pairs is None else x * self.pairs[..., -1, :, :]

    def through(self, S: Tensor, chunk: int) -> Tensor:
        """What is left of the state after the whole chunk."""
        return S if self.kept is None else S * self.kept[chunk, :, -1].unsqueeze(-1)


def frame_states(steps: Steps, tokens: int) -> Float[Tensor, "b t h k v"]:
    """The state after every `tokens` steps."""
    count = steps.value.shape[1] // tokens
    S, states = steps.state, []

    def part(x: Tensor | None, i: int) -> Tensor | None:
        return None if x is None else x[:, i * tokens : (i + 1) * tokens]

    for i in range(count):
        S = recurrent(
            Steps(
                None,
                part(steps.erase, i),
                part(steps.write, i),
                part(steps.value, i),
                part(steps.log_decay, i),
                part(steps.reset, i),
                S,
                steps.erase_first,
            )
        )[1]
        states.append(S)
    return torch.stack(states, dim=1)


def state_macs(t: int, h: int, k: int, v: int, *, erase: bool, channelwise: bool) -> tuple[int, int]:
    """Multiply-accumulates of `chunked` without a query: what FlopCounterMode sees, and what it does not."""
    size = default_chunk_size(k, channelwise=channelwise)
    counted = chunked_state_macs(1, t, h, k, v, size, erase=erase)
    return counted, chunked_solve_macs(1, t, h, k, v, size) if erase else 0
