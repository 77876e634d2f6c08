"""The database of a study, which several processes may open at once. No torch."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SQLITE, JOURNAL = "sqlite:///", "journal:///"
"""What the addresses of files begin with: a database, and a file that is only ever appended to."""


def open_storage(address: str | None, key: str = "hydra.sweeper.storage") -> "BaseStorage":
    """Open a database, and make it if it is not there.

    Args:
        address: `sqlite:///FILE`, `journal:///FILE`, or what SQLAlchemy takes; None keeps everything in memory.
        key: that names it.

    Raises:
        UserError: it cannot be opened, or another version of Optuna wrote it.
    """
    from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if address is None:
        return InMemoryStorage()
    path = next((Path(address.removeprefix(kind)) for kind in (SQLITE, JOURNAL) if address.startswith(kind)), None)
    try:
        with _taking_turns(path):
            if address.startswith(JOURNAL):
                return JournalStorage(JournalFileBackend(str(path)))
            return RDBStorage(address, engine_kwargs={"connect_args": {"timeout": 60}} if path else None)
    except Exception as error:  # whatever its database driver says
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        remedy = ""
        if "no longer compatible" in str(error) or "storage upgrade" in str(error):
            reason, remedy = (
                "an older version of Optuna wrote it",
                f"; `optuna storage upgrade --storage {address}` migrates it",
            )
        raise UserError(f"{key}={address}: cannot be opened ({reason}){remedy}") from error


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
