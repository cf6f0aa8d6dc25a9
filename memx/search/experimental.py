"""What Optuna calls experimental and a search hangs on: heartbeats, retries, metric names, TPE by groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning


@contextmanager
def accepted() -> Iterator[None]:
    """Within the block Optuna does not warn that a feature may change: the tests hold what memx needs of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
