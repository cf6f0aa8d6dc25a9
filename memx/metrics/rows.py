"""The records of an evaluation: one a mask, and one a patient for the ejection fraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["scored", "both_empty", "prediction_empty", "truth_empty"]
Phase = Literal["ED", "ES", "other"]
OVERLAP = ("dice", "iou")
DISTANCE = ("hd", "hd95", "asd")


@dataclass(frozen=True)
class Row:
    """The scores of one structure in one frame; None where a score does not apply. Distances are in `unit`.

    frame, clip_frame  among the frames that the model saw, and in the clip on disk; both from 0
    area_prediction, area_truth  of the two masks in `unit`²; None where they were not measured
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
    area_prediction: float | None = None
    area_truth: float | None = None


@dataclass(frozen=True)
class PatientEF:
    """The ejection fraction of one patient from the true and from the predicted masks, in percent.

    prediction  None where the predicted mask at ED or ES is empty: counted as missed, since a ventricle never is
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
