"""Search with a live table: what `memx search` does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from rich.console import Console
from rich.live import Live

from memx.cli.progress import bar
from memx.cli.training import check_data
from memx.engine.interruption import exit_status, raising
from memx.errors import InterruptedRunError, UserError
from memx.recipe import Recipe
from memx.search.folder import OWN, SearchFolder
from memx.search.outcome import write_outcome
from memx.search.possible import check_space, combinations_to_try, refuse_impossible, refuse_machine
from memx.search.rows import Standing, Trial
from memx.search.space import Space
from memx.search.start import Started, attach, find, folder_of, start, url_of
from memx.search.storage import in_reach, open_storage, shown_url
from memx.search.strategy import at_random
from memx.search.study import recipe_of, search_of, standing, workers_of
from memx.search.table import standing_table, trial_line
from memx.search.trial import Trials
from memx.search.variant import variant
from memx.search.worker import Worker
from memx.search.workers import Workers

DEFAULT = "search_memory"
PATIENTS = 32
"""Patients of the phantom that a search without a recipe is on, as `memx demo` has them."""

_EVERY = 1.0
"""Seconds between two looks of the live table."""


def ask(name: str | None, overrides: Sequence[str]) -> Recipe:
    """The recipe that is searched; without a name the default, whose phantom is simulated where it is not there yet."""
    recipe = Recipe.load(name or DEFAULT, overrides)
    search_of(recipe)
    root = recipe.data.root
    if name is None and root is not None and not root.exists():
        from memx.data import phantom

        with bar(f"phantom → {root}", PATIENTS, "patients") as advance:
            phantom.write(root, layout="camus", patients=PATIENTS, seed=0, progress=lambda done, total: advance())
    return recipe


def run_search(
    recipe: Recipe,
    *,
    out: Path | None,
    workers: int,
    storage: str | None,
    study: str | None,
    heartbeat: int,
    device: str,
) -> None:
    """Take trials until the budget is spent, and write what came out."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "torchrun starts processes that share one training; those of a search have a trial each: start "
            "`memx search --workers N` without it"
        )
    console = Console(stderr=True, highlight=False, markup=False)
    space = Space.parse(search_of(recipe).space)
    refuse_machine(recipe, space, device)
    if not folder_of(recipe, out).begun:  # else whoever began it has checked its space
        _check(recipe, space, device, console)
        if remark := at_random(search_of(recipe)):
            console.print(remark, soft_wrap=True)
    plain = variant(recipe, {})
    clips = check_data(plain)
    started = start(recipe, out=out, url=storage, name=study, heartbeat=heartbeat)
    how = "begun" if started.created else f"joined, {len(started.study.get_trials(deepcopy=False))} trials are there"
    console.print(
        f"{recipe.name} on {device} → {started.folder.path}\n"
        f"study {started.study.study_name} in {shown_url(started.url)} ({how}); at least {space.size():,} combinations",
        soft_wrap=True,
    )
    with in_reach(started.url, started.folder.path):
        try:
            with raising(), _shown(console, started) as show:
                if workers == 1:
                    trials = Trials(recipe, started.folder, device)
                    trials.keep(plain, clips)
                    _take(started, trials, show)
                else:
                    Workers(started, workers, device, heartbeat).run(show)
        except (KeyboardInterrupt, InterruptedRunError) as stop:
            finish(started, console)
            status = stop.status if isinstance(stop, InterruptedRunError) else exit_status(stop)
            raise _stopped(started, status) from None
        finish(started, console)


def _check(recipe: Recipe, space: Space, device: str, console: Console) -> None:
    """Refuse impossible combinations, or say that they are left out."""
    assignments = combinations_to_try(space)
    with bar("checking the space", len(assignments), "combinations") as advance:
        checked = check_space(recipe, space, assignments, device, on_tried=advance)
    if remark := refuse_impossible(checked, skip=search_of(recipe).impossible == "skip"):
        console.print(remark, soft_wrap=True)


def work(out: Path, storage: str | None, study: str | None, heartbeat: int, device: str) -> None:
    """One of several workers of a folder's study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts jobs may have it ignored
    folder = SearchFolder.open(out)
    trials = Trials(folder.recipe(), folder, device)
    refuse_machine(trials.recipe, trials.space, device)
    started = attach(trials.recipe, folder, url=storage, name=study, heartbeat=heartbeat)
    with in_reach(started.url, folder.path), raising():
        console = Console(highlight=False, markup=False, force_terminal=False)  # the log
        with _shown(console, started) as show:
            _take(started, trials, show)


def _take(started: Started, trials: Trials, show: Callable[..., None]) -> None:
    trials.on_step = lambda trial, step: show()
    Worker(started.study, trials, on_trial=lambda trial: show(force=True)).run()


def _stopped(started: Started, status: int) -> InterruptedRunError:
    error = InterruptedRunError(
        "interrupted; what was at hand is saved, and the same command goes on with it.\n"
        f"So far: memx search --show {started.folder.path}"
    )
    error.status = status
    return error


@contextmanager
def _shown(console: Console, started: Started):
    """Gives `show(force=False)`: a live table, or a line for every trial that ended where there is no terminal."""
    told: set[int] = {trial.number for trial in started.standing().trials if _ended(trial)}
    if not console.is_terminal:

        def tell(force: bool = False) -> None:
            if not force:
                return
            now = started.standing()
            for trial in now.trials:
                if _ended(trial) and trial.number not in told:
                    told.add(trial.number)
                    console.print(trial_line(now, trial), soft_wrap=True)

        yield tell
        tell(force=True)
        return
    last = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def draw(force: bool = False) -> None:
            nonlocal last
            if force or time.monotonic() - last >= _EVERY:
                rows = max(3, (console.height - 16) // 2)
                live.update(standing_table(started.standing(), width=console.width, limit=rows), refresh=True)
                last = time.monotonic()

        draw(force=True)
        yield draw


def _ended(trial: Trial) -> bool:
    return trial.state not in ("waiting", "running")


def finish(started: Started, console: Console) -> Standing:
    """Write what came out, and say where."""
    now = started.standing()
    search = search_of(started.recipe)
    facts = {
        "study": started.study.study_name,
        "storage": shown_url(started.url),
        "sampler": f"{search.sampler}, seed {search.seed}",
        **workers_of(started.study),
    }
    written = write_outcome(started.folder, started.recipe, started.study, now, facts)
    Console(highlight=False).print(standing_table(now))
    for path in written.recipes:
        console.print(f"recipe  memx train {path}", soft_wrap=True)
    console.print(f"report  {written.report}", soft_wrap=True)
    return now


def show_search(name: str, storage: str | None) -> None:
    """Print a search's folder, or the study of that name in a storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = Path(name)
    if storage is None or path.is_dir():
        folder = SearchFolder.open(path)
        recipe = folder.recipe()
        known = folder.study()
        assert known is not None, "it was opened"
        url = url_of(folder, known, None if known.storage == OWN else storage)
        found = find(open_storage(url), known, url)
    else:
        folder = None
        opened = open_storage(storage)
        names = optuna.get_all_study_names(opened)
        if name not in names:
            raise UserError(
                f"--show {name}: no such study in {shown_url(storage)}; it has {', '.join(names) or 'none'}"
            )
        found = optuna.load_study(storage=opened, study_name=name)
        recipe = recipe_of(found)
    Console(highlight=False).print(standing_table(standing(found, recipe, folder and folder.path)))
