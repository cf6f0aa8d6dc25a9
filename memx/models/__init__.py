"""Models: how the components are wired."""

from memx.models.mask_propagator import MaskPropagator
from memx.models.output import Auxiliary, Output
