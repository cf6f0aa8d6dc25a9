"""What a search leaves for the reader: one HTML page, and a table of every trial."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from memx.files import write_text
from memx.report.html import Code, Data, Report, write_report
from memx.report.sections import facts_section
from memx.search.rows import Standing
from memx.search.sections import all_trials, figures, plain, tiles, winners
from memx.search.words import goal_words


def write_search_report(
    path: Path,
    standing: Standing,
    importances: Mapping[str, Mapping[str, float]],
    *,
    facts: Mapping[str, str],
    recipe_yaml: str,
) -> Path:
    """The page at `path`, and `trials.csv` beside it; returns the page's path.

    importances  measure of a goal → parameter → share, as `memx.search.importance.importances` has them
    facts        how it was searched: storage, seed, workers, machine
    recipe_yaml  the recipe with its search
    """
    path = Path(path)
    write_text(path.parent / "trials.csv", trials_csv(standing))
    sections = [
        tiles(standing),
        winners(standing, path),
        *figures(standing, importances),
        all_trials(standing, path),
        Code("Recipe of the search", recipe_yaml),
        facts_section("How it was searched", facts),
        Data("search", plain(standing, path)),
    ]
    words = {"maximize": "most", "minimize": "least"}
    asked = ", ".join(f"{words[goal.direction]} {goal_words(goal).partition(',')[0]}" for goal in standing.goals)
    subtitle = " · ".join(filter(None, [asked, *standing.constraints]))
    return write_report(path, Report(f"{standing.name}: search", sections, subtitle))


def trials_csv(standing: Standing) -> str:
    """A trial a row: number, state, feasible, seconds, run, reason, then every parameter, then every measure.

    What a trial does not have is empty.
    """
    parameters = list(dict.fromkeys(name for trial in standing.trials for name in trial.parameters))
    measures = list(dict.fromkeys(name for trial in standing.trials for name in trial.measures))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "feasible", "seconds", "run", "reason", *parameters, *measures])
    for trial in standing.trials:
        writer.writerow(
            [
                trial.number,
                trial.state,
                trial.feasible,
                trial.seconds,
                trial.run,
                trial.reason,
                *(_recipe_word(trial.parameters[name]) if name in trial.parameters else "" for name in parameters),
                *(trial.measures.get(name, "") for name in measures),
            ]
        )
    return text.getvalue()


def _recipe_word(value: object) -> object:
    """null, true and false as a recipe has them, so that null is not taken for what is absent."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value
