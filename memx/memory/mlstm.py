"""mLSTM: xLSTM's matrix memory, whose input gate is exponential."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory, unpack
from memx.memory._decay import DecayPer, as_met, over_the_frame
from memx.memory._frame_writes import SummedWrite, weighted
from memx.memory._gates import Heads, feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.memory.state import State
from memx.registry import memories


@memories.register("mlstm")
class MLSTMMemory(AffineMemory):
    """mLSTM: an exponential input gate lets a token outweigh all before it, and a running sum of weights divides.

        S ← f S + Σ_n i_n k_n v_nᵀ,    z ← f z + Σ_n i_n k_n                     (decay_per: frame)
        S ← f_n S + i_n k_n v_nᵀ,    z ← f_n z + i_n k_n  for n = 1, 2, …        (decay_per: token)
        i_n = exp(W_i x_n + b_i),    f_n = σ(W_f x_n + b_f),    log f the mean of the log f_n
        read: r(n) = Sᵀ q_n / max(|zᵀ q_n|, 1)

    with keys divided by √k. State S (b o k v), z (b h k; b k with one head) and m (b h): S and z are kept divided by
    exp(m), where m is the logarithm of the largest weight that any token has in the sum, or 0 where all are below 1.
    So no gate overflows, and readouts are those of the equation. x is the feature of a token, tokens are in raster
    order, i and f are numbers of every head. What is read is a sum of values with weights i (k · q) over a divisor of
    at least 1, in which keys of both signs can cancel.
    The output gate and norm of an mLSTM layer are left to the model.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Beck et al. (xLSTM), arXiv 2405.04517.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 8,
        decay_per: DecayPer = "frame",
    ):
        super().__init__(key_dim, value_dim, heads=heads, normalized=True)
        self.value_heads = heads
        self.feature_dim = required(feature_dim, "mlstm")
        self.decay_per: DecayPer = decay_per
        self.i_proj, self.f_proj = nn.Linear(self.feature_dim, heads), nn.Linear(self.feature_dim, heads)
        with torch.no_grad():
            for layer in (self.i_proj, self.f_proj):
                layer.weight.zero_()
            self.i_proj.bias.normal_(std=0.1)
            self.f_proj.bias.copy_(torch.linspace(3, 6, heads))

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        state = super().init_state(batch, objects, device=device, dtype=dtype)
        return state.replace(m=state.S.new_zeros(batch, self.heads))

    def clip_write(self, clip: Tokens, state: State) -> tuple[SummedWrite, Mapping[str, Tensor]]:
        frame, t = clip.fold(), clip.key.shape[1]
        x = feature_of(frame, "mlstm")
        forget, weight = F.logsigmoid(project(x, self.f_proj)), project(x, self.i_proj)
        forget = as_met(self.meet_decay(forget, self.decay_per), self.decay_per, x.shape[1])
        weight = self.meet("beta", weight, "b h n", high=math.inf, log=True)
        kept, later = over_the_frame(forget)
        weight = weight + later
        m, before, after = state.m, [], []
        for i, (log_decay, largest) in enumerate(zip(_frames(kept, t), _frames(weight.amax(-1), t), strict=True)):
            if clip.reset is not None:
                m = torch.where(clip.reset[:, i, None], m.new_zeros(()), m)
            before.append(log_decay + m)
            m = torch.maximum(before[-1], largest).clamp(min=0)
            after.append(m)
        largest = torch.stack(after, dim=1)
        shrink = (torch.stack(before, dim=1) - largest).flatten(0, 1).exp()
        scale = (weight - largest.flatten(0, 1).unsqueeze(-1)).exp()
        key = (frame.key * self.key_dim**-0.5).unsqueeze(1)
        write = SummedWrite(weighted(key, scale), self.packed_value(frame), shrink[..., None, None])
        return write, {"m": largest}

    def matrix(self, state: State) -> Float[Tensor, "b o k v"]:
        """S of the equation: exp(m) times what is kept."""
        scale = state.m.double().exp().repeat_interleave(self.value_dim // self.heads, dim=1)
        return state.S.double() * scale[:, None, None]

    def recall(self, S: Float[Tensor, "b h r V"], frame: Tokens, leaves: State) -> Float[Tensor, "b o n v"]:
        """Sᵀ q / max(|zᵀ q|, exp(−m)); where both are 0, Sᵀ q."""
        out, total = (frame.query.unsqueeze(1) @ S).tensor_split([-1], dim=-1)
        divisor = torch.maximum(total.abs(), (-leaves.m[..., None, None]).exp())
        return unpack(out / torch.where(divisor == 0, torch.ones_like(divisor), divisor), frame.value.shape[1])

    def cost(self, shape: Shape) -> Cost:
        n, h = shape.tokens, self.heads
        return self.affine_cost(
            shape,
            write=SummedWrite.macs(tokens=n, heads=h, rows=self.rows, width=self.width(shape)),
            gate_macs=2 * n * h * self.feature_dim,
            gate_operations=n * (self.rows + h * (8 + self.rows + self.width(shape))),
            feature_dim=self.feature_dim,
            other_bytes=4 * h,
        )


def _frames(x: Float[Tensor, "bt h"], t: int) -> tuple[Float[Tensor, "b h"], ...]:
    return x.unflatten(0, (-1, t)).unbind(1)
