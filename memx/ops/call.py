"""One call of a rule, as every backend gets it."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class Call(NamedTuple):
    """One call of a rule, its inputs checked for shape but otherwise as they were given."""

    op: str
    q: Float[Tensor, "b t h k"]
    k: Float[Tensor, "b t h k"]
    v: Float[Tensor, "b t h v"]
    log_decay: Float[Tensor, "b t h"] | Float[Tensor, "b t h k"] | None
    beta: Float[Tensor, "b t h"] | None
    erases: bool
    scale: float
    initial_state: Float[Tensor, "b h k v"] | None
    reset: Bool[Tensor, "b t"] | None
    form: str
    chunk_size: int | None
