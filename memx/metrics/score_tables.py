"""The tables of an evaluation as CSV, made from the same plain data as scores.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from memx.metrics.agreement import Agreement
from memx.metrics.rows import PatientEF, Row

_GROUP = ("structure", "patient", "view", "phase", "frame")
_COUNTS = ("n", "n_patients", "n_both_empty", "n_one_empty")
_AGREEMENT = [item.name for item in fields(Agreement) if not item.name.endswith("_interval")]
_WITH_INTERVAL = [item.name for item in fields(Agreement) if item.name.endswith("_interval")]
_COLUMNS: dict[str, list[str]] = {
    "scores": [item.name for item in fields(Row)],
    "summaries": [*_GROUP, "metric", "unit", "over", *_COUNTS, "mean", "sd", "median", "ci_low", "ci_high", "level"],
    "clips": [
        *("structure", "patient", "view", "first_frame", "last_frame", "area_unit"),
        *("dice_slope", "roughness_prediction", "roughness_truth"),
    ],
    "ef": [item.name for item in fields(PatientEF)],
    "agreement": [
        *("method", "unit", "difference", "n_missed", *_AGREEMENT),
        *(f"{name.removesuffix('_interval')}_ci_{end}" for name in _WITH_INTERVAL for end in ("low", "high")),
        "icc_form",
    ],
}
TABLES = tuple(_COLUMNS)


def tables(data: Mapping[str, Any]) -> dict[str, str]:
    """Name → CSV text, from what `Scores.as_dict` gives. Every row names the protocol; what does not apply is empty.

    scores     a row a mask
    summaries  a row a group and metric: by structure, and by view, phase, both, patient or frame where those are filled
    clips      a row a structure and clip of which every frame was scored
    ef         a row a patient
    agreement  a row a method of the ejection fraction
    """
    temporal, ef = data["temporal"], data["ef"]
    about = {"unit": ef["unit"], "difference": ef["difference"], "icc_form": ef["icc"]}
    groups = [*data["summaries"], *data["groups"], *temporal["summaries"], *temporal["dice_by_frame"]]
    level = {"level": data["interval"]["level"]}
    rows: dict[str, list[Mapping[str, Any]]] = {
        "scores": data["rows"],
        "summaries": [item | _ends("ci", item["interval"]) | level for item in groups],
        "clips": temporal["clips"],
        "ef": ef["patients"],
        "agreement": [about | item | _intervals(item) for item in ef["agreement"]],
    }
    protocol = data["protocol"]["name"]
    return {name: _csv(["protocol", *_COLUMNS[name]], rows[name], protocol) for name in TABLES}


def _intervals(item: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in _WITH_INTERVAL:
        found |= _ends(f"{name.removesuffix('_interval')}_ci", item.get(name))
    return found


def _ends(name: str, interval: Sequence[float] | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else interval
    return {f"{name}_low": low, f"{name}_high": high}


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], protocol: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"protocol": protocol} | dict(row) for row in rows)
    return text.getvalue()
