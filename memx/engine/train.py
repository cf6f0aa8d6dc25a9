"""Training: recipe → run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from memx.data.dataset import ClipDataset
from memx.engine import processes
from memx.engine.accelerator import make_accelerator
from memx.engine.averaging import Average
from memx.engine.batch_norm import share_batch_norms
from memx.engine.checkpoint import load_training_state, save_training_state, save_weights
from memx.engine.datasets import data_record, training_set
from memx.engine.dealing import Batch, Deal, deal_shares
from memx.engine.determinism import deterministic
from memx.engine.evaluate import Evaluation, evaluate
from memx.engine.history import History
from memx.engine.interruption import Interruption, StopSignal, noting
from memx.engine.manifest import manifest
from memx.engine.optim import make_optimizer, make_schedule
from memx.engine.run import RunFolder
from memx.engine.trackers import Trackers, check_trackers
from memx.engine.training_state import Learner, check_identity, identity, random_state, restore_random_state
from memx.errors import DivergedError, InterruptedRunError, UserError
from memx.models.base import VideoModel
from memx.models.build import build
from memx.models.clip_streams import clip_streams
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
    """One run's moving parts. `run` trains to the end; `save` and `restore` make it resumable to the bit.

    Where a launcher has started several processes, each has a trainer: they share every step's batch, and the first
    one writes and validates.
    """

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
    _trackers: Trackers | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        processes.join(self.device)
        processes.together(self._build)
        several = processes.count() > 1
        self._norms_are_shared = several and share_batch_norms(self.model, self.accelerator.device)
        self.optimizer = make_optimizer(self.model, self.recipe.train)
        self.schedule = make_schedule(self.optimizer, self.recipe.train)
        self.network, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        if self.average is not None:
            self.average.model.to(self.accelerator.device)
        if several:  # what a component draws from the global generator differs; clips have streams of their own
            torch.manual_seed((self.recipe.seed + processes.rank()) % 2**63)

    def _build(self) -> None:
        """Everything that a single process can make, and refuse."""
        train = self.recipe.train
        torch.manual_seed(self.recipe.seed)
        self.deal = Deal(train.batch, train.accumulate, processes.count(), processes.rank())
        check_trackers(train.trackers)
        self.accelerator = make_accelerator(train, self.device)
        self.model = build(self.recipe, pretrained=self.pretrained)
        self.average = None if train.ema is None else Average(self.model, train.ema)
        self.loss = build_part(self.recipe.loss)
        self.data = training_set(self.recipe) if self.clips is None else self.clips

    @property
    def kept(self) -> VideoModel:
        """The network that is validated and kept: the average of the weights, or where there is none the weights."""
        return self.model if self.average is None else self.average.model

    def run(self) -> None:
        """Train from the current iteration to the last; validates, checkpoints and keeps the best weights.

        Ctrl-C, SIGTERM or SIGUSR1 end the run after the step at hand, saved (`interruption`): InterruptedRunError. A
        validation that is under way is left, and made when the run goes on. A second Ctrl-C ends it at once, unsaved.
        """
        train = self.recipe.train
        processes.first_only(self._record)
        self._trackers = processes.together(
            lambda: Trackers(self.accelerator, self.recipe, self.folder.path, self.iteration)
        )
        try:
            with processes.one_voice(), deterministic(train.deterministic):
                self._train()
        finally:
            self._trackers.finish()

    def _train(self) -> None:
        train = self.recipe.train
        batches = self._batches()
        with noting() as self.interruption:
            if self.iteration:
                self._catch_up()
            started = time.perf_counter()
            while self.iteration < train.iterations:
                values = self._step(processes.together(lambda: list(islice(batches, train.accumulate))))
                self.iteration += 1
                rate = self.optimizer.param_groups[-1]["lr"]
                loss = values.pop("loss")
                self.history.add(
                    self.iteration, loss=loss, learning_rate=rate, seconds=0.0, validation_dice=None, **values
                )
                self.validated = not self._due(train.validate_every)
                started = self._complete_step(started)
                self._stop_if_asked()

    def _catch_up(self) -> None:
        """Write what a kill may have left older than the state, and make the validation that it may have left out."""
        processes.first_only(self._write_readable)
        if not self.validated:
            self._complete_step(time.perf_counter())

    def _complete_step(self, started: float) -> float:
        """What follows a step where it is due: validation, checkpoint and word of it; returns when it ended."""
        row = self.history.rows[-1]
        if not self.validated:
            try:
                row["validation_dice"] = self._validate()
            except StopSignal:
                self._stop_if_asked()
                raise
            self.validated = True
        now = time.perf_counter()
        row["seconds"] += now - started  # loading and validation count, as they do for the user
        if self._trackers is not None:
            self._trackers.log(row)
        if self._due(self.recipe.train.checkpoint_every):
            self.save()
        self.on_step(Step(self.iteration, row["loss"], row["validation_dice"], row["seconds"]))
        return now

    def _stop_if_asked(self) -> None:
        """After a step, save and raise InterruptedRunError where any process of the run has been asked to stop."""
        if self.interruption.agree(self.accelerator):
            self.save()
            raise InterruptedRunError(
                f"interrupted after {self.iteration} of {self.recipe.train.iterations} steps; "
                f"go on with: memx train --resume {self.folder.path}",
                status=128 + (self.interruption.number or 0),
            )

    def _record(self) -> None:
        """Write the manifest; a run that goes on must go on with the data that it began with."""
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

    def _batches(self) -> Iterator[Batch]:
        """The micro-batches that this process has yet to see."""
        return self.deal.load(self.recipe, self.data, self.iteration, pin=self.device != "cpu")

    def _due(self, every: int) -> bool:
        return self.iteration == self.recipe.train.iterations or (every > 0 and self.iteration % every == 0)

    def _step(self, batches: list[Batch]) -> dict[str, float]:
        """One step of the optimiser; the loss, its parts and the gradient's norm, of the batch of all processes."""
        train = self.recipe.train
        shares = deal_shares(batches, one_length=self._norms_are_shared)
        values: dict[str, float] = {}
        self.network.train()
        self.optimizer.zero_grad()
        for batch, share, places in zip(batches, shares, self.deal.places(self.iteration), strict=True):
            last = batch is batches[-1]
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                losses = self._losses(batch, places)
                self.accelerator.backward(losses["total"] * (share * self.deal.processes))  # which are averaged
            for name, value in losses.items():
                values[name] = values.get(name, 0.0) + share * float(value.detach())
        everywhere = processes.gather(values)
        values = {name: sum(own[name] for own in everywhere) for name in values}
        values = {"loss": values.pop("total"), **values}
        if not math.isfinite(values["loss"]):
            self._fail(f"the loss became {values['loss']}", values)
        if train.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.network.parameters(), train.clip_norm)
            if norm is not None:
                values["gradient_norm"] = float(norm)
                if not math.isfinite(values["gradient_norm"]) and train.precision != "fp16":
                    self._fail(f"the gradient's norm became {values['gradient_norm']}", values)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None and not self.accelerator.optimizer_step_was_skipped:
            self.average.update(self.model)
        return values

    def _losses(self, batch: Batch, places: Sequence[int]) -> dict[str, Tensor]:
        """The losses of a micro-batch, every clip with its own stream of random numbers."""
        device = self.accelerator.device
        video, masks, supervised = (batch[k].to(device, non_blocking=True) for k in ("video", "masks", "supervised"))
        with clip_streams(self.recipe.seed, places, device):
            with self.accelerator.autocast():
                auxiliary = None if self.loss.auxiliary else False
                output = self.network(video, objects=masks.shape[2], auxiliary=auxiliary)
            return self.loss(output, masks, supervised)

    def _fail(self, what: str, values: dict[str, float]) -> None:
        kept = self.folder.training_state
        shown = ", ".join(
            f"{name} {value:.4g}" for name, value in values.items() if name not in ("loss", "gradient_norm")
        )
        raise DivergedError(
            f"{what} at step {self.iteration + 1} of {self.recipe.train.iterations} ({shown}).\n"
            + (f"The last good state is kept in {kept}. " if kept.exists() else "No checkpoint had been made yet. ")
            + "Try a smaller train.learning_rate, train.clip_norm=1 or train.precision=fp32; "
            "a delta-rule memory whose keys are not normalised can grow without bound (see its `normalize` option)."
        )

    def _validate(self) -> float | None:
        """Mean Dice on the validation split; keeps the weights when it is the best so far.

        Best weights never lie beside no checkpoint: what was trained is then told from weights that were imported.
        """
        if not processes.on_first(self.folder.training_state.exists):
            self.save()

        def score() -> tuple[float | None, float]:
            dice = self.validation().mean_dice
            reached = dice if dice is not None else 0.0
            if reached > self.best:
                with self._saying_what_is_kept():
                    save_weights(self.folder.best_weights, self.kept, self.recipe, iteration=str(self.iteration))
            return dice, max(reached, self.best)

        try:
            dice, self.best = processes.on_first(score)
        except (UserError, SystemExit):
            self.save()  # what was trained is not lost to a bad validation case
            raise
        return dice

    def validation(self) -> Evaluation:
        """The current weights' scores on the validation split, of the frames that training takes.

        They choose the weights, and so depend on nothing that the recipe's hash leaves out.
        """
        as_trained = self.recipe.evaluate.model_copy(update={"frames": "as_trained", "masks": "as_trained"})
        recipe = self.recipe.model_copy(update={"evaluate": as_trained})
        return evaluate(
            self.kept,
            recipe,
            "val",
            device=str(self.accelerator.device),
            examples=0,
            on_case=lambda done, total: self._leave_if_asked(),
        )

    def _leave_if_asked(self) -> None:
        """Leave a validation that has been asked to stop; of several processes all finish it, since the others wait."""
        if processes.count() == 1:
            self.interruption.stop_if_asked()

    def save(self) -> None:
        """Write a resumable checkpoint, `last/`. All processes call it, since it holds the random state of each.

        Its training state is all that resuming reads. A process may be killed between any two files: the state is
        written first and whole, and what else there is follows from it and is written again when the run goes on.
        """
        random = processes.gather(random_state(self.accelerator.device))

        def write() -> None:
            counters = {
                "iteration": self.iteration,
                "best": self.best,
                "validated": self.validated,
                "history": self.history.rows,
            }
            with self._saying_what_is_kept():
                try:
                    if self._trackers is not None:
                        self._trackers.flush()
                finally:  # a tracker that cannot write keeps no state from being written
                    state = identity(self.recipe) | counters | self._learner.state_dict() | {"random": random}
                    save_training_state(self.folder.training_state, state)
                    self._write_readable()

        processes.first_only(write)

    def _write_readable(self) -> None:
        """The weights and the history in files of their own."""
        save_weights(self.folder.last_weights, self.kept, self.recipe, iteration=str(self.iteration))
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
        path = self.folder.training_state

        def read() -> dict[str, Any]:
            state = load_training_state(path)
            check_identity(path, state, self.recipe)
            return state

        state = processes.together(read)
        self._learner.load_state_dict(state)
        random = state["random"]
        before = [random] if isinstance(random, dict) else random  # of one process, as it was written once
        restore_random_state(before, processes.rank(), self.accelerator.device)
        self.iteration, self.best = state["iteration"], state["best"]
        self.validated = state.get("validated", True)
        self.history = History(list(state["history"]))

    @property
    def _learner(self) -> Learner:
        return Learner(self.model, self.optimizer, self.schedule, self.accelerator.scaler, self.average)
