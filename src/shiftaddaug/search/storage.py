"""The database of a study: opened by several processes at once, with trials that show that they are alive."""

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

SQLITE, JOURNAL = "sqlite:///", "journal:///"
"""What the addresses of files begin with: a database, and a file that is only ever appended to."""
ALIVE = "alive"
"""Attribute of a trial: the machine and process that train it, and when they last said so (seconds since the epoch)."""
SILENCE = 3
"""Heartbeats that a trial may miss."""


def open_storage(address: str | None) -> "BaseStorage":
    """Open a database, and make it if it is not there.

    Args:
        address: `sqlite:///FILE`, `journal:///FILE`, or what SQLAlchemy takes; None keeps everything in memory.

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
        raise UserError(f"hydra.sweeper.storage={address}: cannot be opened ({reason}){remedy}") from error


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


@contextmanager
def beating(trials: "Sequence[Trial]", seconds: float) -> Iterator[None]:
    """Say of running trials, every few seconds, that they are alive."""
    stop = threading.Event()
    _beat(trials)

    def go_on() -> None:
        while not stop.wait(seconds):
            with suppress(Exception):  # a database that is busy now is told next time
                _beat(trials)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(trials: "Sequence[Trial]") -> None:
    for trial in trials:
        trial.set_user_attr(ALIVE, [socket.gethostname(), os.getpid(), time.time()])


def fail_the_dead(study: "Study", seconds: float) -> int:
    """Fail the trials that nobody trains any more, and put what they tried back in line; return how many.

    Args:
        study: whose trials they are.
        seconds: between two heartbeats. A process of this machine that is gone is known to be dead at once.
    """
    from optuna.trial import TrialState

    dead = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if _is_dead(trial, SILENCE * seconds)
    ]
    failed = 0
    for trial in dead:
        with suppress(RuntimeError, ValueError):  # another worker was faster
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, skip_if_exists=True)
            failed += 1
    if failed:
        log.warning("%d trials of a search that was stopped count as failed; what they tried is tried again", failed)
    return failed


def _is_dead(trial: "FrozenTrial", silence: float) -> bool:
    said: Any = trial.user_attrs.get(ALIVE)
    if said is None:  # written by another program, or killed within a moment
        return trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > silence
    host, process, moment = said
    if host == socket.gethostname() and not _runs(process):
        return True
    return bool(time.time() - moment > silence)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
