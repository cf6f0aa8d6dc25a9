"""Commands in processes of their own: order, failures, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from memx.errors import InterruptedRunError, UserError
from memx.reproduce.workers import Task, alone, run_tasks


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def test_commands_run_in_order_and_a_failure_ends_only_its_own_task(tmp_path: Path) -> None:
    write = "import sys; open('{}', 'a').write('{}')"
    log = tmp_path / "order"
    tasks = [
        Task("a", [python(write.format(log, 1)), python(write.format(log, 2))], tmp_path / "logs" / "a.log"),
        Task("b", [python("print('why'); raise SystemExit(3)"), python(write.format(log, 9))], tmp_path / "b.log"),
        Task("c", [python(write.format(log, 3))], tmp_path / "c.log"),
    ]
    begun: list[str] = []
    outcomes = {o.task.name: o for o in run_tasks(tasks, 1, started=lambda task: begun.append(task.name))}
    assert begun == ["a", "b", "c"]
    assert {name: o.status for name, o in outcomes.items()} == {"a": 0, "b": 3, "c": 0}
    assert log.read_text() == "123"
    assert outcomes["b"].last_lines() == ["why"]
    assert outcomes["a"].last_lines() == []


def test_jobs_run_side_by_side_and_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two waits for the file of the other, which only works side by side."""
    code = (
        "import os, sys, time; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.02)"
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    files = [str(tmp_path / name) for name in "ab"]
    tasks = [Task(name, [(*python(code), *order)], tmp_path / f"{name}.log")
             for name, order in (("a", files), ("b", files[::-1]))]  # fmt: skip
    assert [o.status for o in run_tasks(tasks, 2)] == [0, 0]
    assert {Path(f).read_text() for f in files} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


def test_a_process_that_is_left_behind_still_holds_the_folder(tmp_path: Path) -> None:
    """The parent is killed; its child goes on, and nobody else may train into its runs."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from memx.reproduce.workers import Task, alone, run_tasks\n"
        "out = Path(sys.argv[1])\n"
        "child = \"import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)\"\n"
        "with alone(out) as lock:\n"
        "    run_tasks([Task('a', [(sys.executable, '-c', child, str(out / 'pid'))], out / 'log')], 1, hold=lock)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child = int(pid.read_text())
    with pytest.raises(UserError, match="a training that one has left"), alone(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    for _ in range(100):
        try:
            with alone(tmp_path):
                return
        except UserError:
            time.sleep(0.05)
    raise AssertionError("the lock outlived the last process")


def test_a_users_smaller_number_of_threads_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    for jobs, threads in ((2, "3"), (4, "2")):
        run_tasks([Task("a", [(*python(code), str(tmp_path / "n"))], tmp_path / "log")], jobs)
        assert (tmp_path / "n").read_text() == threads


def test_ctrl_c_lets_a_process_save_and_says_how_to_go_on(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def save(*_): open(sys.argv[1] + '.saved', 'w').close(); sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(60)"
    )
    running = tmp_path / "running"

    def press() -> None:
        while not running.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    presser = threading.Thread(target=press)
    presser.start()
    tasks = [Task("a", [(*python(code), str(running))], tmp_path / "a.log"), Task("b", [], tmp_path / "b.log")]
    with pytest.raises(InterruptedRunError, match=r"2 of 2 runs to go; the same command goes on") as stop:
        run_tasks(tasks, 1)
    presser.join()
    assert stop.value.status == 130
    assert (tmp_path / "running.saved").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: open(sys.argv[1] + '.heard', 'w').close())\n"
        "open(sys.argv[1], 'w').close()\n"
        "while True: time.sleep(1)"
    )
    running = tmp_path / "running"

    def press() -> None:
        for file in (running, tmp_path / "running.heard"):
            while not file.exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(InterruptedRunError):
        run_tasks([Task("a", [(*python(code), str(running))], tmp_path / "a.log")], 1)
    presser.join()


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with alone(tmp_path / "x"), pytest.raises(UserError, match="another `memx reproduce`"), alone(tmp_path / "x"):
        pass
    with alone(tmp_path / "x"):
        pass
