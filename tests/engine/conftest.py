"""Several processes without the seconds that importing torch takes."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def ranked(tmp_path: Path) -> Callable[..., list[Any]]:
    """`ranked(2, work)`: what `work(rank)` gives in each of two processes that find each other as torchrun's do.

    Each has torchrun's environment and forms no group by itself. An exception is given as its type's name and text.
    """

    def run(count: int, work: Callable[[int], Any]) -> list[Any]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        sys.stdout.flush()
        sys.stderr.flush()
        children = []
        for rank in range(count):
            child = os.fork()
            if child == 0:
                _work(work, rank, count, port, tmp_path)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        assert statuses == [0] * count
        return [torch.load(tmp_path / f"result{rank}.pt", weights_only=True) for rank in range(count)]

    return run


def _work(work: Callable[[int], Any], rank: int, count: int, port: int, folder: Path) -> None:
    """Do the work in a process of its own, and end it whatever happens, so that pytest goes on in the parent only."""
    try:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        try:
            result = work(rank)
        except (Exception, SystemExit) as error:
            if not isinstance(error, SystemExit):
                traceback.print_exc()
            result = type(error).__name__, str(error)
        torch.save(result, folder / f"result{rank}.pt")
        os._exit(0)
    finally:
        os._exit(1)
