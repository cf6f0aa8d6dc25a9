"""Signals that ask a run to stop, and what they mean.

SIGINT (Ctrl-C), SIGTERM (`kill`, `docker stop`, `scancel`, preemption) and SIGUSR1 (`sbatch --signal=USR1@180`) all ask
for the same: end soon, with everything saved. Within training they are noted and heeded between two steps; elsewhere
they raise at once. The exit status is 128 + the signal's number: 130, 143, 138.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from memx.errors import InterruptedRunError

if TYPE_CHECKING:
    from accelerate import Accelerator

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class StopSignal(KeyboardInterrupt):
    """SIGTERM or SIGUSR1, where Ctrl-C would raise KeyboardInterrupt."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Interruption:
    """The signal that has asked to stop, or None."""

    number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def stop_if_asked(self) -> None:
        """Raise StopSignal where a stop has been asked for: for work that can be left and done again."""
        if self.number is not None:
            raise StopSignal(self.number)

    def agree(self, accelerator: Accelerator) -> bool:
        """Whether any process has been asked to stop; every process gets the same answer, and the signal's number.

        Signals reach the processes of a run at different moments; if each stopped at its own step, the others would
        wait for it for ever.
        """
        if accelerator.num_processes > 1:
            import torch

            asked = torch.zeros(signal.NSIG, dtype=torch.int32, device=accelerator.device)
            asked[self.number or 0] = 1
            total = accelerator.reduce(asked, "sum")
            assert isinstance(total, torch.Tensor)
            heard = total[1:].nonzero().flatten().tolist()
            if not heard:
                return False  # one that has come meanwhile is agreed on after the next step
            self.number = heard[0] + 1
        return bool(self)


@contextmanager
def noting() -> Iterator[Interruption]:
    """Signals are noted, for the block to heed when it can; a second Ctrl-C raises KeyboardInterrupt at once.

    Other signals may come more than once without harm: torchrun passes on to its workers what SLURM has sent to them,
    too. In a thread that is not the main one, which hears no signals, nothing is ever noted.
    """
    heard = Interruption()

    def note(number: int, frame: Any) -> None:
        if number == heard.number == signal.SIGINT:
            raise KeyboardInterrupt
        heard.number = number

    with _handled_by(note):
        yield heard


@contextmanager
def raising() -> Iterator[None]:
    """SIGTERM and SIGUSR1 raise StopSignal, as Ctrl-C raises KeyboardInterrupt, so that what is open is closed."""

    def stop(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt if number == signal.SIGINT else StopSignal(number)

    with _handled_by(stop):
        yield


@contextmanager
def saying(message: Callable[[], str]) -> Iterator[None]:
    """A stop within the block becomes InterruptedRunError with a message, and the exit status that tells the signal."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(message(), status=exit_status(stop)) from stop


def exit_status(stop: KeyboardInterrupt) -> int:
    """128 + the number of the signal."""
    return 128 + (stop.number if isinstance(stop, StopSignal) else signal.SIGINT)


def leave_to_main(worker: int) -> None:
    """Start-up of a process that loads data: the training process decides when it ends.

    A terminal sends Ctrl-C, and SLURM its signals, to every process of a job; a worker that ended by them would take
    the step at hand with it. SIGTERM from the training process ends it, as torch expects.
    """
    for number in _SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere Python cannot tell who sent a signal, and torch's own handling stays
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
