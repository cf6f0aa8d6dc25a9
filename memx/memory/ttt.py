"""TTT memory: the state is a model that every frame trains by one step of gradient descent."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from memx.memory._cost import bytes_moved
from memx.memory._features import KeyNorm, feature_map, feature_map_operations
from memx.memory._gates import feature_of, project, required
from memx.memory.base import Cost, Memory, Shape, Tokens, state_dtype
from memx.memory.state import State
from memx.ops.precision import no_autocast
from memx.registry import memories

EPS = 1e-6
"""What the layer norm adds to the variance."""


@memories.register("ttt")
class TTTMemory(Memory):
    """Test-time training (TTT-Linear): the state is a linear model that every frame trains by one gradient step.

        f(k) = γ ⊙ norm(z) + β,    z = Sᵀ k + c
        S ← S − Σ_n η_n k_n δ_nᵀ,    c ← c − Σ_n η_n δ_n
        δ_n = ∂/∂z_n ½ |f(k_n) − v_n|²,    η_n = lr / N · σ(w x_n + b)
        read: r(n) = f(q_n)

    norm(z) = (z − mean z) / √(var z + 10⁻⁶) over the channels of a head; the heads are groups of neighbouring value
    channels. x_n is the feature of a token, N the tokens of the frame, and δ is taken at the state before the frame: a
    frame is TTT's mini-batch. With `rate: head` σ(b) is one learned rate a head.
    State S (b o k v) and c (b o v); both start, and start again at a reset, from learned values. S is initialised as
    standard normal numbers, so that for unit keys z has unit variance and lr is about how far a step moves it.
    TTT-Linear adds the input to f, which needs values of the key's size; here they differ, and f has no such residual.
    Without norm, γ, β and c the write is the `delta` memory's with `write: joint` and strengths η.
    Stability: |δ| is at most |γ|_∞ |f − v| / 10⁻³, however large S is, so the state grows by a bounded amount a frame.
    Frames can only be taken one after another, since a gradient is taken at the state before its frame.
    Raises ValueError when `heads` does not divide the value channels into groups of at least two, and for
    `rate: token` where the model supplies no token features.
    Sun et al., arXiv 2407.04620.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Annotated[
            int, Field(ge=1, description="groups of value channels with a layer norm and a rate of their own")
        ] = 4,
        lr: Annotated[
            float, Field(gt=0, description="largest step of the gradient descent, on the mean over a frame's tokens")
        ] = 1.0,
        rate: Annotated[
            Literal["token", "head"],
            Field(description="what weighs the step: a gate of each token's feature, or one learned number a head"),
        ] = "token",
        key_norm: Annotated[KeyNorm, Field(description="map over the channels of keys and queries")] = "l2",
    ):
        super().__init__()
        if value_dim % heads or value_dim // heads < 2:
            raise ValueError(
                f"heads must divide the value channels into groups of at least 2, which the layer norm needs; "
                f"{heads} heads do not divide {value_dim} so"
            )
        self.key_dim, self.value_dim, self.heads, self.lr = key_dim, value_dim, heads, lr
        self.key_norm: KeyNorm = key_norm
        self.value_heads = heads
        self.feature_dim = required(feature_dim, "rate: token") if rate == "token" else 0
        if self.feature_dim:
            self.rate_proj = nn.Linear(self.feature_dim, heads)
        else:
            self.rate_bias = nn.Parameter(torch.zeros(heads))
        self.S_start = nn.Parameter(torch.randn(key_dim, value_dim))
        self.c_start = nn.Parameter(torch.zeros(value_dim))
        self.norm_weight = nn.Parameter(torch.ones(value_dim))
        self.norm_bias = nn.Parameter(torch.zeros(value_dim))

    def why_not(self, form: str) -> str:
        return (
            "the gradient of a frame is taken at the state before it, through a layer norm, so frames cannot be "
            "computed at once"
        )

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """The learned start, expanded: gradients reach it. It is on the parameters' device unless one is given."""
        S, c = (x.to(device=device, dtype=state_dtype(dtype)) for x in (self.S_start, self.c_start))
        return State(S=S.expand(batch, objects, -1, -1), c=c.expand(batch, objects, -1))

    def write(self, state: State, frame: Tokens) -> State:
        state = self.restart(state, frame)
        with no_autocast(state.S.device):
            frame = frame.map(lambda x: x.to(state.S.dtype))
            key = feature_map(frame.key, self.key_norm).unsqueeze(1)
            step = self._rate(frame) * self.gradient(key @ state.S + state.c.unsqueeze(2), frame.value)
            return state.replace(S=state.S - key.mT @ step, c=state.c - step.sum(2))

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        with no_autocast(state.S.device):
            query = feature_map(frame.query.to(state.S.dtype), self.key_norm).unsqueeze(1)
            normed, _ = self._normed(query @ state.S + state.c.unsqueeze(2))
            return self._scaled(normed).to(frame.value.dtype)

    def gradient(self, z: Float[Tensor, "b o n v"], value: Float[Tensor, "b o n v"]) -> Float[Tensor, "b o n v"]:
        """δ = ∂/∂z ½ |γ ⊙ norm(z) + β − v|², token by token."""
        normed, inverse = self._normed(z)
        error = self._scaled(normed) - value
        slope = self._by_head(self.norm_weight.to(z.dtype) * error)
        along = normed * (slope * normed).mean(-1, keepdim=True)
        return (inverse * (slope - slope.mean(-1, keepdim=True) - along)).flatten(-2)

    def _normed(self, z: Float[Tensor, "b o n v"]) -> tuple[Float[Tensor, "b o n h w"], Float[Tensor, "b o n h 1"]]:
        """z of each head with mean 0 and variance 1, and the factor 1 / √(var z + ε)."""
        z = self._by_head(z)
        centred = z - z.mean(-1, keepdim=True)
        inverse = (centred.square().mean(-1, keepdim=True) + EPS).rsqrt()
        return centred * inverse, inverse

    def _scaled(self, normed: Float[Tensor, "b o n h w"]) -> Float[Tensor, "b o n v"]:
        return normed.flatten(-2) * self.norm_weight.to(normed.dtype) + self.norm_bias.to(normed.dtype)

    def _by_head(self, x: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch h w"]:
        return x.unflatten(-1, (self.heads, -1))

    def _rate(self, frame: Tokens) -> Float[Tensor, "b 1 n v"] | Float[Tensor, " v"]:
        """η of every token and value channel."""
        if not self.feature_dim:
            rate = self.meet("beta", self.rate_bias.to(frame.value.dtype).sigmoid(), "h")
        else:
            logit = project(feature_of(frame, "rate: token"), self.rate_proj).mT
            rate = self.meet("beta", logit.sigmoid(), "b n h").unsqueeze(1)
        tokens = max(frame.key.shape[-2], 1)
        return (self.lr / tokens * rate).repeat_interleave(self.value_dim // self.heads, dim=-1)

    def cost(self, shape: Shape) -> Cost:
        frames, n, k, width = shape.batch * shape.frames, shape.tokens, self.key_dim, shape.objects * self.value_dim
        state = 4 * width * (k + 1)
        rates = n * self.heads if self.feature_dim else self.heads
        return Cost(
            macs=frames * (3 * n * k * width + n * self.feature_dim * self.heads),
            pointwise=frames * (2 * n * k * feature_map_operations(self.key_norm) + 12 * n * width + 2 * rates),
            bytes_moved=bytes_moved(shape, k, self.value_dim, self.feature_dim, state),
            state_bytes=shape.batch * state,
        )
