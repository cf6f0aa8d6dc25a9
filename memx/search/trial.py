"""One trial: a recipe drawn from the space, measured, trained into a run folder and scored."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import optuna
import torch

from memx import lock
from memx.data.dataset import ClipDataset
from memx.engine.fit import check_cases, write_run_report
from memx.engine.manifest import device_words
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import DataError, DivergedError, UserError, first_line
from memx.profile.components import UncountedError
from memx.recipe import Recipe
from memx.search.costs import measure_costs
from memx.search.folder import SearchFolder
from memx.search.lineage import history
from memx.search.measures import MEASURES
from memx.search.possible import why_impossible
from memx.search.space import Space
from memx.search.strategy import draw
from memx.search.study import BY, CURVE, REASON, RUN, run_name, search_of
from memx.search.study import MEASURES as MEASURED
from memx.search.variant import variant

ALWAYS = ("macs", "parameters", "state_bytes")
"""Costs that every trial is measured for where they can be counted, asked for or not: they are exact, and cheap."""


class TrialError(Exception):
    """This trial cannot give a value, for a reason that says nothing of the next."""


@dataclass
class Trials:
    """Runs trials of one search, one after another."""

    recipe: Recipe
    folder: SearchFolder
    device: str = "cpu"
    on_step: Callable[[optuna.Trial, Step], None] = lambda trial, step: None
    _clips: dict[str, ClipDataset] = field(default_factory=dict)
    """The last training set: trials that change no data share it, and what it has read."""

    def __post_init__(self) -> None:
        self.search = search_of(self.recipe)
        self.space = Space.parse(self.search.space)

    def draw(self, trial: optuna.Trial) -> dict[str, object]:
        """Say that the trial has begun and where its run is to lie; path → plain data, as the sampler proposes."""
        by = {"host": socket.gethostname(), "process": os.getpid(), "device": device_words(self.device)}
        trial.set_user_attr(BY, by)
        trial.set_user_attr(RUN, run_name(trial.number))
        return draw(trial, self.space)

    def measure(self, trial: optuna.Trial, values: Mapping[str, object]) -> tuple[float, ...]:
        """The objectives' values.

        Raises TrialPruned for a trial that is refused or pruned, and TrialError for one that fails by itself.
        """
        try:
            chosen = self._possible(trial, values)
            self._afford(trial, chosen)
            measures = self._trained(trial, chosen)
        except (DivergedError, UncountedError, torch.OutOfMemoryError) as error:
            raise self._failed(trial, error) from error
        return tuple(measures[objective.measure] for objective in self.search.objectives)

    def _failed(self, trial: optuna.Trial, error: Exception) -> TrialError:
        trial.set_user_attr(REASON, first_line(error))
        return TrialError(str(error))

    def leave(self, number: int) -> None:
        """Clear away what this process wrote for a trial after another worker had gone on with it elsewhere."""
        path = self.folder.path / run_name(number)
        if not (path / "recipe.yaml").exists():
            shutil.rmtree(path, ignore_errors=True)

    def _possible(self, trial: optuna.Trial, values: Mapping[str, object]) -> Recipe:
        reason = why_impossible(self.recipe, values, self.device)
        if reason:
            trial.set_constraint("possible", 1.0)
            self._refuse(trial, f"impossible: {reason}")
        return variant(self.recipe, values)

    def _afford(self, trial: optuna.Trial, chosen: Recipe) -> None:
        """Measure what is known before training; a trial that is taken up again has been measured."""
        known: dict[str, float] = dict(trial.user_attrs.get(MEASURED, {}))
        wanted = {o.measure for o in self.search.objectives} | {limit.measure.name for limit in self.search.limits}
        missing = [name for name in MEASURES if name in wanted - known.keys() and not MEASURES[name].trained]
        extra = [name for name in ALWAYS if name not in {*wanted, *known}]
        if missing or extra:
            base = variant(self.recipe, {})
            known |= measure_costs(chosen, missing, base=base, device=self.device, extra=extra)
            trial.set_user_attr(MEASURED, known)
        self._within_limits(trial, known, [name for name in known if not MEASURES[name].trained])

    def _within_limits(self, trial: optuna.Trial, measures: dict[str, float], names: Collection[str]) -> None:
        """Tell the sampler how far off the constraints on these measures are; a broken one that is known before
        training refuses the trial."""
        limits = [limit for limit in self.search.limits if limit.measure.name in names]
        told = trial.constraints
        for limit in limits:
            if str(limit) not in told:  # the worker before may have told it
                trial.set_constraint(str(limit), limit.violation(measures[limit.measure.name]))
        broken = [limit for limit in limits if not limit.holds(measures[limit.measure.name])]
        if broken and not any(limit.measure.trained for limit in broken):
            self._refuse(trial, ", ".join(limit.broken_by(measures[limit.measure.name]) for limit in broken))

    def _refuse(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        raise optuna.TrialPruned(reason)

    def _trained(self, trial: optuna.Trial, chosen: Recipe) -> dict[str, float]:
        """Train, or go on training, in the trial's run folder; returns all measures."""
        clips = self._training_set(trial, chosen)
        run, begun = self._run_folder(trial, chosen)
        last = chosen.train.iterations
        reported = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        reported |= dict(trial.user_attrs.get(CURVE, []))

        def watch(step: Step) -> None:
            self.on_step(trial, step)
            self._validated(trial, step.iteration, step.validation_dice, reported, last)

        with run.lock():
            trainer = Trainer(
                run.recipe,
                run,
                device=self.device,
                pretrained=not begun,
                on_step=watch,
                clips=clips,
            )
            if begun:
                trainer.restore()
            try:
                for row in trainer.history.rows:  # what the worker before could not report any more
                    self._validated(trial, row["iteration"], row.get("validation_dice"), reported, last)
                trainer.run()
            except optuna.TrialPruned:
                trainer.save()
                self._report(run, trainer)
                raise
        measures = {**trial.user_attrs.get(MEASURED, {}), "dice": trainer.best}
        trial.set_user_attr(MEASURED, measures)
        self._within_limits(trial, measures, ["dice"])
        self._report(run, trainer)
        return measures

    def _validated(
        self, trial: optuna.Trial, iteration: int, dice: float | None, reported: dict[int, float], last: int
    ) -> None:
        """Report a validation, unless that is done; raises TrialPruned where the pruner ends the trial here.

        The last report may have been a worker's last act, so that the pruner is asked of it again.
        """
        if dice is None or (reported and iteration < max(reported)):
            return
        known = iteration in reported
        reported[iteration] = dice
        if len(self.search.objectives) > 1:  # Optuna's own record is for one objective
            trial.set_user_attr(CURVE, sorted(reported.items()))
            return
        if not known:
            trial.report(dice, iteration)
        if iteration < last and trial.should_prune():
            raise optuna.TrialPruned(f"after {iteration} steps")

    def _report(self, run: RunFolder, trainer: Trainer) -> None:
        write_run_report(run, trainer.history, self.device)

    def _run_folder(self, trial: optuna.Trial, chosen: Recipe) -> tuple[RunFolder, bool]:
        """The trial's run folder; and whether a checkpoint lies there already, of the worker that had it before.

        A run that is taken up moves to its new trial's folder. The worker before may only have been stopped: what it
        still writes when it wakes then spoils nothing.
        """
        path = self.folder.path / run_name(trial.number)
        for number in reversed(history(trial.study.get_trials(deepcopy=False)[trial.number])):
            before = RunFolder(self.folder.path / run_name(number))
            if before.training_state.exists() and not path.exists():
                before.path.rename(path)
                (path / lock.NAME).unlink(missing_ok=True)  # which the worker before may hold in its sleep
            elif (before.path / "recipe.yaml").exists():
                before.discard()
        if not (path / "recipe.yaml").is_file():
            return RunFolder.create(chosen, path), False
        run = RunFolder.open(path)
        if run.recipe.hash != chosen.hash:
            raise UserError(f"{path}: holds a run of another recipe, so of another search; choose another --out")
        if run.training_state.exists():
            return run, True
        run.discard()
        return RunFolder.create(chosen, path), False

    def keep(self, recipe: Recipe, clips: ClipDataset) -> None:
        """Take what was read already for trials that want the same."""
        self._clips = {_clips_key(recipe): clips}

    def _training_set(self, trial: optuna.Trial, chosen: Recipe) -> ClipDataset:
        if _clips_key(chosen) not in self._clips:
            try:
                self.keep(chosen, check_cases(chosen))
            except DataError as error:
                check_cases(variant(self.recipe, {}))  # raises where the data are damaged or gone, whatever the trial
                raise self._failed(trial, error) from error
        return self._clips[_clips_key(chosen)]


def _clips_key(recipe: Recipe) -> str:
    """What decides the stream of training clips."""
    return f"{recipe.data.model_dump_json()} {recipe.seed} {recipe.train.iterations} {recipe.train.batch}"
