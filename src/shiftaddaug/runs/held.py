"""Folders that a process at work keeps locked: a run that trains is no run that was stopped. Imports no torch.

A process that ends, however it ends, gives its locks back. Where a file system knows no locks, nothing is held.
"""

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from shiftaddaug.report.results import RESULTS, RUN, resumed_run


def hold(folder: Path, held: ExitStack) -> bool:
    """Lock a folder itself, until `held` is left; return whether nobody else has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return not isinstance(error, BlockingIOError)
    held.callback(os.close, descriptor)
    return True


def running(log_dir: Path) -> set[Path]:
    """Return the folders of runs that some process trains, and of those that such a run went on from."""
    found: set[Path] = set()
    for record in log_dir.rglob(RUN):
        run: Path | None = record.parent.absolute()
        if (record.parent / RESULTS).exists() or not _is_held(record.parent):
            continue
        while run is not None and run not in found:
            found.add(run)
            run = resumed_run(run)
    return found


def _is_held(folder: Path) -> bool:
    with ExitStack() as held, suppress(OSError):  # it was removed
        return not hold(folder, held)
    return False
