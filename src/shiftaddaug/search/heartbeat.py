"""Trials of a study that show that they are alive, and those that do not any more."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

ALIVE = "alive"
"""Attribute of a trial: the machine and process that train it, and when they last said so (seconds since the epoch)."""
SILENCE = 3
"""Heartbeats that a trial may miss."""


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

    failed = 0
    for trial in dead_trials(study, seconds):
        with suppress(RuntimeError, ValueError):  # another worker was faster
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
            failed += 1
    if failed:
        log.warning("%d trials of a search that was stopped count as failed; what they tried is tried again", failed)
    return failed


def dead_trials(study: "Study", seconds: float) -> "list[FrozenTrial]":
    """Return the running trials that nobody works at any more; arguments are those of `fail_the_dead`."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if _is_dead(trial, SILENCE * seconds)]


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
