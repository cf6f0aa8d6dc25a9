"""Memory traffic that every mechanism has."""

from __future__ import annotations

from memx.memory.base import Shape


def bytes_moved(shape: Shape, key_dim: int, value_dim: int, feature_dim: int, state_bytes: int) -> int:
    """Bytes at float32: tokens read, readouts written, and a state of this size an item read and written a frame."""
    tokens = shape.tokens * (2 * key_dim + feature_dim + 2 * shape.objects * value_dim)
    return shape.batch * shape.frames * (4 * tokens + 2 * state_bytes)
