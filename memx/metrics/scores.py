"""What an evaluation found: one record a mask, summaries over them, and ejection fractions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.markup import escape
from rich.table import Table

from memx.files import write_text
from memx.metrics.agreement import Agreement, agreement
from memx.metrics.bootstrap import Interval, patient_bootstrap

Outcome = Literal["scored", "both_empty", "prediction_empty", "truth_empty"]
Phase = Literal["ED", "ES", "other"]
OVERLAP = ("dice", "iou")
DISTANCE = ("hd", "hd95", "asd")
TITLES = {"dice": "Dice", "iou": "IoU", "hd": "HD", "hd95": "HD95", "asd": "ASD"}


@dataclass(frozen=True)
class Row:
    """The scores of one structure in one frame; all None where both masks are empty. Distances are in `unit`.

    `frame` counts the frames that the model saw, `clip_frame` those of the clip on disk.
    """

    patient: str
    view: str
    frame: int
    clip_frame: int
    phase: Phase
    structure: str
    outcome: Outcome
    dice: float | None
    iou: float | None
    hd: float | None
    hd95: float | None
    asd: float | None
    unit: str


@dataclass(frozen=True)
class Summary:
    """One metric over a group of rows.

    by            what the group has in common, as (field, value) pairs: structure, and what else was asked for
    n             values in mean, sd and median; rows with one mask empty are among them
    n_both_empty  rows left out because there was nothing to find and nothing was found
    n_one_empty   rows in which one mask is empty: overlap 0, distance the diagonal of the field of view
    interval      of the mean, by drawing patients; None below two patients
    """

    by: tuple[tuple[str, str], ...]
    metric: str
    unit: str
    n: int
    n_patients: int
    n_both_empty: int
    n_one_empty: int
    mean: float | None
    sd: float | None
    median: float | None
    interval: Interval | None

    @property
    def structure(self) -> str:
        return dict(self.by)["structure"]


@dataclass(frozen=True)
class PatientEF:
    """The ejection fraction of one patient from the true and from the predicted masks, in percent.

    prediction  None where the predicted mask at ED is empty: counted as missed
    method      the same for both, with the view where it is of one view
    unit        of the four volumes
    """

    patient: str
    truth: float
    prediction: float | None
    method: str
    unit: str
    edv_truth: float
    esv_truth: float
    edv_prediction: float
    esv_prediction: float
    note: str = ""


@dataclass(frozen=True)
class Scores:
    """The outcome of an evaluation under one protocol.

    protocol  the name of the protocol, description its text, draws, level and seed those of its intervals
    rows      one record a mask; ef one a patient; no_ef why other patients have none
    """

    protocol: str
    description: str
    rows: tuple[Row, ...]
    ef: tuple[PatientEF, ...] = ()
    no_ef: tuple[tuple[str, str], ...] = ()
    ef_structure: str = "LV"
    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    @property
    def structures(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(row.structure for row in self.rows))

    @property
    def patients(self) -> list[str]:
        return sorted({row.patient for row in self.rows})

    def summaries(self, *by: Literal["patient", "view", "phase"]) -> list[Summary]:
        """Every metric over the rows of each structure, split further by the fields named."""
        groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(tuple((name, getattr(row, name)) for name in ("structure", *by)), []).append(row)
        found: list[Summary] = []
        for key, rows in groups.items():
            found += [self._summary(key, metric, "", rows) for metric in OVERLAP]
            for unit in sorted({row.unit for row in rows}):
                alike = [row for row in rows if row.unit == unit]
                found += [self._summary(key, metric, unit, alike) for metric in DISTANCE]
        return found

    @cached_property
    def overall(self) -> list[Summary]:
        """`summaries()`, made once."""
        return self.summaries()

    def ef_agreement(self) -> dict[str, Agreement]:
        """Agreement of predicted with true ejection fraction in EF points, method by method."""
        pairs: dict[str, list[tuple[float, float]]] = {}
        for case in self.ef:
            if case.prediction is not None:
                pairs.setdefault(case.method, []).append((case.truth, case.prediction))
        found = {method: agreement([t for t, _ in both], [p for _, p in both]) for method, both in pairs.items()}
        return {method: item for method, item in found.items() if item is not None}

    def ef_missed(self) -> dict[str, int]:
        """How many patients have a true but no predicted ejection fraction, method by method."""
        methods = dict.fromkeys(case.method for case in self.ef)
        return {name: sum(case.method == name and case.prediction is None for case in self.ef) for name in methods}

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        overall = [dict(item.by) | {k: v for k, v in asdict(item).items() if k != "by"} for item in self.overall]
        agreements, missed = self.ef_agreement(), self.ef_missed()
        return {
            "protocol": {"name": self.protocol, "description": self.description},
            "interval": {"level": self.level, "draws": self.draws, "seed": self.seed, "over": "patients"},
            "summaries": overall,
            "ef": {
                "unit": "%",
                "agreement": [
                    {"method": m, "n_missed": missed[m], **(asdict(agreements[m]) if m in agreements else {"n": 0})}
                    for m in missed
                ],
                "patients": [asdict(case) for case in self.ef],
                "without": [{"patient": patient, "reason": reason} for patient, reason in self.no_ef],
            },
            "rows": [asdict(row) for row in self.rows],
        }

    def to_json(self, path: str | Path) -> None:
        """Write everything as JSON, whole or not at all. What does not apply is null."""
        write_text(path, json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV, whole or not at all. What does not apply is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [item.name for item in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_text(path, text.getvalue())

    def table(self) -> Table:
        """The summary for a terminal: the mean of each metric with its interval, a structure a row."""
        title = f"{_count(len(self.patients), 'patient')}, {_count(len(self.rows), 'mask')}, protocol {self.protocol}"
        table = Table(title=title, caption=self._caption(), caption_justify="left")
        table.add_column("", style="bold")
        for heading in ("Dice", "IoU", "HD95", "ASD", "EF error"):
            table.add_column(heading, justify="right")
        for structure in self.structures:
            table.add_row(escape(structure), *map(escape, self.cells(structure)), end_section=True)
        return table

    def cells(self, structure: str) -> list[str]:
        """Dice, IoU, HD95, ASD and EF error of a structure in words: a figure and, on a second line, its interval."""
        items = [item for item in self.overall if item.structure == structure]
        shown = ("dice", "iou", "hd95", "asd")
        cells = ["\n".join(_words(item) for item in items if item.metric == name) for name in shown]
        return [*cells, self._ef_words() if structure == self.ef_structure else "–"]

    def _summary(self, by: tuple[tuple[str, str], ...], metric: str, unit: str, rows: list[Row]) -> Summary:
        kept = [(value, row.patient) for row in rows if (value := getattr(row, metric)) is not None]
        values = np.array([value for value, _ in kept], dtype=np.float64)
        interval = patient_bootstrap(
            values.tolist(), [patient for _, patient in kept], draws=self.draws, level=self.level, seed=self.seed
        )
        return Summary(
            by=by,
            metric=metric,
            unit=unit,
            n=len(kept),
            n_patients=len({patient for _, patient in kept}),
            n_both_empty=sum(row.outcome == "both_empty" for row in rows),
            n_one_empty=sum(row.outcome in ("prediction_empty", "truth_empty") for row in rows),
            mean=float(values.mean()) if len(kept) else None,
            sd=float(values.std(ddof=1)) if len(kept) > 1 else None,
            median=float(np.median(values)) if len(kept) else None,
            interval=interval,
        )

    def _ef_words(self) -> str:
        found = [f"{item.mae:.1f} points\n({method})" for method, item in self.ef_agreement().items()]
        return "\n".join(found) or "–"

    def _caption(self) -> str:
        summaries = [item for item in self.overall if item.metric == "dice"]
        both, one = sum(item.n_both_empty for item in summaries), sum(item.n_one_empty for item in summaries)
        parts = [f"Means over masks, {self.level:.0%} interval over patients below."]
        if self.ef:
            parts.append("EF error: mean absolute difference to the EF of the true masks.")
        if one:
            parts.append(f"One mask empty in {one}: counted as Dice 0 and the field-of-view diagonal.")
        if both:
            parts.append(f"Both empty in {both}: left out.")
        if missed := sum(self.ef_missed().values()):
            parts.append(f"EF missed in {missed}: no predicted cavity at ED.")
        return " ".join(parts)


def _words(item: Summary) -> str:
    if item.mean is None:
        return "–"
    digits = 3 if item.metric in OVERLAP else 2
    unit = f" {item.unit}" if item.unit else ""
    low_high = "" if item.interval is None else "\n" + "–".join(f"{end:.{digits}f}" for end in item.interval)
    return f"{item.mean:.{digits}f}{unit}{low_high}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
