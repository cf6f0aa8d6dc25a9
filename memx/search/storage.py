"""Where a study lies: any storage that Optuna has, by URL."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from memx.engine.manifest import without_password
from memx.errors import UserError, first_line
from memx.search.experimental import accepted
from memx.search.requeue import Requeue

_TRIES = 20
GRACE = 3
"""Signs of life that a trial may miss before its worker is taken for dead."""

try:
    from redis.exceptions import RedisError
except ImportError:  # an optional driver
    _OF_REDIS: tuple[type[Exception], ...] = ()
else:
    _OF_REDIS = (RedisError,)

LOST = (StorageInternalError, SQLAlchemyError, *_OF_REDIS)
"""What a storage raises in the midst of its use when it has gone away, or refuses."""

_DRIVERS = {
    "psycopg2": "PostgreSQL: `pip install psycopg[binary]` and write postgresql+psycopg://…",
    "psycopg": "PostgreSQL: `pip install psycopg[binary]`",
    "MySQLdb": "MySQL: `pip install pymysql` and write mysql+pymysql://…",
    "pymysql": "MySQL: `pip install pymysql`",
    "redis": "Redis: `pip install redis`",
}


def default_url(folder: Path) -> str:
    """An SQLite file in the search's folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"


def shown_url(url: str) -> str:
    """The URL without its password."""
    return url if url.startswith("journal:") else without_password(url)


def open_storage(url: str, *, heartbeat: int = 20, retries: int = 3) -> BaseStorage:
    """The storage that a URL names.

    url        an RDB as SQLAlchemy writes it (`sqlite:///file.db`, `postgresql+psycopg://user@host/db`,
               `mysql+pymysql://…`), `journal:FILE` (Optuna's journal) or `redis://…` (its journal on Redis)
    heartbeat  seconds between a trial's signs of life in an RDB; one that gave none for three times as long has lost
               its worker, and is queued again (`Requeue`). Journals know no heartbeats.
    retries    how many workers may have died of a trial that is queued again

    Raises UserError for what is no URL, a driver that is not installed, and a data base that cannot be reached.
    """
    try:
        if url.startswith("journal:"):
            path = Path(url.removeprefix("journal:"))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFile(str(path)))
        if url.startswith(("redis://", "rediss://")):
            with accepted():
                return JournalStorage(JournalRedisBackend(url))
        return _relational(url, heartbeat, retries)
    except (ArgumentError, NoSuchModuleError):
        prefix, colon, rest = shown_url(url).partition("://")
        right = (
            f"write postgresql+psycopg://{rest}"
            if colon and prefix in ("postgres", "postgresql")
            else (
                "write an RDB's URL (sqlite:///study.db, postgresql+psycopg://user@host/name, "
                "mysql+pymysql://user@host/name), journal:FILE or redis://host/0"
            )
        )
        raise UserError(f"--storage {shown_url(url)}: is no storage; {right}") from None
    except ImportError as error:
        said = f"{error} {error.__cause__ or error.__context__ or ''} {url.partition('://')[0]}"
        remedy = next((text for driver, text in _DRIVERS.items() if driver in said), f"It says: {first_line(error)}")
        raise UserError(f"--storage {shown_url(url)}: its driver is not installed. {remedy}") from None
    except (*LOST, OSError) as error:
        raise UserError(f"--storage {shown_url(url)}: cannot be reached: {_cause(error)}") from None


class JournalFile(JournalFileBackend):
    """Optuna's journal, whose disk raises what other storages do when it is full, away or damaged."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with _as_lost():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _as_lost():
            super().append_logs(logs)


@contextmanager
def _as_lost() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise StorageInternalError(str(error)) from error


@contextmanager
def in_reach(url: str, kept: Path) -> Iterator[None]:
    """A storage that goes away within the block ends it with UserError; `kept` is the folder of what was trained."""
    try:
        yield
    except LOST as error:
        raise UserError(
            f"the study's storage {shown_url(url)} has gone away, or refuses: {_cause(error)}. What was trained is "
            f"kept in {kept}; give the same command when the storage is back"
        ) from error


def _cause(error: BaseException) -> str:
    """The first line of what the data base itself said."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    own = error.orig if isinstance(error, DBAPIError) else None
    return first_line(own or error)


def _relational(url: str, heartbeat: int, retries: int) -> RDBStorage:
    lite = make_url(url).get_backend_name() == "sqlite"
    for _ in range(_TRIES):
        try:
            with accepted():
                return RDBStorage(
                    url,
                    engine_kwargs={"connect_args": {"timeout": 60}} if lite else {"pool_pre_ping": True},
                    heartbeat_interval=heartbeat,
                    grace_period=GRACE * heartbeat,
                    heartbeat_stale_trial_callback=Requeue(retries),
                )
        except DBAPIError as error:
            if not (isinstance(error, IntegrityError) or "already exists" in str(error.orig)):
                raise
            time.sleep(0.2)  # another process is making the tables of a fresh data base
    raise UserError(f"--storage {shown_url(url)}: holds tables that are none of Optuna's; give another data base")


def beats(study: optuna.Study) -> int | None:
    """Seconds between a running trial's signs of life; None where the storage knows none."""
    storage = study._storage
    return storage.get_heartbeat_interval() if isinstance(storage, BaseHeartbeat) else None
