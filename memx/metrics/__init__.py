"""Metrics: overlap, surface distances, clinical figures, and the protocol that says how they are taken."""

from __future__ import annotations

from memx.metrics.agreement import Agreement, agreement
from memx.metrics.bootstrap import patient_bootstrap
from memx.metrics.clinical import (
    EjectionFraction,
    Phases,
    Volume,
    area_length,
    ejection_fraction,
    find_ed_es,
    simpson_biplane,
    simpson_single,
    single_plane_volume,
)
from memx.metrics.icc import IntraclassCorrelation, intraclass_correlation
from memx.metrics.long_axis import LongAxis, long_axis
from memx.metrics.overlap import dice, iou
from memx.metrics.pairs import Pair, label_pairs
from memx.metrics.protocol import Protocol
from memx.metrics.rows import PatientEF, Row
from memx.metrics.rowwise import row_wise_dice, row_wise_iou
from memx.metrics.scores import Scores
from memx.metrics.summaries import Summary
from memx.metrics.surface import SurfaceDistances, surface_distances
from memx.metrics.temporal import ClipCourse, roughness, slope
