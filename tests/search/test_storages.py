"""Several processes join one study, in every kind of storage: what they find together is what one alone does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from memx.engine.manifest import without_password
from memx.errors import UserError
from memx.recipe import Recipe
from memx.search.storage import in_reach, open_storage, shown_url
from memx.search.study import digest
from memx.search.worker import Worker
from memx.search.workers import Workers

PASSWORD = "s3cret-of-the-test"


def program(name: str) -> str | None:
    """A program of PostgreSQL's server; Debian keeps them off the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(newest[-1]) if newest else None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, on a socket in a temporary folder; it wants a password."""
    pytest.importorskip("psycopg", reason="the driver is not installed: pip install 'memx-video[cluster]'")
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL's server is not installed: there is no initdb or no postgres")
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to be root
    with tempfile.TemporaryDirectory(prefix="memx-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data = folder / "data"
        words = ["-U", "memx", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8"]
        made = subprocess.run(
            [initdb, "-D", data, *words, "--locale=C"], user=user, cwd=folder, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        log = folder / "log"
        with log.open("wb") as output:
            running = subprocess.Popen(
                [server, "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
                user=user,
                cwd=folder,
                stdout=output,
                stderr=output,
            )
        try:
            end = time.monotonic() + 120
            while "ready to accept connections" not in log.read_text():
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield f"postgresql+psycopg://memx:{PASSWORD}@/postgres?host={folder}"
        finally:
            running.send_signal(signal.SIGINT)  # ends its clients, too; SIGTERM would wait for them
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    if request.param == "journal":
        return f"journal:{tmp_path / 'journals' / 'tiny.log'}"
    return f"sqlite:///{tmp_path / 'tiny.db'}"


def test_processes_that_join_find_together_what_one_finds_alone(
    url: str,
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Callable[..., Any],
    same_found: Callable[..., bool],
    found: Callable[..., Any],
    command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    """Both begin at once, in a storage that is empty; the budget is spent to the trial and the winner written."""
    alone = undisturbed(3)
    recipe, out = write_search(), tmp_path / "out"
    environment = {"OPTUNA_STORAGE": url}
    joined = [process("search", recipe, "--out", out, environment=environment) for _ in range(2)]
    assert [one.wait() for one in joined] == [0, 0], "".join(one.said() for one in joined)
    name = f"tiny_{digest(Recipe.load(recipe))[:6]}"
    study = optuna.load_study(study_name=name, storage=open_storage(url))
    together = found(out, study)
    assert same_found(alone, together)
    assert len(together) == 3
    assert (out / "best.yaml").is_file()
    status, shown, said = command("search", "--show", name, "--storage", url)
    assert status == 0, said
    assert "complete" in shown
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    for text in (*written, shown.encode(), said.encode(), *(one.said().encode() for one in joined)):
        assert PASSWORD.encode() not in text


def test_a_storage_that_cannot_be_reached_is_named_without_its_password(
    postgres: str, command: Callable[..., tuple[int, str, str]]
) -> None:
    wrong = postgres.replace(PASSWORD, "wr0ng-one")
    status, shown, said = command("search", "--show", "tiny", "--storage", wrong)
    assert status == 2
    assert "cannot be reached" in said
    assert "memx:***@" in said
    assert "wr0ng-one" not in shown + said


def test_workers_get_the_url_where_other_users_cannot_read_it(
    monkeypatch: pytest.MonkeyPatch, write_search: Callable[..., Path], tmp_path: Path
) -> None:
    """Every user of a machine may list the words of a command, and only its owner its environment."""
    from memx.search.start import start

    started = start(Recipe.load(write_search()), out=tmp_path / "out")
    url = f"postgresql+psycopg://memx:{PASSWORD}@host/name"
    spawned: list[tuple[list[str], dict[str, str]]] = []

    class Ended:
        returncode = 0

        def __init__(self, words: list[str], **options: Any):
            spawned.append((words, options["env"]))

        def poll(self) -> int:
            return 0

        wait = poll

    monkeypatch.setattr("memx.search.workers.subprocess.Popen", Ended)
    Workers(type(started)(**{**vars(started), "url": url}), 2, "cpu", 1).run(lambda force: None)
    assert len(spawned) == 2
    for words, environment in spawned:
        assert PASSWORD not in " ".join(words)
        assert environment["OPTUNA_STORAGE"] == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:a/b@host:5432/name", "postgresql+psycopg://me:***@host:5432/name"),
        ("postgresql://me:a@b@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me@host:5432/name", "postgresql://me@host:5432/name"),
        ("postgresql://host/name?password=a&user=me", "postgresql://host/name?password=***&user=me"),
        ("redis://:a@host:1/0", "redis://:***@host:1/0"),
        ("--storage=mysql+pymysql://me:a@host/name", "--storage=mysql+pymysql://me:***@host/name"),
        ("sqlite:////folder/study.db", "sqlite:////folder/study.db"),
        ("model.memory={type: none}", "model.memory={type: none}"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert shown_url(url) == shown


def test_a_journal_whose_disk_is_gone_or_full_says_so(tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'away' / 'study.log'}"
    study = optuna.create_study(storage=open_storage(url))
    (tmp_path / "away" / "study.log").rename(tmp_path / "moved")
    (tmp_path / "away").rmdir()
    with pytest.raises(UserError) as caught, in_reach(url, tmp_path / "out"):
        study.ask()
    assert "study.log has gone away, or refuses: " in str(caught.value)
    assert f"What was trained is kept in {tmp_path / 'out'}" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            f"postgresql+psycopg://me:{PASSWORD}@host/name",
            r"not installed\. PostgreSQL: `pip install psycopg",
        ),
        (f"postgres://me:{PASSWORD}@host/name", r"is no storage; write postgresql\+psycopg://me:\*\*\*@host/name"),
    ],
)
def test_how_to_reach_postgresql_is_said(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=message) as caught:
        open_storage(url)
    assert PASSWORD not in str(caught.value)


def test_a_redis_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("redis")
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"redis://:{PASSWORD}@127.0.0.1:{unheard.getsockname()[1]}/0"
        with pytest.raises(UserError, match=r"redis://:\*\*\*@127\.0\.0\.1:\d+/0: cannot be reached: Error 111"):
            open_storage(url)


@pytest.mark.parametrize("url", ["nothing", "sqlite//study.db", "oracle9://x"])
def test_what_is_no_storage_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"is no storage; write an RDB's URL"):
        open_storage(url)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_worker_that_comes_too_late_gives_its_trial_back(
    write_search: Callable[..., Path], no_reports: None, tmp_path: Path
) -> None:
    """Two workers begin the last trial at once: the later number is not run, does not count and is not shown."""
    from memx.search.lineage import SURPLUS, counted
    from memx.search.start import start
    from memx.search.trial import Trials

    recipe = Recipe.load(write_search(trials=1), ["train.iterations=1"])
    started = start(recipe, out=tmp_path / "out")
    first = started.study.ask()  # of a worker that is slower
    Worker(started.study, Trials(recipe, started.folder))._one()
    trials = started.study.get_trials()
    assert [SURPLUS in trial.user_attrs for trial in trials] == [False, True]
    assert counted(trials) == 1
    assert [trial.number for trial in started.standing().trials] == [first.number]
