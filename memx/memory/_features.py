"""Feature maps over the channels of keys and queries."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FeatureMap = Literal["softmax", "elu", "relu", "identity"]
KeyNorm = Literal["softmax", "l2", "none"]


_MAPS = {*get_args(FeatureMap), *get_args(KeyNorm)}


def known_map(name: FeatureMap | KeyNorm) -> FeatureMap | KeyNorm:
    """`name`, where there is such a map. Raises ValueError where there is not."""
    if name not in _MAPS:
        raise ValueError(f"there is no feature map {name!r}; there are {', '.join(sorted(_MAPS))}")
    return name


def feature_map(x: Float[Tensor, "*batch k"], name: FeatureMap | KeyNorm) -> Float[Tensor, "*batch k"]:
    """softmax over the channels; elu: elu(x) + 1; relu; l2: x / |x|; identity and none: x."""
    if name == "softmax":
        return x.softmax(-1)
    if name == "elu":
        return F.elu(x) + 1
    if name == "relu":
        return x.relu()
    if name == "l2":
        return F.normalize(x, dim=-1)
    known_map(name)
    return x


def feature_map_operations(name: FeatureMap | KeyNorm) -> int:
    """Elementwise operations a channel: exponential, sum, division and the like."""
    return {"softmax": 3, "elu": 3, "relu": 1, "l2": 3}.get(name, 0)
