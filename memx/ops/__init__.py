"""Pure functions on tensors: every recurrence in its recurrent, chunked and joint-frame form, and their backends."""

from memx.ops.attention import space_time_attention
from memx.ops.delta import delta_rule, gated_delta_rule, linear_attention
from memx.ops.dispatch import backends
from memx.ops.frame import frame_delta_rule
from memx.ops.selective import selective_scan

__all__ = [
    "backends",
    "delta_rule",
    "frame_delta_rule",
    "gated_delta_rule",
    "linear_attention",
    "selective_scan",
    "space_time_attention",
]
