"""A table's figures: what was published, row by row, and beside it what was measured here, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from memx.reproduce import statistics
from memx.reproduce.scores import PatientScores
from memx.reproduce.speed import FrameTime
from memx.reproduce.statistics import Estimate
from memx.zoo.metrics import COLUMNS
from memx.zoo.system import Metric, Table, TableRow

BY_PATIENT: tuple[Metric, ...] = ("dice", "dice_lost", "dice_long", "iou", "hd", "hd95", "asd", "ef")


@dataclass(frozen=True)
class Cell:
    """A figure of ours.

    spread      standard deviation of the patients' differences, for the bias of the ejection fraction
    difference  to the reference row, paired by patient and seed; None in that row itself and where pairs are missing
    alike       of how many seeds the mean difference has the sign of the whole, and of how many
    note        what else is to be known, such as the 95th percentile of a time
    """

    estimate: Estimate
    unit: str = ""
    spread: float | None = None
    difference: Estimate | None = None
    alike: tuple[int, int] | None = None
    note: str = ""


@dataclass(frozen=True)
class ResultRow:
    """A row with its published figures and ours.

    failed  seeds without a result
    missed  predictions of an ejection fraction, one a patient and seed, that failed, of how many
    """

    row: TableRow
    cells: Mapping[Metric, Cell] = field(default_factory=dict)
    seeds: int = 0
    patients: int = 0
    missed: tuple[int, int] = (0, 0)
    failed: int = 0

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def measured(self) -> bool:
        """Whether the row has a recipe, and not published figures only."""
        return self.row.overrides is not None


Scored = Mapping[str, Mapping[int, PatientScores]]
"""Row's label → seed → scores."""


def accuracy_rows(table: Table, scored: Scored, wanted: Mapping[str, int]) -> list[ResultRow]:
    """The rows of a table whose variants were trained and scored; `wanted` says how many seeds each should have."""
    found: list[ResultRow] = []
    for row in table.rows:
        runs = scored.get(row.label, {})
        cells: dict[Metric, Cell] = {}
        for metric in table.columns:
            cell = _cell(metric, row, table, scored)
            if cell is not None:
                cells[metric] = cell
        found.append(
            ResultRow(
                row,
                cells,
                seeds=len(runs),
                patients=max((run.patients for run in runs.values()), default=0),
                missed=_missed(runs.values()) if {"ef", "ef_r", "ef_bias"} & set(table.columns) else (0, 0),
                failed=max(0, wanted.get(row.label, 0) - len(runs)),
            )
        )
    return found


def _missed(runs: Iterable[PatientScores]) -> tuple[int, int]:
    counts = [(run.missed, run.missed + len(run.ef)) for run in runs]
    return sum(missed for missed, _ in counts), sum(of for _, of in counts)


def speed_rows(table: Table, times: Mapping[str, FrameTime]) -> list[ResultRow]:
    """The rows of a table whose variants were timed: medians over clips, differences clip by clip of the same round."""
    found: list[ResultRow] = []
    reference = None if table.reference is None else times.get(table.reference)
    for row in table.rows:
        time = times.get(row.label)
        cells: dict[Metric, Cell] = {}
        if time is not None:
            difference = None
            if reference is not None and row.label != table.reference:
                difference = _timed(np.subtract(time.clips, reference.clips))
            cells["ms"] = Cell(_timed(np.array(time.clips)), difference=difference, note=f"p95 {time.shown.p95:.2f}")
            cells["fps"] = Cell(Estimate(time.fps, None, None, 1, 0))
        found.append(ResultRow(row, {metric: cells[metric] for metric in table.columns if metric in cells}))
    return found


def _timed(clips: Float[np.ndarray, " n"]) -> Estimate:
    value, low, high = statistics.median(clips)
    return Estimate(value, low, high, 1, 0)


def _cell(metric: Metric, row: TableRow, table: Table, scored: Scored) -> Cell | None:
    runs = scored.get(row.label, {})
    if not runs:
        return None
    if metric not in BY_PATIENT:
        return _agreement_cell(metric, runs)
    by_seed = {seed: run.of(metric) for seed, run in runs.items()}
    values = statistics.crossed(by_seed)
    if values is None:
        return None
    unit = next(iter(runs.values())).unit if COLUMNS[metric].unit == "" else ""
    difference = alike = None
    if table.reference is not None and row.label != table.reference:
        other = {seed: run.of(metric) for seed, run in scored.get(table.reference, {}).items()}
        paired = statistics.crossed(by_seed, other)
        if paired is not None:
            difference, alike = statistics.mean(paired), statistics.seeds_alike(paired)
    return Cell(statistics.mean(values), unit, difference=difference, alike=alike)


def _agreement_cell(metric: Metric, runs: Mapping[int, PatientScores]) -> Cell | None:
    seeds = sorted(runs)
    patients = sorted(set.intersection(*(set(runs[seed].ef) for seed in seeds)))
    if len(patients) < 3:  # two patients always lie on a line
        return None
    truth = np.array([runs[seeds[0]].ef[patient][0] for patient in patients])
    prediction = np.array([[runs[seed].ef[patient][1] for patient in patients] for seed in seeds])
    method = runs[seeds[0]].method
    if metric == "ef_bias":
        error = prediction - truth
        return Cell(statistics.mean(error), spread=float(error.std(axis=1, ddof=1).mean()), note=method)
    found = statistics.correlation(truth, prediction)
    return None if found is None else Cell(found, note=method)


@dataclass(frozen=True)
class Order:
    """Two rows in the order that a source published, better first, and our paired difference, better less worse.

    verdict  shown: the interval lies on the published side of 0 | reversed: on the other | open: it holds 0, or there
             is none
    """

    better: str
    worse: str
    published: tuple[float, float]
    difference: Estimate | None
    alike: tuple[int, int] | None
    verdict: str


def orders(table: Table, scored: Scored, source: str) -> list[Order]:
    """Every pair of measured rows whose leading figures `source` published, and whether our runs show its order."""
    metric = table.columns[0]
    if metric not in BY_PATIENT:
        return []
    higher = COLUMNS[metric].better == "higher"
    rows = [
        (row.label, row.published[source][metric].value)
        for row in table.rows
        if row.overrides is not None and metric in row.published.get(source, {})
    ]
    rows.sort(key=lambda item: item[1], reverse=higher)
    found: list[Order] = []
    for i, (better, first) in enumerate(rows):
        for worse, second in rows[i + 1 :]:
            if first != second:
                found.append(_order(metric, higher, (better, worse), (first, second), scored))
    return found


def _order(
    metric: Metric, higher: bool, labels: tuple[str, str], published: tuple[float, float], scored: Scored
) -> Order:
    ours = [{seed: run.of(metric) for seed, run in scored.get(label, {}).items()} for label in labels]
    paired = statistics.crossed(ours[0], ours[1])
    if paired is None:
        return Order(*labels, published, None, None, "open")
    difference = statistics.mean(paired)
    sign = difference.sign * (1 if higher else -1) if difference.seeds > 1 else 0  # one training shows no order
    return Order(
        *labels, published, difference, statistics.seeds_alike(paired), {1: "shown", -1: "reversed", 0: "open"}[sign]
    )


def leading_source(table: Table, sources: Sequence[str]) -> str | None:
    """The first source that published the leading figure of two measured rows."""
    metric = table.columns[0]
    for source in sources:
        rows = [row for row in table.rows if row.overrides is not None and metric in row.published.get(source, {})]
        if len(rows) > 1:
            return source
    return None
