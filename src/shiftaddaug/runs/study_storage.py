"""The database of a study, which several processes may open at once. No torch."""

import fcntl
import json
import logging
import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)

SQLITE, JOURNAL = "sqlite:///", "journal:///"
"""What the addresses of files begin with: a database, and a file that is only ever appended to."""
TURNS = 5
"""Attempts to open a database while others make its tables."""
BEGINS = b'{"op_code":'
"""What a journal begins with."""
INSTALLS = "; pip install 'shiftaddaug[postgresql]' for postgresql+psycopg://USER@HOST/NAME"
"""Remedy where a driver of databases is missing."""


def shown(address: object) -> str:
    """Return the address of a database without its password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", str(address))


def warn_of_password(address: str | None) -> None:
    """Warn of a password in an address, which the configuration of every run keeps, and loggers are told."""
    if address is not None and shown(address) != address:
        log.warning("%s: its password is written into each run's config.yaml; options: ~/.pgpass", shown(address))


def open_storage(address: str | None, key: str = "hydra.sweeper.storage") -> "BaseStorage":
    """Open a database, and make it if it is not there.

    Args:
        address: `sqlite:///FILE`, `journal:///FILE`, or what SQLAlchemy takes; None keeps everything in memory.
        key: that names it.

    Raises:
        UserError: it cannot be opened, or another version of Optuna wrote it.
    """
    from optuna.storages import InMemoryStorage, RDBStorage

    if address is None:
        return InMemoryStorage()
    kind = next((kind for kind in (SQLITE, JOURNAL) if address.startswith(kind)), None)
    options = kind == SQLITE and "?" in address  # of SQLAlchemy's, which say themselves where the file is
    path = None if kind is None or options else Path(address.removeprefix(kind)).expanduser().absolute()
    # a device may be read without end
    if path is not None and (address == kind or (path.exists() and not path.is_file())):
        raise UserError(f"{key}={address}: must name a file")
    try:
        with _taking_turns(path):
            if path is not None and kind == JOURNAL:
                return _open_journal(path)
            if path is not None:
                _refuse_other_tables(path)
                return RDBStorage(f"{SQLITE}{path}", engine_kwargs={"connect_args": {"timeout": 60}})
            return RDBStorage(address) if address.startswith("sqlite") else _open_server(address)
    except Exception as error:  # whatever its database driver says
        raise _unopened(address, error, key) from error


def _open_server(address: str) -> "BaseStorage":
    """Open a database of a server, in which another process may be making the tables at this moment."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    # a server may be restarted, and firewalls cut connections, while a trial trains for hours
    options = {"pool_pre_ping": True}
    for _ in range(TURNS):
        with suppress(IntegrityError, ProgrammingError):  # a table, or its first row, is there already
            return RDBStorage(address, engine_kwargs=options)
        time.sleep(random.uniform(0.5, 1.0))
    return RDBStorage(address, engine_kwargs=options)


def _unopened(address: str, error: Exception, key: str) -> UserError:
    from sqlalchemy.exc import ArgumentError

    reason, remedy = _reason(error), ""
    if "no longer compatible" in str(error) or "storage upgrade" in str(error):
        reason = "an older version of Optuna wrote it"
        remedy = f"; `optuna storage upgrade --storage {shown(address)}` migrates it"
    elif isinstance(error, ArgumentError):
        remedy = f"; options: {SQLITE}FILE, {JOURNAL}FILE, postgresql+psycopg://USER@HOST/NAME"
    elif isinstance(error, ImportError):
        remedy = INSTALLS
    return UserError(f"{key}={shown(address)}: cannot be opened ({reason}){remedy}")


@contextmanager
def answering_storage(address: object, key: str = "hydra.sweeper.storage") -> Iterator[None]:
    """Answer in one line what a database, or the file that holds it, cannot do.

    Raises:
        UserError: instead of Optuna's errors, and of those of the file.
    """
    from optuna.exceptions import OptunaError

    try:
        yield
    except (OptunaError, OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{key}={shown(address)}: failed ({_reason(error)}); the same command goes on where it can"
        ) from error


def _reason(error: Exception) -> str:
    """Return the first line of what the driver said: Optuna says no more than that it said something."""
    said = error.__cause__ if error.__cause__ is not None and "during the commit" in str(error) else error
    return (str(said).splitlines() or [type(said).__name__])[0][:200]


def _open_journal(path: Path) -> "BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    lock: Any = JournalFileSymlinkLock(str(path))
    if path.exists():
        lock.acquire()
        try:
            _cut_unfinished_line(path)
        finally:
            lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock))


def _cut_unfinished_line(path: Path) -> None:
    """Take away the last line of a journal if it was not written to its end.

    A process that was killed, or had no space left, leaves such a line, and what is appended to it makes no sense.

    Raises:
        ValueError: the file does not begin as a journal does.
    """
    with path.open("r+b") as journal:
        content = journal.read()
        if content and not content.startswith(BEGINS):
            raise ValueError("it is no journal of Optuna's")
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            journal.truncate(whole)


def _refuse_other_tables(path: Path) -> None:
    """Refuse a database of another program: Optuna would write its tables among the others.

    Raises:
        ValueError: it has tables, and none that Optuna writes.
    """
    if not path.exists():
        return
    database = sqlite3.connect(path, timeout=60)
    try:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        database.close()
    if tables and not {"studies", "trials"} <= tables:
        raise ValueError(f"it holds something else: {', '.join(sorted(tables)[:3])}")


@contextmanager
def _taking_turns(path: Path | None) -> Iterator[None]:
    """Hold a lock beside a file: two processes that make its tables at once are in each other's way."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
