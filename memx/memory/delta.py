"""Delta memory: what the frame's keys recall is replaced by the frame's values."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory, FrameWrite, joint_macs, sequential_macs
from memx.memory._features import KeyNorm
from memx.memory.base import Cost, Shape, Tokens
from memx.ops.frame import Normalize
from memx.registry import memories


@memories.register("delta")
class DeltaMemory(AffineMemory):
    """Delta memory: S ← S + Σ_n β_n k_n (v_n − Sᵀ k_n)ᵀ, the frame's tokens one after another or jointly.

        write: tokens   S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ  for n = 1, 2, … in raster order
        write: joint    S ← S − G S + Σ_n β_n k_n v_nᵀ,    G = Σ_n β_n k_n k_nᵀ
        read: r(n) = q_nᵀ S

    State S (b o k v). β is a fixed number, or with `beta: token` the sigmoid of a projection of each token's feature.
    Token by token with l2 keys and β ≤ 2 the state never expands. Jointly it does not while λ_max(G) < 2, which
    `normalize` (tokens or spectral, dividing G only) provides.
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
            if feature_dim is None:
                raise ValueError("beta: token needs token features, which this place in the model does not supply")
            self.feature_dim = feature_dim
            self.b_proj = nn.Linear(feature_dim, 1)

    def frame_write(self, frame: Tokens, plain: Bool[Tensor, " b"] | None) -> FrameWrite:
        if self.beta == "token":
            if frame.feature is None:
                raise ValueError("beta: token reads Tokens.feature, which is None")
            weight, bias = (p.to(frame.feature.dtype) for p in (self.b_proj.weight, self.b_proj.bias))
            strength = F.linear(frame.feature, weight, bias).sigmoid().mT
        else:
            strength = frame.key.new_full(frame.key.shape[:2], float(self.beta)).unsqueeze(1)
        return FrameWrite(
            frame.key,
            self.packed_value(frame),
            strength=strength,
            erase=True,
            joint=self.joint,
            normalize=self.normalize,
        )

    def cost(self, shape: Shape) -> Cost:
        n, k, width = shape.tokens, self.key_dim, shape.objects * self.value_dim
        if self.joint:
            write = joint_macs(
                tokens=n, heads=1, key=k, width=width, erase=True, weighted=True, normalize=self.normalize
            )
        else:
            write = sequential_macs(tokens=n, heads=1, key=k, width=width, erase=True)
        gate = n * self.feature_dim
        return self.affine_cost(shape, write=write, gate_macs=gate, state_operations=2, feature_dim=self.feature_dim)
