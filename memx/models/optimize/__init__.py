"""A network for inference that calculates the same and takes less time."""

from memx.models.optimize.optimize import Optimized, optimize
