"""How tokens (b, t, h, ·) are laid out in chunks, and in slabs of chunks that fit a cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

SLAB = 2**19
"""Numbers of the widest tensor that are computed together, 2 MiB of float32: it and what is computed from it stay in a
processor's cache, and memory is used again instead of being asked for. Chosen by `memx bench ops` on a CPU."""


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

    @property
    def padding(self) -> int:
        """Tokens added to every period."""
        return self.per_period * self.size - self.period

    def slabs(self, channels: int) -> Iterator[tuple[slice, Layout]]:
        """Spans of time to compute one after another, and their layouts; each is whole periods or lies in one.

        `channels` is how many numbers a token has in the widest tensor. A graph has one slab.
        """
        if torch.compiler.is_exporting():  # whose batch may be open, and with it the number of slabs
            yield slice(0, self.t), self
            return
        chunks = max(1, SLAB // max(1, self.b * self.h * self.size * channels))
        periods = chunks // self.per_period
        if periods:
            for start in range(0, self.t, periods * self.period):
                stop = min(start + periods * self.period, self.t)
                yield slice(start, stop), replace(self, t=stop - start)
            return
        for begin in range(0, self.t, self.period):
            for start in range(begin, begin + self.period, chunks * self.size):
                stop = min(start + chunks * self.size, begin + self.period)
                yield slice(start, stop), replace(self, t=stop - start, period=stop - start)

    def split(self, x: Tensor) -> Tensor:
        """(b t h ·) → (chunk·b·h, token, ·); padding is zeros, steps that change nothing."""
        if self.padding:
            x = F.pad(x.unflatten(1, (-1, self.period)), (0, 0, 0, 0, 0, self.padding)).flatten(1, 2)
        return self._chunk_major(x).reshape(self.chunks * self.b * self.h, self.size, x.shape[-1])

    def empty(self, x: Tensor) -> Tensor:
        """(b t h ·), or (b t h), for all of what x has in chunks of a slab."""
        return x.new_empty(self.b, self.t, self.h, *x.shape[2:])

    def join(self, x: Tensor, *, into: Tensor) -> None:
        """The inverse of `split` and `gates`, without the padding."""
        if into.ndim == 3:
            x, into = x.unsqueeze(-1), into.unsqueeze(-1)
        x = self.by_chunk(x).unflatten(1, (self.b, self.h))
        if not self.padding:
            self._chunk_major(into).copy_(x)
            return
        x = x.permute(1, 0, 3, 2, 4).reshape(self.b, -1, self.per_period * self.size, self.h, x.shape[-1])
        into.unflatten(1, (-1, self.period)).copy_(x[:, :, : self.period])

    def _chunk_major(self, x: Tensor) -> Tensor:
        """(b t h ·) → (chunk, b, h, token, ·), a view."""
        return x.unflatten(1, (self.chunks, self.size)).permute(1, 0, 3, 2, 4)

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
