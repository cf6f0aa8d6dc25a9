"""The processes of one run: who is first, and how they agree and end together: with one message, which the first gives.

`torchrun` or `accelerate launch` starts them; a run in one process is a group of one, and nothing here then does
anything but call what it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.state import AcceleratorState

from memx.errors import UserError

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long a process waits for another: the first validates alone, which may take hours."""


def join(device: str) -> None:
    """Make the group of the processes that a launcher started; a process that was started alone stays alone.

    Raises UserError when the processes were told to share one GPU, or the others are not there.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if torch.device(device).index is not None:
        raise UserError(f"--device {device}: several processes need a GPU each; say --device cuda")
    AcceleratorState._reset_state(True)  # of a run that this process had alone, which would keep it alone
    PartialState(cpu=device == "cpu", timeout=PATIENCE)
    if count() != int(os.environ["WORLD_SIZE"]):
        raise UserError(
            f"the environment says WORLD_SIZE={os.environ['WORLD_SIZE']}, but no launcher's processes are there; "
            "start with torchrun or `accelerate launch`, or unset WORLD_SIZE"
        )


def leave() -> None:
    """End the group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def let_the_first_speak() -> None:
    """Wait, in a process that ends in silence, for the first one to say why: when one process has ended, its launcher
    ends the others, and so must not see this one end before. The launcher ends the wait too."""
    if not is_first():
        time.sleep(60)


def count() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def gather(value: T) -> list[T]:
    """Every process's value, in the order of their numbers."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def together(work: Callable[[], T]) -> T:
    """What this process makes of `work`, once all have done it. The mistake of one ends all."""
    result, failure = _attempt(work)
    _end(gather(failure))
    return cast(T, result)


def first_only(work: Callable[[], T]) -> T | None:
    """What the first process makes of `work`, and None in the others, which wait. Its mistake ends all."""
    result, failure = _attempt(work) if is_first() else (None, None)
    _end(gather(failure))
    return result


def on_first(work: Callable[[], T]) -> T:
    """What the first process makes of `work`, handed to all; they wait. Its mistake ends all.

    The result is plain data or a small object.
    """
    result, failure = _attempt(work) if is_first() else (None, None)
    if count() == 1:
        _end([failure])
    else:
        box: list[Any] = [(result, failure)]
        dist.broadcast_object_list(box, src=0)
        result, failure = box[0]
        _end([failure])
    return cast(T, result)


def any_of(flag: Callable[[], bool]) -> Callable[[], bool]:
    """A function that says whether `flag` holds in any process; all of them call it at the same points of the run."""
    return flag if count() == 1 else lambda: any(gather(flag()))


@contextmanager
def one_voice() -> Iterator[None]:
    """A mistake that all processes find alike is raised by the first; the others end in silence with its status."""
    try:
        yield
    except UserError as error:
        if is_first():
            raise
        raise SystemExit(error.status) from None


def _attempt(work: Callable[[], T]) -> tuple[T | None, UserError | OSError | None]:
    try:
        return work(), None
    except (UserError, OSError) as error:
        return None, error


def _end(failures: list[UserError | OSError | None]) -> None:
    """Raise the first of the failures that the processes have had, if any: in the first process only."""
    for failure in failures:
        if failure is not None and is_first():
            raise failure
        if failure is not None:
            raise SystemExit(failure.status if isinstance(failure, UserError) else 2)
