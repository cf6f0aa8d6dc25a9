"""What an evaluation found: one record a mask, summaries over them, whole clips, and ejection fractions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from memx.files import write_text
from memx.metrics.agreement import Agreement, agreement
from memx.metrics.conventions import CONVENTIONS, Convention
from memx.metrics.icc import ICC_FORM
from memx.metrics.rows import OVERLAP, PatientEF, Row
from memx.metrics.score_tables import tables
from memx.metrics.summaries import (
    GROUPINGS,
    Bootstrap,
    Field,
    Summary,
    dice_by_frame,
    summarise_clips,
    summarise_masks,
)
from memx.metrics.temporal import DEFINITIONS, ClipCourse, clip_courses

SHOWN = ("dice", "iou", "hd95", "asd")
"""The metrics of the summary table."""


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

    def __post_init__(self) -> None:
        if self.protocol not in CONVENTIONS:
            raise ValueError(f"protocol is {self.protocol!r}; there are: {', '.join(CONVENTIONS)}")

    @property
    def convention(self) -> Convention:
        """How the protocol took overlap, and what its figures are called."""
        return CONVENTIONS[self.protocol]

    @property
    def titles(self) -> dict[str, str]:
        """Metric → what to call it wherever its figures are shown, so that a row-wise Dice is never just a Dice."""
        called = self.convention.title
        return {"dice": called("Dice"), "iou": called("IoU"), "hd": "HD", "hd95": "HD95", "asd": "ASD"} | {
            "dice_slope": f"Slope of {called('Dice')} a frame",
            "roughness_prediction": "Roughness of the predicted area",
            "roughness_truth": "Roughness of the true area",
        }

    @property
    def structures(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(row.structure for row in self.rows))

    @property
    def patients(self) -> list[str]:
        return sorted({row.patient for row in self.rows})

    @property
    def bootstrap(self) -> Bootstrap:
        return Bootstrap(self.draws, self.level, self.seed)

    def summaries(self, *by: Field) -> list[Summary]:
        """Every metric over the rows of each structure, split further by the fields named."""
        return summarise_masks(self.rows, by, self.bootstrap)

    @cached_property
    def overall(self) -> list[Summary]:
        """`summaries()`, made once."""
        return self.summaries()

    @cached_property
    def grouped(self) -> list[Summary]:
        """By structure and view, phase, view and phase, and patient."""
        return [item for by in GROUPINGS for item in self.summaries(*by)]

    @cached_property
    def clips(self) -> list[ClipCourse]:
        """The clips of which every frame was scored: Dice and area curves, drift and roughness."""
        return clip_courses(self.rows)[0]

    @cached_property
    def clip_summaries(self) -> list[Summary]:
        """Drift and roughness over `clips`, by structure."""
        return summarise_clips(self.clips, self.bootstrap)

    @cached_property
    def dice_by_frame(self) -> list[Summary]:
        """Dice over time over `clips`, by structure and frame."""
        return dice_by_frame(self.clips, self.bootstrap)

    @property
    def clips_left_out(self) -> int:
        """Clips, structure by structure, that are not in `clips`: under three frames, or with a gap between them."""
        return clip_courses(self.rows)[1]

    def ef_agreement(self) -> dict[str, Agreement]:
        """Agreement of predicted with true ejection fraction in EF points, method by method."""
        pairs: dict[str, list[tuple[float, float]]] = {}
        for case in self.ef:
            if case.prediction is not None:
                pairs.setdefault(case.method, []).append((case.truth, case.prediction))
        found = {
            m: agreement([t for t, _ in both], [p for _, p in both], level=self.level) for m, both in pairs.items()
        }
        return {method: item for method, item in found.items() if item is not None}

    def ef_missed(self) -> dict[str, int]:
        """How many patients have a true but no predicted ejection fraction, method by method."""
        methods = dict.fromkeys(case.method for case in self.ef)
        return {name: sum(case.method == name and case.prediction is None for case in self.ef) for name in methods}

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        agreements, missed = self.ef_agreement(), self.ef_missed()
        return {
            "protocol": {"name": self.protocol, "description": self.description},
            "titles": self.titles,
            "interval": {"level": self.level, "draws": self.draws, "seed": self.seed, "over": "patients"},
            "summaries": [item.as_dict() for item in self.overall],
            "groups": [item.as_dict() for item in self.grouped],
            "temporal": {
                "definitions": DEFINITIONS,
                "summaries": [item.as_dict() for item in self.clip_summaries],
                "dice_by_frame": [item.as_dict() for item in self.dice_by_frame],
                "clips": [_clip(course) for course in self.clips],
                "n_left_out": self.clips_left_out,
            },
            "ef": {
                "unit": "%",
                "difference": "prediction − truth",
                "icc": ICC_FORM,
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
        write_text(path, _json(self.as_dict()))

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV, whole or not at all. What does not apply is empty."""
        write_text(path, tables(self.as_dict())["scores"])

    def write(self, folder: str | Path) -> None:
        """Write scores.json and its tables as CSV: scores, summaries, clips, ef and agreement (see `tables`)."""
        data = self.as_dict()
        for name, text in tables(data).items():
            write_text(Path(folder) / f"{name}.csv", text)
        write_text(Path(folder) / "scores.json", _json(data))

    def table(self) -> Table:
        """The summary for a terminal: the mean of each metric with its interval, a structure a row."""
        title = f"{_count(len(self.patients), 'patient')}, {_count(len(self.rows), 'mask')}, protocol {self.protocol}"
        table = Table(title=title, caption=self._caption(), caption_justify="left")
        table.add_column("", style="bold")
        for metric in SHOWN:
            table.add_column(self.titles[metric], justify="right")
        table.add_column("EF error", justify="right")
        for structure in self.structures:
            table.add_row(escape(structure), *map(escape, self.cells(structure)), end_section=True)
        return table

    def cells(self, structure: str) -> list[str]:
        """The `SHOWN` metrics and EF error of a structure in words: a figure and, on a second line, its interval."""
        items = [item for item in self.overall if item.structure == structure]
        cells = ["\n".join(_words(item) for item in items if item.metric == name) for name in SHOWN]
        return [*cells, self._ef_words() if structure == self.ef_structure else "–"]

    def _ef_words(self) -> str:
        found = [f"{item.mae:.1f} points\n({method})" for method, item in self.ef_agreement().items()]
        return "\n".join(found) or "–"

    def _caption(self) -> str:
        summaries = [item for item in self.overall if item.metric == "dice"]
        both, one = (
            sum(count or 0 for count in counts)
            for counts in zip(*((item.n_both_empty, item.n_one_empty) for item in summaries), strict=True)
        )
        several = self.draws and len(self.patients) > 1
        interval = f", {self.level:.0%} interval over patients below" if several else ""
        parts = [f"Means over masks{interval}."]
        if self.convention.warning:
            parts.append(f"{self.convention.warning}.")
        if one:
            parts.append(f"One mask empty in {one}: {self.convention.one_empty}.")
        if both:
            parts.append(f"Both empty in {both}: {self.convention.both_empty}.")
        parts += [f"EF by {method}: {item.words('points')}." for method, item in self.ef_agreement().items()]
        if missed := sum(self.ef_missed().values()):
            parts.append(f"EF missed in {missed}: no predicted cavity at ED or ES.")
        return escape(" ".join(parts))


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _clip(course: ClipCourse) -> dict[str, Any]:
    unit = f"{course.rows[0].unit}²"
    return {
        "structure": course.structure,
        "patient": course.patient,
        "view": course.view,
        "first_frame": course.frames[0],
        "last_frame": course.frames[-1],
        "area_unit": unit,
        "dice_slope": course.dice_slope,
        "roughness_prediction": course.roughness_prediction,
        "roughness_truth": course.roughness_truth,
    }


def _words(item: Summary) -> str:
    if item.mean is None:
        return "–"
    digits = 3 if item.metric in OVERLAP else 2
    unit = f" {item.unit}" if item.unit else ""
    low_high = "" if item.interval is None else "\n" + "–".join(f"{end:.{digits}f}" for end in item.interval)
    return f"{item.mean:.{digits}f}{unit}{low_high}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
