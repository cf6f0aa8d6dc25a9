"""Operators that give the same result each time, or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from memx.errors import UserError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within the block torch uses only deterministic operators, if that is wanted; afterwards all is as it was.

    cuBLAS is given workspaces of its own, and cuDNN chooses neither by speed nor among algorithms that add in any
    order. Raises UserError naming the operator where one has no deterministic form.
    """
    if not wanted:
        yield
        return
    environment = os.environ.get(_WORKSPACE)
    mode = torch.get_deterministic_debug_mode()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        operator = str(error).split(" does not have")[0]
        raise UserError(
            f"train.deterministic=true: {operator} has no deterministic form on this device. Set "
            "train.deterministic=false, or leave out what needs it (a loss on points does: loss.points=null)"
        ) from error
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if environment is None:
            del os.environ[_WORKSPACE]
