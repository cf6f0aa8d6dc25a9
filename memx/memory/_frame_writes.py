"""What frames do to the packed state S (b h k V): three kinds of affine maps, one frame or a clip of them at a time.

A write holds one frame an item of its batch. `apply` takes a state for each of them; `states` takes one state a clip,
its batch being the clips' frames in order, and carries the state through them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.memory._decay import DecayPer, over_the_frame
from memx.ops import rank_one
from memx.ops.frame import Normalize, eigenvalue_macs, gram


class WriteMacs(NamedTuple):
    """Multiply-accumulates of writing one frame: what a counter sees, and solves and eigenvalues, which it does not."""

    counted: int
    uncounted: int = 0


@runtime_checkable
class FrameWrite(Protocol):
    """An affine map of the state."""

    def apply(self, S: Float[Tensor, "b h k V"]) -> Float[Tensor, "b h k V"]:
        """The state after the frame."""
        ...

    def states(
        self, S: Float[Tensor, "b h k V"], reset: Bool[Tensor, "b t"] | None, frames: int
    ) -> Float[Tensor, "b t h k V"]:
        """The state after every frame of a clip; a reset empties it before its frame."""
        ...


@dataclass(frozen=True)
class SummedWrite:
    """Decay and add: S ← decay ⊙ S + Σ_n key_n value_nᵀ."""

    key: Float[Tensor, "b #h n k"]
    value: Float[Tensor, "b h n V"]
    decay: Float[Tensor, "b #h #k #V"] | None = None

    def apply(self, S: Float[Tensor, "b h k V"]) -> Float[Tensor, "b h k V"]:
        return (S if self.decay is None else self.decay * S) + self.key.mT @ self.value

    def states(
        self, S: Float[Tensor, "b h k V"], reset: Bool[Tensor, "b t"] | None, frames: int
    ) -> Float[Tensor, "b t h k V"]:
        written = _by_frame(self.key.mT @ self.value, frames)
        decay = None if self.decay is None else _by_frame(self.decay, frames)
        return _carried(S, reset, frames, lambda S, i: (S if decay is None else decay[i] * S) + written[i])

    @staticmethod
    def macs(*, tokens: int, heads: int, rows: int, width: int) -> WriteMacs:
        """Of a frame, `width` value channels a head."""
        return WriteMacs(heads * tokens * rows * width)


def decayed_sum(
    key: Float[Tensor, "b #h n k"],
    value: Float[Tensor, "b h n V"],
    log_decay: Float[Tensor, "b h *nk"],
    per: DecayPer,
) -> SummedWrite:
    """S ← exp(g_n) ⊙ S + key_n value_nᵀ for every token, or the decay once a frame, as one sum over the frame.

    `log_decay` is pooled: (b h n) or (b h n k), and once a frame (b h) or (b h k).

    Token by token the frame as a whole decays S by exp(Σ g), and what token n writes by exp(Σ_{l>n} g_l).
    """
    if log_decay.ndim == (2 if per == "frame" else 3):
        log_decay = log_decay.unsqueeze(-1)
    if per == "frame":
        return SummedWrite(key, value, log_decay.unsqueeze(-1).exp())
    total, later = over_the_frame(log_decay)
    return SummedWrite(key * later.exp(), value, total.unsqueeze(-1).exp())


@dataclass(frozen=True)
class JointWrite:
    """Erase what the frame's keys recall together, decay, and add: S ← decay ⊙ (S − G S) + Σ_n β_n key_n value_nᵀ."""

    key: Float[Tensor, "b 1 n k"]
    value: Float[Tensor, "b h n V"]
    strength: Float[Tensor, "b #h n"] | None = None
    """β of every token and head; None is 1."""
    decay: Float[Tensor, "b #h #k #V"] | None = None
    normalize: Normalize = "none"
    """What G = Σ_n β_n key_n key_nᵀ, and only G, is divided by."""

    def apply(self, S: Float[Tensor, "b h k V"]) -> Float[Tensor, "b h k V"]:
        kept = S - self._erasure() @ S
        return (kept if self.decay is None else self.decay * kept) + self._written()

    def states(
        self, S: Float[Tensor, "b h k V"], reset: Bool[Tensor, "b t"] | None, frames: int
    ) -> Float[Tensor, "b t h k V"]:
        G = self._erasure()
        kept = _by_frame(torch.eye(G.shape[-1], dtype=G.dtype, device=G.device) - G, frames)
        written = _by_frame(self._written(), frames)
        decay = None if self.decay is None else _by_frame(self.decay, frames)

        def step(S: Tensor, i: int) -> Tensor:
            S = kept[i] @ S
            return (S if decay is None else decay[i] * S) + written[i]

        return _carried(S, reset, frames, step)

    def _erasure(self) -> Float[Tensor, "b #h k k"]:
        return gram(self.key, strength=self.strength, normalize=self.normalize)

    def _written(self) -> Float[Tensor, "b h k V"]:
        return weighted(self.key, self.strength).mT @ self.value

    @staticmethod
    def macs(*, tokens: int, heads: int, rows: int, width: int, weighted: bool, normalize: Normalize) -> WriteMacs:
        """Of a frame, `width` value channels a head; `weighted` says whether every head has a β of every token."""
        spectral = normalize == "spectral"
        grams = (heads if weighted else 1) + (1 if weighted and spectral else 0)
        counted = heads * tokens * rows * width + grams * tokens * rows * rows + heads * rows * rows * width
        return WriteMacs(counted, eigenvalue_macs(rows) if spectral else 0)


