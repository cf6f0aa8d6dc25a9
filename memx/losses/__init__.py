"""Losses: what a model returned, against the masks of the supervised frames."""

from memx.losses.base import Loss, LossSlot
from memx.losses.points import sample_points, uncertain_points
from memx.losses.segmentation import SegmentationLoss
