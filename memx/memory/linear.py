"""Linear key-value association (LKVA): frames are added up."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from memx.memory._affine import AffineMemory
from memx.memory._features import FeatureMap
from memx.memory._frame_writes import SummedWrite
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories


@memories.register("linear")
class LinearMemory(AffineMemory):
    """Linear key-value memory (LKVA): S ← S + Σ_n φ(k_n) v_nᵀ.

        S ← S + Σ_n φ(k_n) v_nᵀ
        read: r(n) = Sᵀ φ(q_n),    with `normalize` divided by zᵀ φ(q_n),  z = Σ φ(k)

    State S (b o k v) and, normalised, z (b k). Nothing is ever forgotten; the state grows with the clip unless
    normalised, and normalised it is the mean of all values weighted by φ(q) · φ(k).
    Raises ValueError for `normalize` with the identity map, whose divisor can vanish or change sign.
    Katharopoulos et al., arXiv 2006.16236; the LKVA of GDKVM, arXiv 2512.10252.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        feature_map: Annotated[
            FeatureMap, Field(description="map over the channels of keys and queries; elu is elu(x) + 1")
        ] = "softmax",
        normalize: Annotated[bool, Field(description="divide readouts by the summed weights φ(q) · Σ φ(k)")] = False,
    ):
        if normalize and feature_map == "identity":
            raise ValueError("normalize needs a map that is not negative (softmax, elu, relu), not identity")
        super().__init__(key_dim, value_dim, key_map=feature_map, normalized=normalize)

    def frame_write(self, frame: Tokens) -> SummedWrite:
        return SummedWrite(self.keys(frame.key).unsqueeze(1), self.packed_value(frame))

    def cost(self, shape: Shape) -> Cost:
        write = SummedWrite.macs(tokens=shape.tokens, heads=1, rows=self.rows, width=self.width(shape))
        return self.affine_cost(shape, write=write)