@dataclass(frozen=True)
class TokenWrite:
    """Rank-one steps one after another: S ← exp(g_s) ⊙ S, then S ← S + write_s (value_s − Sᵀ erase_s)ᵀ.

    With `erase_first` the erase key reads S as it was before the step's decay. A frame has s steps, of its tokens in
    raster order.
    """

    erase: Float[Tensor, "b #h s k"]
    write: Float[Tensor, "b #h s k"]
    value: Float[Tensor, "b h s V"]
    log_decay: Float[Tensor, "b h s"] | Float[Tensor, "b h s k"] | None = None
    erase_first: bool = False

    def apply(self, S: Float[Tensor, "b h k V"]) -> Float[Tensor, "b h k V"]:
        return rank_one.chunked(self._steps(S, None, 1))[1]

    def states(
        self, S: Float[Tensor, "b h k V"], reset: Bool[Tensor, "b t"] | None, frames: int
    ) -> Float[Tensor, "b t h k V"]:
        return rank_one.frame_states(self._steps(S, reset, frames), self.value.shape[2])

    def _steps(self, S: Tensor, reset: Tensor | None, frames: int) -> rank_one.Steps:
        heads, count = self.value.shape[1:3]

        def in_time(x: Tensor) -> Tensor:
            """(b·t h s ·) → (b t·s h ·)"""
            x = x.expand(-1, heads, *x.shape[2:]).unflatten(0, (-1, frames))
            return x.transpose(2, 3).flatten(1, 2)

        if reset is not None:
            first = torch.arange(count, device=reset.device) == 0
            reset = (reset.unsqueeze(-1) & first).flatten(1)
        return rank_one.Steps(
            query=None,
            erase=in_time(self.erase),
            write=in_time(self.write),
            value=in_time(self.value),
            log_decay=None if self.log_decay is None else in_time(self.log_decay),
            reset=reset,
            state=S,
            erase_first=self.erase_first,
        )

    @staticmethod
    def macs(*, steps: int, heads: int, rows: int, width: int, channelwise: bool = False) -> WriteMacs:
        """Of a frame, `width` value channels a head."""
        return WriteMacs(*rank_one.state_macs(steps, heads, rows, width, erase=True, channelwise=channelwise))


def weighted(x: Float[Tensor, "b #h n k"], strength: Float[Tensor, "b #h n"] | None) -> Float[Tensor, "b #h n k"]:
    """Tokens, each times its strength in every head; None is 1."""
    return x if strength is None else x * strength.unsqueeze(-1)


def in_turn(*parts: Float[Tensor, "b #h n *rest"]) -> Float[Tensor, "b #h s *rest"]:
    """Steps j = 1 … J of every token one after another: the first of all tokens, the second, … → (b h n·J ·)."""
    return torch.stack(parts, dim=3).flatten(2, 3)


def _by_frame(x: Float[Tensor, "bt *rest"], frames: int) -> tuple[Tensor, ...]:
    return x.unflatten(0, (-1, frames)).unbind(1)


def _carried(
    S: Float[Tensor, "b h k V"],
    reset: Bool[Tensor, "b t"] | None,
    frames: int,
    step: Callable[[Tensor, int], Tensor],
) -> Float[Tensor, "b t h k V"]:
    states = []
    for i in range(frames):
        if reset is not None:
            S = torch.where(reset[:, i, None, None, None], S.new_zeros(()), S)
        S = step(S, i)
        states.append(S)
    return torch.stack(states, dim=1)
