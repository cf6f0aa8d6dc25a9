"""The moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """Exponential moving average of the weights: ā ← ā + (1 − d)(w − ā), d = min(decay, (1 + n) / (10 + n)).

    n counts the updates before; ā begins as the weights are when this is made, and the small d of the first updates
    lets it forget them. Parameters are averaged. Buffers are copied: the running statistics of batch normalisation are
    averages of their own, and counters have no mean.

    model  the averaged network, in evaluation mode
    """

    def __init__(self, model: M, decay: float):
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights, by one step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for own, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            own.lerp_(theirs, 1 - decay)
        for own, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.model.load_state_dict(state["model"])
