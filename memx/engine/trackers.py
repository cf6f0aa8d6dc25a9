"""Where a run's curves go beside `history.csv`: the trackers that accelerate knows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import accelerate
from accelerate.tracking import TensorBoardTracker, get_available_trackers
from accelerate.utils import LoggerType

from memx.errors import UserError
from memx.files import cannot_write
from memx.recipe import Recipe

log = logging.getLogger(__name__)

_PACKAGES = {"comet_ml": "comet-ml"}
"""What pip calls them, where it is not the tracker's own name."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError naming what to install when a tracker is not there."""
    available = [str(name) for name in get_available_trackers()]
    missing = [name for name in names if name not in available]
    if not missing:
        return
    unknown = [name for name in missing if name not in map(str, LoggerType)]
    if unknown:
        raise UserError(
            f"train.trackers: accelerate {accelerate.__version__} does not know {unknown[0]}; "
            "pip install --upgrade accelerate"
        )
    packages = " ".join(_PACKAGES.get(name, name) for name in missing)
    raise UserError(
        f"train.trackers: {', '.join(missing)} is not installed: pip install {packages}, or choose others by "
        "train.trackers=[…]"
    )


class Trackers:
    """The trackers of a run, each given one row of figures a step; only the first process writes.

    TensorBoard's files lie in `tensorboard/` of the run folder, and a run that goes on after step `iteration` goes on
    there: what had been written of later steps is not shown. In the other trackers it is a new run of the same project,
    whose steps begin where it goes on.
    """

    def __init__(self, accelerator: accelerate.Accelerator, recipe: Recipe, folder: Path, iteration: int):
        self._folder = folder / "tensorboard"
        self._failure: OSError | None = None
        names = list(dict.fromkeys(recipe.train.trackers))
        check_trackers(names)
        self._accelerator = accelerator
        chosen: list[Any] = [
            TensorBoardTracker("tensorboard", folder, purge_step=iteration + 1) if name == "tensorboard" else name
            for name in names
        ]
        accelerator.log_with = chosen
        accelerator.init_trackers(recipe.name)
        for tracker in self._accelerator.trackers:
            if tracker.name != "tensorboard":  # which would open a run beside the run for it
                tracker.store_init_configuration(flat({"recipe": recipe.dump(), "hash": recipe.hash}))

    def log(self, row: Mapping[str, float | None]) -> None:
        """Write a row of the history: what it has values for, under their names there, at its iteration.

        Where TensorBoard's disk does not take it, `flush` says so: with the next checkpoint, when the run can end and
        lose nothing. Another tracker that cannot be reached is warned about; `history.csv` has the rows all the same.
        """
        values = {name: value for name, value in row.items() if name != "iteration" and value is not None}
        iteration = int(row["iteration"] or 0)
        for tracker in self._accelerator.trackers:
            try:
                tracker.log(values, step=iteration)
            except OSError as error:
                if isinstance(tracker, TensorBoardTracker):
                    self._failure = self._failure or error
                else:
                    log.warning("train.trackers: %s: step %d was not written: %s", tracker.name, iteration, error)

    def flush(self) -> None:
        """Bring what was logged to the disk, so that a run that goes on from here has it.

        Raises UserError where the disk does not take it.
        """
        try:
            for tracker in self._accelerator.trackers:
                if isinstance(tracker, TensorBoardTracker) and self._accelerator.is_main_process:
                    tracker.writer.flush()
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise cannot_write(self._folder, self._failure) from self._failure

    def finish(self) -> None:
        """Close them. What cannot be written any more is said and not raised: the run has ended, well or not."""
        for tracker in self._accelerator.trackers:
            try:
                tracker.finish()
            except OSError as error:
                log.warning("train.trackers: %s: was not closed: %s", tracker.name, error)


def flat(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """A tree of plain data as one level of dotted names; lists as JSON."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, name)
        else:
            found[name] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return found
