"""Training: recipe → run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import accelerate
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from memx.engine.checkpoint import load_training_state, save_training_state, save_weights
from memx.engine.datasets import data_record, training_set
from memx.engine.evaluate import Evaluation, evaluate
from memx.engine.history import History
from memx.engine.manifest import manifest
from memx.engine.optim import make_optimizer, make_schedule
from memx.engine.run import RunFolder
from memx.errors import CheckpointError, UserError
from memx.models.build import build
from memx.recipe import Recipe
from memx.registry import build_part


@dataclass(frozen=True)
class Step:
    """What is known after one optimiser step; handed to `on_step`."""

    iteration: int
    loss: float
    validation_dice: float | None
    seconds: float


@dataclass
class Trainer:
    """One run's moving parts. `run` trains to the end; `save` and `restore` make it resumable to the bit."""

    recipe: Recipe
    folder: RunFolder
    device: str = "cpu"
    pretrained: bool = True
    """Start from the pretrained weights that the recipe names; a run that is restored has no need of them."""
    on_step: Callable[[Step], None] = lambda step: None
    iteration: int = 0
    best: float = -math.inf
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        train = self.recipe.train
        torch.manual_seed(self.recipe.seed)
        AcceleratorState._reset_state(True)  # a second run in one process may ask for another precision
        precision = {"fp32": "no"}.get(train.precision, train.precision)
        self.accelerator = accelerate.Accelerator(mixed_precision=precision, cpu=self.device == "cpu")
        self.model = build(self.recipe, pretrained=self.pretrained)
        self.optimizer = make_optimizer(self.model, train)
        self.schedule = make_schedule(self.optimizer, train)
        self.loss = build_part(self.recipe.loss)
        self.data = training_set(self.recipe, draws=train.iterations * train.batch)
        self.network, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)

    def run(self) -> None:
        """Train from the current iteration to the last; validates, checkpoints and keeps the best weights."""
        train = self.recipe.train
        if not (self.folder.path / "manifest.json").exists():
            self.folder.write_json("manifest.json", manifest(self.recipe, data_record(self.recipe)))
        started = time.perf_counter()
        try:
            for batch in self._loader():
                loss, parts = self._step(batch)
                self.iteration += 1
                dice = self._validate() if self._due(train.validate_every) else None
                now = time.perf_counter()
                rate = self.optimizer.param_groups[-1]["lr"]
                self.history.add(
                    self.iteration, loss=loss, learning_rate=rate, seconds=now - started, validation_dice=dice, **parts
                )
                started = now
                if self._due(train.checkpoint_every):
                    self.save()
                self.on_step(Step(self.iteration, loss, dice, self.history.rows[-1]["seconds"]))
        except KeyboardInterrupt:
            self.save()
            raise UserError(
                f"interrupted after {self.iteration} of {train.iterations} steps; "
                f"go on with: memx train --resume {self.folder.path}"
            ) from None

    def _due(self, every: int) -> bool:
        return self.iteration == self.recipe.train.iterations or (every > 0 and self.iteration % every == 0)

    def _loader(self) -> DataLoader[dict[str, Tensor]]:
        """The clips that this process has yet to see; a global batch is dealt out to the processes item by item."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batch = self.recipe.train.batch
        if batch % world:
            raise UserError(
                f"train.batch={batch} cannot be dealt out to {world} processes; make it a multiple of {world}"
            )
        rest = range(self.iteration * batch + rank, self.recipe.train.iterations * batch, world)
        workers = self.recipe.data.workers
        return DataLoader(
            Subset(self.data, rest),
            batch // world,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device != "cpu",
            generator=torch.Generator(),  # else starting to load would draw from the generator that a resume restores
        )

    def _step(self, batch: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
        self.network.train()
        device = self.accelerator.device
        video, masks, supervised = (batch[k].to(device, non_blocking=True) for k in ("video", "masks", "supervised"))
        with self.accelerator.autocast():
            output = self.network(video, objects=masks.shape[2])
        losses: dict[str, Tensor] = self.loss(output, masks, supervised)
        parts = {name: float(value.detach()) for name, value in losses.items() if name != "total"}
        total = losses["total"]
        value = float(total.detach())
        if not math.isfinite(value):
            self._fail(f"the loss became {value}", parts)
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        if self.recipe.train.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.train.clip_norm)
            if norm is not None and not torch.isfinite(norm) and self.recipe.train.precision != "fp16":
                self._fail(f"the gradient's norm became {float(norm)}", parts)
        self.optimizer.step()
        self.schedule.step()
        return value, parts

    def _fail(self, what: str, parts: dict[str, float]) -> None:
        kept = self.folder.training_state
        shown = ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
        raise UserError(
            f"{what} at step {self.iteration + 1} of {self.recipe.train.iterations} ({shown}).\n"
            + (f"The last good state is kept in {kept}. " if kept.exists() else "No checkpoint had been made yet. ")
            + "Try a smaller train.learning_rate, train.clip_norm=1 or train.precision=fp32; "
            "a delta-rule memory whose keys are not normalised can grow without bound (see its `normalize` option)."
        )

    def _validate(self) -> float | None:
        """Mean Dice on the validation split; keeps the weights when it is the best so far."""
        result = self.validation()
        dice = result.mean_dice
        if self.accelerator.is_main_process and (dice if dice is not None else 0.0) > self.best:
            self.best = dice if dice is not None else 0.0
            save_weights(self.folder.best_weights, self.model, self.recipe, iteration=str(self.iteration))
        return dice

    def validation(self) -> Evaluation:
        """The current weights' scores on the validation split."""
        return evaluate(self.model, self.recipe, "val", device=str(self.accelerator.device), examples=0)

    def save(self) -> None:
        """Write a resumable checkpoint: `last/`."""
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        save_training_state(
            self.folder.training_state,
            {
                "recipe_hash": self.recipe.hash,
                "iteration": self.iteration,
                "best": self.best,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict() | {"lr_lambdas": []},
                "scaler": scaler.state_dict() if scaler is not None else {},
                "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
                "history": self.history.rows,
            },
        )
        save_weights(self.folder.last_weights, self.model, self.recipe, iteration=str(self.iteration))
        self.history.write(self.folder.path / "history.csv")

    def restore(self) -> None:
        """Go back to the last checkpoint, exactly. Raises CheckpointError when it belongs to another recipe."""
        state: dict[str, Any] = load_training_state(self.folder.training_state)
        if state["recipe_hash"] != self.recipe.hash:
            raise CheckpointError(
                f"{self.folder.training_state}: was written for recipe {state['recipe_hash']}, but this one is "
                f"{self.recipe.hash}; resume with the recipe in the run folder, or start a new run"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        factors = self.schedule.lr_lambdas
        self.schedule.load_state_dict(state["schedule"] | {"lr_lambdas": [None] * len(factors)})
        self.schedule.lr_lambdas = factors
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"]["cpu"])
        if torch.cuda.is_available() and state["random"]["cuda"]:
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.iteration, self.best = state["iteration"], state["best"]
        self.history = History(list(state["history"]))
