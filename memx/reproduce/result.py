"""A reproduced table whole, with all that its reader needs to judge it, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from memx.reproduce.estimates import estimate_words
from memx.reproduce.statistics import LEVEL
from memx.reproduce.table import Cell, Order, ResultRow
from memx.zoo.metrics import COLUMNS, published_words
from memx.zoo.system import Metric, System, Table

QUICK = "--quick shows the path; its figures mean nothing."


@dataclass(frozen=True)
class RunRecord:
    """A run that a row stands on: its folder, recipe hash, seed, and what its manifest says of code and data."""

    row: str
    seed: int
    path: str
    recipe: str
    fingerprint: str
    revision: str
    dirty: bool

    @property
    def code(self) -> str:
        """The state of memx's code in a few words."""
        return f"{self.revision[:7] or 'installed'}{' and changes' if self.dirty else ''}"


@dataclass(frozen=True)
class Result:
    """A table: published figures beside ours.

    ours     what our figures are: data, recipe and protocol
    orders   pairs of rows in the published order of `source`, and whether ours show it
    device   what times were measured on, or what ran the trainings
    """

    system: System
    name: str
    table: Table
    data: str
    ours: str
    quick: bool
    rows: Sequence[ResultRow]
    orders: Sequence[Order] = ()
    source: str | None = None
    runs: Sequence[RunRecord] = ()
    device: str = ""

    @property
    def sources(self) -> list[str]:
        """The sources that have figures in this table, in the system's order."""
        return [name for name in self.system.sources if any(name in row.row.published for row in self.rows)]

    @property
    def compares(self) -> bool:
        """Whether any row is compared with the reference."""
        return any(cell.difference is not None for row in self.rows for cell in row.cells.values())

    @property
    def title(self) -> str:
        """System and table."""
        return f"{self.system.title}: {self.table.title}"

    def columns(self) -> list[str]:
        """Heads of the table."""
        heads = ["", *(self.system.sources[name].label for name in self.sources), f"ours, {self.data}"]
        if self.compares:
            heads.append(f"ours − {self.table.reference}")
        return heads if self.table.kind == "speed" else [*heads, "patients × seeds"]

    def cells(self, row: ResultRow) -> list[str]:
        """A row in words, a metric a line."""
        shown = [row.label, *(self._published(row, name) for name in self.sources), self._ours(row)]
        if self.compares:
            shown.append(self._difference(row))
        if self.table.kind == "speed":
            return shown
        counted = f"{row.patients} × {row.seeds}" if row.measured and row.seeds else "–"
        return [*shown, counted + (f"\n{row.failed} failed" if row.failed else "")]

    def _published(self, row: ResultRow, source: str) -> str:
        figures = row.row.published.get(source, {})
        alone = len({m for item in self.rows for m in item.row.published.get(source, {})} | {self.table.columns[0]}) < 2
        lines = [_line(metric, published_words(metric, figure), alone) for metric, figure in figures.items()]
        return "\n".join(lines) or "–"

    def _ours(self, row: ResultRow) -> str:
        alone = len(self.table.columns) == 1
        lines: list[str] = []
        for metric, cell in row.cells.items():
            words = estimate_words(metric, cell.estimate, cell.unit)
            words += f", SD {cell.spread:.2f}" if cell.spread is not None else ""
            words += f", {cell.note}" if cell.note and self.table.kind == "speed" else ""
            if row.measured and self.table.kind == "accuracy" and cell.estimate.patients != row.patients:
                words += f", {cell.estimate.patients} patients"
            lines.append(_line(metric, words, alone))
        return "\n".join(lines) or "–"

    def _difference(self, row: ResultRow) -> str:
        if row.label == self.table.reference:
            return "reference"
        alone = len(self.table.columns) == 1
        lines: list[str] = []
        for metric, cell in row.cells.items():
            if cell.difference is not None:
                words = estimate_words(metric, cell.difference, cell.unit, signed=True)
                lines.append(_line(metric, words, alone))
        return "\n".join(lines) or "–"

    @property
    def _has_intervals(self) -> bool:
        return any(cell.estimate.low is not None for row in self.rows for cell in row.cells.values())

    def protocols(self) -> list[tuple[str, str]]:
        """For each column, what data and protocol its figures come from."""
        found = [(self.system.sources[name].label, self.system.sources[name].protocol) for name in self.sources]
        return [*found, (f"ours, {self.data}", self.ours)]

    def notes(self) -> list[str]:
        """What is to be known before reading the figures."""
        notes = [QUICK] if self.quick else []
        notes += self.table.remarks
        if self.table.kind == "speed":
            interval = f" with a {LEVEL:.0%} interval from order statistics" if self._has_intervals else ""
            few = "" if interval else " Too few clips for an interval."
            notes.append(
                f"Ours: medians over clips{interval}; a difference is the median of those of clips timed in the same "
                f"round, and no difference of the medians.{few}"
            )
            return notes
        interval = f" with a {LEVEL:.0%} t interval over both" if self._has_intervals else ""
        measured = any(row.cells for row in self.rows)
        few = " One patient has no interval." if measured and not interval else ""
        notes.append(
            f"Ours: means over test patients and seeds{interval}; differences are paired by patient and seed.{few} "
            "Dice and IoU are in percent. Columns differ in data or protocol: only figures of one column may be "
            "compared."
        )
        seeds = max((row.seeds for row in self.rows), default=0)
        if seeds == 1 and interval:
            notes.append(
                "One seed: the intervals are over patients and say nothing of what another training would give, so no "
                "order is tested."
            )
        methods = {cell.note for row in self.rows for cell in row.cells.values() if cell.note}
        if methods:
            notes.append(f"Our ejection fractions: {'; '.join(sorted(methods))}, against that of the true masks.")
        missed, of = (sum(row.missed[i] for row in self.rows) for i in (0, 1))
        if missed:
            notes.append(
                f"Ejection fraction missed in {missed} of {of} predictions, where no cavity was found. A patient "
                "missed in one seed is left out of its row's ejection fractions, which flatters that row."
            )
        if failed := sum(row.failed for row in self.rows):
            notes.append(f"{failed} runs have no result; a row's figures are those of its other seeds.")
        if len(code := sorted({run.code for run in self.runs})) > 1:
            notes.append(f"The runs were made with {len(code)} states of memx's code: {', '.join(code)}.")
        return notes

    def provenance(self) -> list[str]:
        """Recipe hashes, seeds, data and code of the runs behind our figures."""
        if not self.runs:
            return []
        recipes: dict[str, list[str]] = {}
        for run in self.runs:
            recipes.setdefault(run.row, []).append(f"{run.recipe} (seed {run.seed})")
        lines = [f"{row}: recipe {', '.join(hashes)}" for row, hashes in recipes.items()]
        data = sorted({run.fingerprint[:12] for run in self.runs})
        code = sorted({run.code for run in self.runs})
        return [*lines, f"data {', '.join(data)}; memx {', '.join(code)}"]

    def statement(self) -> list[str]:
        """Which orders of the source are shown by ours, which are not."""
        if not self.orders or self.source is None:
            return []
        label = self.system.sources[self.source].label
        if self.quick:
            return ["No published order is tested by --quick."]
        title = COLUMNS[self.table.columns[0]].title
        lines = [f"Orders that “{label}” gives by {title}, tested on our {self.data} runs:"]
        words = {"shown": "Shown", "reversed": "Reversed", "open": "Not shown"}
        for order in sorted(self.orders, key=lambda item: list(words).index(item.verdict)):
            lines.append(f"{words[order.verdict]}: {self._order_words(order)}")
        return [*lines, "Each interval stands alone: none is corrected for the number of pairs."]

    def _order_words(self, order: Order) -> str:
        digits = COLUMNS[self.table.columns[0]].digits
        first, second = (f"{value:.{digits}f}" for value in order.published)
        said = f"{order.better} ({first}) above {order.worse} ({second})"
        if order.difference is None or order.alike is None:
            return f"{said}: runs are missing"
        found = estimate_words(self.table.columns[0], order.difference, signed=True)
        return f"{said}: {found}, {order.alike[0]} of {order.alike[1]} seeds alike"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON, figures in the unit that is said beside them."""
        return {
            "system": self.system.name,
            "table": self.name,
            "title": self.table.title,
            "shows": self.table.shows,
            "data": self.data,
            "quick": self.quick,
            "reference": self.table.reference,
            "device": self.device,
            "protocols": dict(self.protocols()),
            "notes": self.notes(),
            "interval": {
                "level": LEVEL,
                "over": "clips" if self.table.kind == "speed" else "patients and seeds, crossed",
            },
            "rows": [self._row_dict(row) for row in self.rows],
            "orders": {"source": self.source, "pairs": [asdict(order) for order in self.orders]},
            "statement": self.statement(),
            "runs": [asdict(run) for run in self.runs],
        }

    def _row_dict(self, row: ResultRow) -> dict[str, Any]:
        return {
            "label": row.label,
            "overrides": row.row.overrides,
            "published": {
                source: {metric: figure.model_dump(exclude_defaults=True) for metric, figure in figures.items()}
                for source, figures in row.row.published.items()
            },
            "ours": {metric: _cell_dict(metric, cell) for metric, cell in row.cells.items()},
            "seeds": row.seeds,
            "patients": row.patients,
            "failed": row.failed,
        }


def _cell_dict(metric: Metric, cell: Cell) -> Mapping[str, Any]:
    column = COLUMNS[metric]
    unit = cell.unit or ("fraction" if column.unit == "%" else column.unit)
    return {"unit": unit, **asdict(cell)} | {"unit": unit}


def _line(metric: Metric, words: str, alone: bool) -> str:
    return words if alone else f"{COLUMNS[metric].title} {words}"
