"""Training: recipe → run folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import accelerate
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from memx.data.dataset import ClipDataset, collate
from memx.engine.checkpoint import differences, load_training_state, save_training_state, save_weights
from memx.engine.datasets import data_record, training_set
from memx.engine.evaluate import Evaluation, evaluate
from memx.engine.history import History
from memx.engine.interruption import Interruption, StopSignal, leave_to_main, noting
from memx.engine.manifest import manifest
from memx.engine.optim import make_optimizer, make_schedule
from memx.engine.run import RunFolder
from memx.errors import CheckpointError, DataError, InterruptedRunError, UserError
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
    clips: ClipDataset | None = None
    """The recipe's training set, where the caller has it already (`training_set`)."""
    iteration: int = 0
    best: float = -math.inf
    validated: bool = True
    """False between a step that is to be validated and the end of its validation."""
    history: History = field(default_factory=History)
    interruption: Interruption = field(default_factory=Interruption)

    def __post_init__(self) -> None:
        train = self.recipe.train
        torch.manual_seed(self.recipe.seed)
        AcceleratorState._reset_state(True)  # a second run in one process may ask for another precision
        if train.precision == "fp16" and self.device == "cpu":
            raise UserError("train.precision=fp16 needs a GPU; on the CPU take bf16 or fp32")
        precision = {"fp32": "no"}.get(train.precision, train.precision)
        if self.device.startswith("cuda"):
            torch.cuda.set_device(self.device)
        self.accelerator = accelerate.Accelerator(mixed_precision=precision, cpu=self.device == "cpu")
        if self.accelerator.device.type != torch.device(self.device).type:
            raise UserError(
                f"--device {self.device}: accelerate chose {self.accelerator.device}; it is cpu or cuda[:n]"
            )
        self.model = build(self.recipe, pretrained=self.pretrained)
        self.optimizer = make_optimizer(self.model, train)
        self.schedule = make_schedule(self.optimizer, train)
        self.loss = build_part(self.recipe.loss)
        self.data = training_set(self.recipe) if self.clips is None else self.clips
        self.network, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)

    def run(self) -> None:
        """Train from the current iteration to the last; validates, checkpoints and keeps the best weights.

        Ctrl-C, SIGTERM or SIGUSR1 end the run after the step at hand, saved (`interruption`): InterruptedRunError. A
        validation that is under way is left, and made when the run goes on. A second Ctrl-C ends it at once, unsaved.
        """
        train = self.recipe.train
        self._record()
        with noting() as self.interruption:
            if self.iteration:  # what a kill may have left older than the state, or unmade
                self._write_readable()
                if not self.validated:
                    self._complete_step(self.history.rows[-1], time.perf_counter())
            started = time.perf_counter()
            for batch in self._batches():
                loss, parts = self._step(batch)
                self.iteration += 1
                rate = self.optimizer.param_groups[-1]["lr"]
                self.history.add(
                    self.iteration, loss=loss, learning_rate=rate, seconds=0.0, validation_dice=None, **parts
                )
                row = self.history.rows[-1]
                self.validated = not self._due(train.validate_every)
                started = self._complete_step(row, started)
                self.on_step(Step(self.iteration, loss, row["validation_dice"], row["seconds"]))
                self._stop_if_asked()

    def _complete_step(self, row: dict[str, Any], started: float) -> float:
        """What follows a step where it is due: validation and checkpoint; returns when it ended."""
        if not self.validated:
            try:
                row["validation_dice"] = self._validate()
            except StopSignal:
                self._stop_if_asked()
                raise
            self.validated = True
        now = time.perf_counter()
        row["seconds"] += now - started  # loading and validation count, as they do for the user
        if self._due(self.recipe.train.checkpoint_every):
            self.save()
        return now

    def _stop_if_asked(self) -> None:
        """After a step, save and raise InterruptedRunError where any process of the run has been asked to stop."""
        if self.interruption.agree(self.accelerator):
            self.save()
            self.accelerator.wait_for_everyone()  # torchrun kills the others when the first has ended
            raise InterruptedRunError(
                f"interrupted after {self.iteration} of {self.recipe.train.iterations} steps; "
                f"go on with: memx train --resume {self.folder.path}",
                status=128 + (self.interruption.number or 0),
            )

    def _record(self) -> None:
        """Write the manifest; a run that goes on must go on with the data that it began with."""
        if not self.accelerator.is_main_process:
            return
        record = data_record(self.recipe)
        if not (self.folder.path / "manifest.json").exists():
            self.folder.write_json("manifest.json", manifest(self.recipe, record))
            return
        before = self.folder.read_json("manifest.json")["data"]
        if before["fingerprint"] != record["fingerprint"]:
            raise UserError(
                f"{self.recipe.data.root}: is not the data that this run began with ({before['root']}, fingerprint "
                f"{before['fingerprint'][:12]}, now {record['fingerprint'][:12]}); restore it, or start a new run"
            )

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """Batches in their order; an error in a worker process is raised as the one it was."""
        try:
            yield from self._loader()
        except DataError as error:
            text = str(error)
            if "Original Traceback" in text:
                raise DataError(text.rsplit(f"{DataError.__name__}: ", 1)[-1].strip()) from None
            raise

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
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device != "cpu",
            worker_init_fn=leave_to_main,
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
        """Mean Dice on the validation split; keeps the weights when it is the best so far.

        Best weights never lie beside no checkpoint: what was trained is then told from weights that were imported.
        """
        if not self.folder.training_state.exists():
            self.save()
        try:
            result = self.validation()
        except UserError:
            self.save()  # what was trained is not lost to a bad validation case
            raise
        dice = result.mean_dice
        if self.accelerator.is_main_process and (dice if dice is not None else 0.0) > self.best:
            self.best = dice if dice is not None else 0.0
            with self._saying_what_is_kept():
                save_weights(self.folder.best_weights, self.model, self.recipe, iteration=str(self.iteration))
        return dice

    def validation(self) -> Evaluation:
        """The current weights' scores on the validation split, of the frames that training takes.

        They choose the weights, and so depend on nothing that the recipe's hash leaves out.
        """
        as_trained = self.recipe.evaluate.model_copy(update={"frames": "as_trained", "masks": "as_trained"})
        recipe = self.recipe.model_copy(update={"evaluate": as_trained})
        return evaluate(
            self.model,
            recipe,
            "val",
            device=str(self.accelerator.device),
            examples=0,
            on_case=lambda done, total: self.interruption.stop_if_asked(),
        )

    def save(self) -> None:
        """Write a resumable checkpoint, `last/`. Its training state is all that resuming reads.

        A process may be killed between any two files: the state is written first and whole, and what else there is
        follows from it and is written again when the run goes on.
        """
        if not self.accelerator.is_main_process:
            return
        with self._saying_what_is_kept():
            self._write_state()
            self._write_readable()

    def _write_state(self) -> None:
        scaler = self.accelerator.scaler
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        save_training_state(
            self.folder.training_state,
            {
                "recipe": json.dumps(self.recipe.dump()),
                "plugins": self.recipe.plugin_digests,
                "iteration": self.iteration,
                "best": self.best,
                "validated": self.validated,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict() | {"lr_lambdas": []},
                "scaler": scaler.state_dict() if scaler is not None else {},
                "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
                "history": self.history.rows,
            },
        )

    def _write_readable(self) -> None:
        """The weights and the history in files of their own."""
        if self.accelerator.is_main_process:
            save_weights(self.folder.last_weights, self.model, self.recipe, iteration=str(self.iteration))
            self.history.write(self.folder.path / "history.csv")

    @contextmanager
    def _saying_what_is_kept(self) -> Iterator[None]:
        """A disk that is full ends the run; the message says where it can go on."""
        try:
            yield
        except UserError as error:
            kept = (
                "The last checkpoint is kept" if self.folder.training_state.exists() else "There is no checkpoint yet"
            )
            raise UserError(f"{error}. {kept}; go on with: memx train --resume {self.folder.path}") from error

    def restore(self) -> None:
        """Go back to the last checkpoint, exactly. Raises CheckpointError when it belongs to another recipe."""
        state: dict[str, Any] = load_training_state(self.folder.training_state)
        missing = {"recipe", "plugins", "iteration", "best", "model", "optimizer", "schedule", "random"} - state.keys()
        if missing:
            raise CheckpointError(f"{self.folder.training_state}: no training state of memx: it has no {min(missing)}")
        written = Recipe.from_dict({**json.loads(state["recipe"]), "plugins": self.recipe.plugins})
        if written.hash != self.recipe.hash or state["plugins"] != self.recipe.plugin_digests:
            places = differences(written.decisive(), self.recipe.decisive(), "") or ["the plug-ins' code"]
            raise CheckpointError(
                f"{self.folder.training_state}: was written for recipe {written.hash}, but this one is "
                f"{self.recipe.hash}; they differ in {', '.join(places)}. Resume with the recipe in the run folder, or "
                "start a new run"
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
        self.validated = state.get("validated", True)
        self.history = History(list(state["history"]))
