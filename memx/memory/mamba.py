"""Mamba memory: a selective state space whose tokens are the frame's, read after the whole frame."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._cost import bytes_moved
from memx.memory._decay import decay_rate, initial_steps, step_size
from memx.memory.base import Cost, Memory, Shape, Tokens, state_dtype
from memx.memory.state import State
from memx.ops.precision import no_autocast
from memx.ops.selective import selective_summary
from memx.registry import memories

_ENTRIES = 2**22
"""Most entries of an intermediate of the form `chunk`: 16 MiB at float32. One frame is taken whatever its size."""


@memories.register("mamba")
class MambaMemory(Memory):
    """Mamba (selective state space): every value channel keeps `state_dim` leaky sums, leaking as the token says.

        S ← exp(Δ_n A) ⊙ S + B_n (Δ_n ⊙ x_n)ᵀ  for n = 1, 2, … in raster order, x the value token
        A = −exp(A_log),    B = W_B k,    C = W_C q,    Δ = softplus(W₂ W₁ x + bias)
        read: y(n) = Sᵀ C_n + D ⊙ x_n

    State S (b o N v), N = state_dim. Δ is a number for every object and channel, A for every row and channel of S
    (N v; Mamba stores its transpose). The decays are at most 1. Every token reads the state after its whole frame.
    The frame is summed up with exponents A Σ Δ ≤ 0 over the tokens that come after each; the form `chunk` does so
    for several frames at once, as many as keep its (frames, o, n, N, v) intermediates small.
    Gu and Dao, arXiv 2312.00752.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        state_dim: Annotated[int, Field(ge=1, description="leaky sums a value channel")] = 16,
        step_rank: Annotated[
            int | None, Field(ge=1, description="rank of the map from value token to Δ; null: value channels / 16")
        ] = None,
        step_min: Annotated[float, Field(gt=0, description="smallest Δ at initialisation")] = 1e-3,
        step_max: Annotated[float, Field(gt=0, description="largest Δ at initialisation")] = 1e-1,
    ):
        super().__init__()
        if step_min > step_max:
            raise ValueError(f"step_min {step_min} must not be above step_max {step_max}")
        self.key_dim, self.value_dim, self.state_dim = key_dim, value_dim, state_dim
        self.step_rank = step_rank or math.ceil(value_dim / 16)
        self.B_proj = nn.Linear(key_dim, state_dim, bias=False)
        self.C_proj = nn.Linear(key_dim, state_dim, bias=False)
        self.step_down = nn.Linear(value_dim, self.step_rank, bias=False)
        self.step_up = nn.Linear(self.step_rank, value_dim)
        orders = torch.arange(1, state_dim + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(orders.log()[:, None].repeat(1, value_dim))
        self.D = nn.Parameter(torch.ones(value_dim))
        with torch.no_grad():
            self.step_up.bias.copy_(initial_steps(value_dim, low=step_min, high=step_max))
            bound = self.step_rank**-0.5
            self.step_up.weight.uniform_(-bound, bound)

    @property
    def forms(self) -> tuple[str, ...]:
        return ("chunk", "recurrent")

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        shape = (batch, objects, self.state_dim, self.value_dim)
        return State(S=torch.zeros(shape, device=device, dtype=state_dtype(dtype)))

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        with no_autocast(state.S.device):
            decay, written = self._summary(frame.map(lambda x: x.to(state.S.dtype)))
            return state.replace(S=decay * state.S + written)

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        with no_autocast(state.S.device):
            return self._recall(state.S, frame.map(lambda x: x.to(state.S.dtype))).to(frame.value.dtype)

    def _scan(self, clip: Tokens, state: State, form: str) -> tuple[Tensor, State]:
        b, t, o, n, v = clip.value.shape
        together = max(1, _ENTRIES // max(1, b * o * n * self.state_dim * v))
        with no_autocast(state.S.device):
            S, outputs = state.S, []
            for start in range(0, t, together):
                part = clip.slice(start, min(start + together, t))
                frames, states = part.fold().map(lambda x: x.to(state.S.dtype)), []
                count = part.key.shape[1]
                decays, writes = (x.unflatten(0, (b, count)).unbind(1) for x in self._summary(frames))
                for i, (decay, written) in enumerate(zip(decays, writes, strict=True)):
                    if part.reset is not None:
                        S = torch.where(part.reset[:, i, None, None, None], S.new_zeros(()), S)
                    S = decay * S + written
                    states.append(S)
                out = self._recall(torch.stack(states, dim=1).flatten(0, 1), frames)
                outputs.append(out.unflatten(0, (b, count)).to(clip.value.dtype))
            return torch.cat(outputs, dim=1), state.replace(S=S)

    def _summary(self, frame: Tokens) -> tuple[Float[Tensor, "b o k v"], Float[Tensor, "b o k v"]]:
        """The frame as S ← decay ⊙ S + written."""
        x = frame.value
        low = F.linear(x, self.step_down.weight.to(x.dtype))
        dt = step_size(F.linear(low, self.step_up.weight.to(x.dtype), self.step_up.bias.to(x.dtype)))
        B = F.linear(frame.key, self.B_proj.weight.to(x.dtype))
        dt = self.meet("beta", dt, "b o n v", high=math.inf)
        B = B.unsqueeze(1).expand(-1, x.shape[1], -1, -1)
        decay, written = selective_summary(x, dt, -decay_rate(self.A_log, x.dtype), B)
        return self.meet("alpha", decay, "b o k v"), written

    def _recall(self, S: Float[Tensor, "b o k v"], frame: Tokens) -> Float[Tensor, "b o n v"]:
        C = F.linear(frame.query, self.C_proj.weight.to(S.dtype))
        return C.unsqueeze(1) @ S + self.D.to(S.dtype) * frame.value

    def cost(self, shape: Shape) -> Cost:
        n, o, v, N = shape.tokens, shape.objects, self.value_dim, self.state_dim
        frames = shape.batch * shape.frames
        projections = 2 * n * self.key_dim * N + 2 * o * n * v * self.step_rank
        state = 4 * o * N * v
        return Cost(
            macs=frames * (projections + o * n * N * v),
            pointwise=frames * o * (5 * n * N * v + 5 * n * v + 3 * N * v),
            bytes_moved=bytes_moved(shape, self.key_dim, v, 0, state),
            state_bytes=shape.batch * state,
        )
