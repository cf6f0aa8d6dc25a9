"""Measuring: times taken in turns, peak memory, and the recurrences of memx.ops beside other implementations."""

from memx.profile.peak import peak_bytes
from memx.profile.timing import Quantiles, in_turns, paired_ratios, synchronise

__all__ = ["Quantiles", "in_turns", "paired_ratios", "peak_bytes", "synchronise"]
