"""Delta memory: what the frame's keys recall is replaced by the frame's values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from memx.memory._affine import AffineMemory
from memx.memory._cautions import Erase
from memx.memory._features import KeyNorm
from memx.memory._frame_writes import FrameWrite, JointWrite, TokenWrite, weighted
from memx.memory._gates import feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.ops.frame import Normalize
from memx.registry import memories


@memories.register("delta")
class DeltaMemory(AffineMemory):
    """Delta memory: S ← S + Σ_n β_n k_n (v_n − Sᵀ k_n)ᵀ, the frame's tokens one after another or jointly.

        S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ  for n = 1, 2, … in raster order    (write: tokens)
        S ← S − G S + Σ_n β_n k_n v_nᵀ,    G = Σ_n β_n k_n k_nᵀ             (write: joint)
        read: r(n) = Sᵀ q_n

    State S (b o k v). β is a fixed number, or with `beta: token` the sigmoid of a projection of each token's feature.
    Token by token a step does not expand the state while β |k|² ≤ 2, which l2 and softmax keys keep. Jointly a frame
    does not while λ_max(G) ≤ 2, which `normalize` provides, dividing G only: spectral for any keys, tokens for l2 and
    softmax keys. Keys without a norm (key_norm: none) have no bound otherwise.
    Raises ValueError for `beta: token` where the model supplies no token features, and for `normalize` without
    `write: joint`.
    Schlag et al., arXiv 2102.11174; Yang et al. (DeltaNet), arXiv 2406.06484.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        write: Annotated[
            Literal["joint", "tokens"], Field(description="write a frame's tokens at once, or one after another")
        ] = "tokens",
        beta: Annotated[
            Annotated[float, Field(gt=0, le=2)] | Literal["token"],
            Field(description="share of the recalled value that is replaced: a number, or `token` for a learned gate"),
        ] = 1.0,
        key_norm: Annotated[KeyNorm, Field(description="map over the channels of keys and queries")] = "l2",
        normalize: Annotated[
            Normalize,
            Field(
                description="with write: joint, divide G, and only G, by the number of tokens or its largest eigenvalue"
            ),
        ] = "none",
    ):
        if normalize != "none" and write != "joint":
            raise ValueError(f"normalize: {normalize} divides the joint erase: it needs write: joint")
        super().__init__(key_dim, value_dim, key_map=key_norm)
        self.joint, self.beta = write == "joint", beta
        self.normalize: Normalize = normalize
        self.feature_dim = 0
        if beta == "token":
            self.feature_dim = required(feature_dim, "beta: token")
            self.b_proj = nn.Linear(self.feature_dim, 1)

    def frame_write(self, frame: Tokens) -> FrameWrite:
        if self.beta == "token":
            strength = project(feature_of(frame, "beta: token"), self.b_proj).sigmoid()
        else:
            strength = frame.key.new_full(frame.key.shape[:2], float(self.beta)).unsqueeze(1)
        strength = self.meet("beta", strength, "b h n", high=1.0 if self.beta == "token" else 2.0)
        key, value = self.keys(frame.key).unsqueeze(1), self.packed_value(frame)
        if self.joint:
            return JointWrite(key, value, strength, normalize=self.normalize)
        return TokenWrite(key, weighted(key, strength), value)

    def cost(self, shape: Shape) -> Cost:
        n, width = shape.tokens, self.width(shape)
        if self.joint:
            write = JointWrite.macs(
                tokens=n, heads=1, rows=self.rows, width=width, weighted=True, normalize=self.normalize
            )
        else:
            write = TokenWrite.macs(steps=n, heads=1, rows=self.rows, width=width)
        return self.affine_cost(
            shape, write=write, gate_macs=n * self.feature_dim, state_operations=2, feature_dim=self.feature_dim
        )

    def cautions(self, shape: Shape) -> list[str]:
        most = 1.0 if self.beta == "token" else float(self.beta)
        return Erase(self.joint, self.key_map, most, self.normalize).cautions(shape.tokens, self.key_dim)
