"""How stored pixel values become [0, 1]: one linear rule a clip, the same for all its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Intensity:
    """Linear scaling of stored values: `(value − low) / (high − low)`.

    low, high   the stored values that become 0 and 1
    rule        where they come from, in words
    """

    low: float
    high: float
    rule: str

    @classmethod
    def of_bits(cls, bits: int) -> Intensity:
        """The full range of unsigned integers of so many bits: 8 bits are divided by 255."""
        return cls(0.0, float(2**bits - 1), f"full range of {bits}-bit values")

    @classmethod
    def of_values(cls, frames: Iterable[np.ndarray]) -> Intensity:
        """The rule for data that declares no range (16-bit integers, floats), from one pass over the whole clip.

        Floats within [0, 1] are kept. Values within [0, 255] are 8-bit values stored wide and are divided by 255.
        Everything else is mapped from the clip's own smallest and largest value.
        """
        low, high, integers = np.inf, -np.inf, True
        for frame in frames:
            low, high = min(low, float(frame.min())), max(high, float(frame.max()))
            integers = integers and np.issubdtype(frame.dtype, np.integer)
        if low >= 0 and high <= 1 and not integers:
            return cls(0.0, 1.0, "already in [0, 1]")
        if low >= 0 and high <= 255:
            return cls(0.0, 255.0, "8-bit values stored in a wider type")
        return cls(low, high, f"the clip's own range, {low:g} to {high:g}")

    def inverted(self) -> Intensity:
        """The same rule with black and white exchanged."""
        return Intensity(self.high, self.low, f"{self.rule}, inverted")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Stored values of any shape to float32 in [0, 1]; a constant clip outside [0, 255] becomes 0."""
        span = self.high - self.low
        if span == 0:
            return np.zeros(values.shape, np.float32)
        return ((values.astype(np.float64) - self.low) / span).astype(np.float32)
