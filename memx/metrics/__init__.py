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
from memx.metrics.long_axis import LongAxis, long_axis
from memx.metrics.overlap import dice, iou
from memx.metrics.protocol import Pair, Protocol, label_pairs
from memx.metrics.scores import PatientEF, Row, Scores, Summary
from memx.metrics.surface import SurfaceDistances, surface_distances
