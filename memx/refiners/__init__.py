"""Refiners: each object's map is looked at as a whole before it is decoded."""

from memx.refiners.base import Refiner, RefinerSlot
from memx.refiners.object_summary import ObjectSummary
from memx.refiners.object_transformer import ObjectTransformer, ObjectTransformerBlock
