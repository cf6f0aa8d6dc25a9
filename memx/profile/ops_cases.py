"""The shapes that the recurrences are measured at, and inputs drawn for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class OpShape:
    """A shape by name, in the axis letters of memx.ops."""

    name: str
    b: int
    t: int
    h: int
    k: int
    v: int

    def __str__(self) -> str:
        return f"b {self.b}, t {self.t}, h {self.h}, k {self.k}, v {self.v}"

    def step(self) -> OpShape:
        """The same for a single token."""
        return replace(self, t=1)

    def sizes(self) -> dict[str, str | int]:
        return asdict(self)


SHAPES = (
    OpShape("short", 1, 256, 4, 64, 64),
    OpShape("batch", 8, 256, 8, 32, 32),
    OpShape("long", 1, 2048, 4, 64, 64),
    OpShape("wide_value", 1, 2560, 1, 64, 512),
    OpShape("large", 1, 2048, 16, 128, 128),
    OpShape("gdkvm", 1, 2560, 1, 64, 256),
    OpShape("gdkvm_batch", 8, 2560, 1, 64, 256),
)
"""The last two are GDKVM's memory on a clip of 10 frames of 256 tokens, and on a batch of 8 such clips."""

LONG = 2048
"""Sequences of at least this many tokens are long."""


@dataclass(frozen=True)
class Problem:
    """Inputs of the gated delta rule, and the gradients that come back to its output and its final state."""

    q: Float[Tensor, "b t h k"]
    k: Float[Tensor, "b t h k"]
    v: Float[Tensor, "b t h v"]
    log_decay: Float[Tensor, "b t h"]
    beta: Float[Tensor, "b t h"]
    initial_state: Float[Tensor, "b h k v"]
    scale: float
    out_gradient: Float[Tensor, "b t h v"]
    state_gradient: Float[Tensor, "b h k v"]

    def to(self, dtype: torch.dtype) -> Problem:
        """q, k, v, β in a dtype; decays and states stay in at least float32, as they are in training."""
        wide = torch.promote_types(dtype, torch.float32)
        narrow = ("q", "k", "v", "beta", "out_gradient")
        tensors = {n: x for n, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **{n: x.to(dtype if n in narrow else wide) for n, x in tensors.items()})

    def part(self, b: int, t: int, h: int) -> Problem:
        """The first clips, tokens and heads."""

        def cut(x: Tensor) -> Tensor:
            return x[:b, :t, :h].contiguous()

        return replace(
            self,
            **{name: cut(getattr(self, name)) for name in ("q", "k", "v", "log_decay", "beta", "out_gradient")},
            initial_state=self.initial_state[:b, :h].contiguous(),
            state_gradient=self.state_gradient[:b, :h].contiguous(),
        )

    def leaves(self) -> tuple[Tensor, ...]:
        """q, k, v, log_decay, beta and initial_state, detached, with gradients asked for."""
        tensors = (self.q, self.k, self.v, self.log_decay, self.beta, self.initial_state)
        return tuple(x.detach().requires_grad_() for x in tensors)


def draw(shape: OpShape, *, seed: int = 0, device: torch.device | str = "cpu") -> Problem:
    """A float64 problem: unit keys, log-decays uniform in (−0.1, 0), β uniform in (0, 1), the rest standard normal.

    It is drawn on the CPU, so that every device gets the same numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    b, t, h, k, v = shape.b, shape.t, shape.h, shape.k, shape.v

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(device)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64).to(device)

    return Problem(
        q=normal(b, t, h, k),
        k=F.normalize(normal(b, t, h, k), dim=-1),
        v=normal(b, t, h, v),
        log_decay=-0.1 * uniform(b, t, h),
        beta=uniform(b, t, h),
        initial_state=normal(b, h, k, v),
        scale=k**-0.5,
        out_gradient=normal(b, t, h, v),
        state_gradient=normal(b, h, k, v),
    )
