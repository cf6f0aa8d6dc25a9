"""Several workers on one machine: processes of the same command that join one study."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from memx.errors import InterruptedRunError, UserError
from memx.search.start import Started
from memx.search.storage import LOST

log = logging.getLogger(__name__)

_LOOK = 0.5
_HEEDED = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


@dataclass
class Workers:
    """Starts `count` processes and waits for them; what stops this one interrupts them as Ctrl-C does: they save.

    Each has its share of the processor's cores, or a GPU of its own where there are several, and a log in
    `workers/<host>-<process>-<number>.log`: several commands, of one machine or of many, may share the folder.
    """

    started: Started
    count: int
    device: str
    heartbeat: int

    def run(self, show: Callable[..., None]) -> None:
        """Raises InterruptedRunError when a signal ended them, and UserError when every worker failed."""
        signals: list[int] = []
        processes: list[subprocess.Popen[bytes]] = []
        told: set[int] = set()

        def pass_on(number: int, frame: FrameType | None) -> None:
            if not signals or number == signal.SIGINT:  # others may come more than once without a meaning
                for process in processes:
                    told.add(process.pid)
                    process.send_signal(signal.SIGINT)
            signals.append(number)

        before = {number: signal.signal(number, pass_on) for number in _HEEDED}
        try:
            for index in range(self.count):
                if signals:
                    break
                process = self._spawn(index)
                processes.append(process)
                if signals and process.pid not in told:  # they came while it was begun
                    process.send_signal(signal.SIGINT)
            while any(process.poll() is None for process in processes):
                time.sleep(_LOOK)
                with suppress(*LOST):  # the next look may be luckier; workers that cannot go on end by themselves
                    show(force=True)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
            for process in processes:
                process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
        if signals:
            raise InterruptedRunError("interrupted", status=128 + signals[0])
        failed = [index for index, process in enumerate(processes) if process.returncode]
        if len(failed) == self.count:
            raise UserError(f"every worker failed; the first one's log ends:\n{_tail(self._log(failed[0]))}")
        for index in failed:
            status = processes[index].returncode
            how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
            log.warning("worker %d %s; the others went on. Its log: %s", index, how, self._log(index))

    def _log(self, index: int) -> Path:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
        return self.started.folder.path / "workers" / f"{host}-{os.getpid()}-{index}.log"

    def _spawn(self, index: int) -> subprocess.Popen[bytes]:
        log = self._log(index)
        log.parent.mkdir(exist_ok=True)
        words = ["search", "--out", str(self.started.folder.path), "--study", self.started.study.study_name]
        words += ["--heartbeat", str(self.heartbeat), "--device", self._device(index), "--as-worker", str(index)]
        threads = max(1, _cores() // self.count)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "OPTUNA_STORAGE": self.started.url}
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "memx", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C comes through `pass_on`, once
            )

    def _device(self, index: int) -> str:
        if self.device != "cuda":
            return self.device
        return f"cuda:{index % torch.cuda.device_count()}"


def _cores() -> int:
    """The processor's cores that this process may use: those of its job, on a machine that is shared."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-5:])
