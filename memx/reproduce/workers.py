"""Commands run in processes of their own, a few at a time; Ctrl-C stops them so that they can go on later."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memx.errors import InterruptedRunError, UserError

_POLL = 0.1


@dataclass(frozen=True)
class Task:
    """Commands one after another; the first that fails ends it. What they print goes to the end of `log`."""

    name: str
    commands: Sequence[Sequence[str]]
    log: Path


@dataclass(frozen=True)
class Outcome:
    """How a task ended: `status` of the command that ended it, 0 where all went well."""

    task: Task
    status: int
    seconds: float

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of the log."""
        text = self.task.log.read_text(encoding="utf-8", errors="replace") if self.task.log.is_file() else ""
        return [line for line in text.splitlines() if line.strip()][-count:]


@dataclass
class _Running:
    task: Task
    started: float
    step: int = 0
    process: subprocess.Popen[bytes] | None = None


def run_tasks(
    tasks: Sequence[Task],
    jobs: int,
    *,
    hold: int | None = None,
    started: Callable[[Task], Any] = lambda task: None,
    finished: Callable[[Outcome], Any] = lambda outcome: None,
) -> list[Outcome]:
    """Run all tasks, `jobs` at a time, and say how each ended, in the order in which they did.

    With several jobs the cores that this process may use are dealt out to them. `hold` is an open file that the
    processes keep open, too: a lock on it lasts as long as any of them. The first Ctrl-C (or SIGTERM) is passed on to
    the processes, which save what they have, and InterruptedRunError follows when they have ended; a second one kills
    them.
    """
    waiting, running, outcomes = list(tasks), list[_Running](), list[Outcome]()
    environment = _environment(jobs)
    with _interrupts() as interrupted:
        try:
            while (waiting or running) and not interrupted():
                while waiting and len(running) < jobs:
                    running.append(_Running(waiting.pop(0), time.perf_counter()))
                    started(running[-1].task)
                for item in list(running):
                    status = _advance(item, environment, hold)
                    if status is not None:
                        running.remove(item)
                        outcomes.append(Outcome(item.task, status, time.perf_counter() - item.started))
                        finished(outcomes[-1])
                time.sleep(_POLL)
        finally:
            _stop([item.process for item in running if item.process is not None], interrupted)
    if interrupted():
        raise InterruptedRunError(
            f"interrupted with {len(waiting) + len(running)} of {len(tasks)} runs to go; the same command goes on"
        )
    return outcomes


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Hold a folder for this process, and for those that it hands the file that it gets, after its own end, too.

    Raises UserError where another one holds it: two would train the same runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another `memx reproduce`, or a training that one has left, is at work here; wait for it, "
                "or choose another --out"
            ) from None
        yield lock.fileno()


def _advance(item: _Running, environment: dict[str, str], hold: int | None) -> int | None:
    """Start a task's next command when the last one is done; its exit status once all are, or one failed."""
    if item.process is not None:
        status = item.process.poll()
        if status is None:
            return None
        item.process = None
        if status != 0:
            return status
        item.step += 1
    if item.step == len(item.task.commands):
        return 0
    item.task.log.parent.mkdir(parents=True, exist_ok=True)
    with item.task.log.open("ab") as log:
        item.process = subprocess.Popen(
            item.task.commands[item.step],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=() if hold is None else (hold,),
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and each process hears of it once
        )
    return None


def _environment(jobs: int) -> dict[str, str]:
    if jobs == 1:
        return dict(os.environ)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, usable // jobs)
    said = os.environ.get("OMP_NUM_THREADS", "")
    threads = str(min(share, int(said)) if said.isdigit() and int(said) else share)
    return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def _stop(processes: Sequence[subprocess.Popen[bytes]], interrupted: Callable[[], int]) -> None:
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        while process.poll() is None:
            if interrupted() > 1:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            time.sleep(_POLL)


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """Gives a function that says how often Ctrl-C or SIGTERM has come."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield lambda: 0
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, frame: heard.append(number)) for kind in kinds]
    try:
        yield lambda: len(heard)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
