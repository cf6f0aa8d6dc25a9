"""What a checkpoint holds: everything that decides how a run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from memx.engine.averaging import Average
from memx.engine.checkpoint import differences
from memx.errors import CheckpointError
from memx.recipe import Recipe

_NEEDED = {"recipe", "plugins", "iteration", "best", "model", "optimizer", "schedule", "random"}


@dataclass(frozen=True)
class Learner:
    """What learns: everything that a step changes, but for the counters and the random generators."""

    model: nn.Module
    optimizer: optim.Optimizer
    schedule: optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler | None
    average: Average[Any] | None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, no code."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() | {"lr_lambdas": []},
            "scaler": {} if self.scaler is None else self.scaler.state_dict(),
            "average": {} if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        factors = self.schedule.lr_lambdas
        self.schedule.load_state_dict(state["schedule"] | {"lr_lambdas": [None] * len(factors)})
        self.schedule.lr_lambdas = factors
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def identity(recipe: Recipe) -> dict[str, Any]:
    """Which recipe a checkpoint is of."""
    return {"recipe": json.dumps(recipe.dump()), "plugins": recipe.plugin_digests}


def check_identity(path: Path, state: dict[str, Any], recipe: Recipe) -> None:
    """Raise CheckpointError unless the state at `path` is one of this recipe, naming what differs."""
    missing = _NEEDED - state.keys()
    if missing:
        raise CheckpointError(f"{path}: no training state of memx: it has no {min(missing)}")
    written = Recipe.from_dict({**json.loads(state["recipe"]), "plugins": recipe.plugins})
    if written.hash != recipe.hash or state["plugins"] != recipe.plugin_digests:
        places = differences(written.decisive(), recipe.decisive(), "") or ["the plug-ins' code"]
        raise CheckpointError(
            f"{path}: was written for recipe {written.hash}, but this one is {recipe.hash}; they differ in "
            f"{', '.join(places)}. Resume with the recipe in the run folder, or start a new run"
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of this process's global generators."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(states: Sequence[dict[str, Any]], rank: int, device: torch.device) -> None:
    """Give this process its generators' state back; one that was not there before keeps its own seed's."""
    if rank >= len(states):
        return
    state = states[rank]
    torch.set_rng_state(state["cpu"])
    cuda: list[Tensor] = state["cuda"]
    if device.type == "cuda" and cuda:
        torch.cuda.set_rng_state(cuda[0], device)
