"""A network for inference that calculates the same and takes less time."""

from memx.models.optimize.optimized import Optimized, optimize
