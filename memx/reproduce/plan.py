"""Which runs a table needs, which of them exist, and how long the rest may take."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from memx.errors import RecipeError, UserError
from memx.recipe import Recipe
from memx.recipe_source import read_yaml
from memx.reproduce.data import DataSource, find_data, find_long, long_frames
from memx.reproduce.runs import PlacedRun, Run, Scoring
from memx.zoo.system import DataName, Settings, System, Table


@dataclass(frozen=True)
class Plan:
    """A table, its data, and the runs of each of its rows.

    folder     of the system's runs on these data
    rows       label → one run a seed; rows without overrides are not in it
    overrides  the user's
    seeds      how many trainings a row has
    long       data of clips longer than those of training, where a column is of them
    """

    system: System
    name: str
    table: Table
    data: DataName
    settings: Settings
    source: DataSource
    folder: Path
    quick: bool
    rows: Mapping[str, tuple[Run, ...]]
    overrides: tuple[str, ...] = ()
    seeds: int = 1
    long: DataSource | None = None

    @property
    def out(self) -> Path:
        """Where the table is written: other seeds, or the user's overrides, make another folder."""
        parts = [self.name]
        if self.table.kind == "accuracy":
            parts.append(f"{self.seeds}_seed{'s' * (self.seeds > 1)}")
        if self.overrides:
            parts.append(hashlib.sha256(json.dumps(self.overrides).encode()).hexdigest()[:8])
        if self.quick:
            parts.append("quick")
        return self.folder / "tables" / "_".join(parts)

    @property
    def recipe(self) -> Recipe:
        """The first row's recipe, for what all rows share."""
        return next(iter(self.rows.values()))[0].recipe

    @property
    def missing(self) -> list[DataSource]:
        """Data that have yet to be written."""
        sources = [self.source] if self.long is None else [self.source, self.long]
        return [source for source in sources if source.missing]

    @property
    def scorings(self) -> tuple[Scoring, ...]:
        """The evaluations of a run that the table's columns need."""
        split, protocol = self.recipe.evaluate.split, f"evaluate.protocol={self.recipe.evaluate.protocol}"
        found = [Scoring(split, (f"data.root={self.recipe.data.root}", protocol))]
        if self.long is not None:
            root = self.recipe.data.root if self.long.root is None else self.long.root
            frames = long_frames(self.settings, quick=self.quick)
            words = (f"data.root={root}", f"data.frames={frames}", protocol)
            found.append(Scoring(f"{split}_{frames}_frames", words))
        return tuple(found)

    def place(self, fingerprint: str) -> dict[str, list[PlacedRun]]:
        """The runs of each row with their folders."""
        scorings = self.scorings
        return {
            label: [run.at(self.folder, fingerprint, scorings) for run in runs] for label, runs in self.rows.items()
        }


def make_plan(
    system: System,
    table: str,
    data: DataName,
    *,
    out: Path,
    seeds: int = 1,
    quick: bool = False,
    overrides: Sequence[str] = (),
) -> Plan:
    """The runs that a table needs, row by row.

    A recipe is the base, then the data set's overrides, then with `quick` its quick ones, then the user's, then the
    row's, which say what the row is. Raises RecipeError for a table, data set, option or override that there is not.
    """
    for text in overrides:
        if text.partition("=")[0].strip() == "seed":
            raise UserError(f"override {text}: a table runs seeds 0, 1, …; say how many with --seeds")
    settings = system.settings(table, data)
    folder = out / system.name / data
    source = find_data(settings, folder, overrides, quick=quick)
    root = [] if source.root is None else [f"data.root={source.root}"]
    shared = [*settings.overrides, *(settings.quick if quick else []), *overrides, *root]
    chosen = system.table(table)
    rows: dict[str, tuple[Run, ...]] = {}
    for row in chosen.rows:
        if row.overrides is None:
            continue
        words = [*shared, *row.overrides]
        try:
            rows[row.label] = tuple(
                Run(settings.recipe, (*words, f"seed={k}"), Recipe.load(settings.recipe, [*words, f"seed={k}"]))
                for k in range(1 if chosen.kind == "speed" else seeds)
            )
        except RecipeError as error:
            raise RecipeError(f"table {table}, row {row.label!r}, on {settings.recipe}: {error}") from None
    long = find_long(settings, source, folder, quick=quick) if chosen.scores_long_clips else None
    return Plan(system, table, chosen, data, settings, source, folder, quick, rows, tuple(overrides), seeds, long)


def unique(rows: Mapping[str, Sequence[PlacedRun]]) -> list[PlacedRun]:
    """Every folder once, seed by seed, so that a table that is stopped has seen all rows alike."""
    found = {placed.path: placed for runs in rows.values() for placed in runs}
    return sorted(found.values(), key=lambda placed: placed.run.seed)


def seconds_left(runs: Sequence[PlacedRun], folder: Path, jobs: int) -> float | None:
    """Training time of what is to do, from finished runs of clips of the same size, length and number; else None."""
    paces: dict[tuple[object, ...], list[float]] = {}
    for file in folder.glob("*_seed*/metrics.json"):
        metrics = json.loads(file.read_text(encoding="utf-8"))
        recipe = read_yaml(file.parent / "recipe.yaml").data
        key = (*recipe["data"]["size"], recipe["data"]["frames"], recipe["train"]["batch"])
        paces.setdefault(key, []).append(metrics["seconds"] / metrics["steps"])
    total = 0.0
    for placed in runs:
        if placed.stage not in ("to do", "interrupted"):
            continue
        recipe = placed.run.recipe
        known = paces.get((*recipe.data.size, recipe.data.frames, recipe.train.batch))
        if known is None:
            return None
        total += statistics.median(known) * recipe.train.iterations
    return total / min(jobs, max(1, len(runs)))
