"""Trials of a study that show that they are alive, and those that do not any more."""

import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.runs.searching import JOB

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

ALIVE = "alive"
"""Attribute of a trial: the place and process that train it, and when they last said so (seconds since the epoch)."""
SILENCE = 3
"""Heartbeats that a trial may miss."""
ATTEMPT = "attempt"
"""Attribute of a trial that tries what was stopped: how many attempts this is that began alike."""
ATTEMPTS = 3
"""Attempts after which values are given up whose trial was stopped each time."""


@contextmanager
def beating(trials: "Sequence[Trial]", seconds: float) -> Iterator[None]:
    """Say of running trials, every few seconds, that they are alive."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(seconds):
            for trial in trials:
                with suppress(Exception):  # a database that is busy now is told next time; others may be finished
                    beat(trial)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def beat(trial: "Trial") -> None:
    """Say of a running trial that it is alive."""
    trial.set_user_attr(ALIVE, [_place(), os.getpid(), time.time()])


def fail_the_dead(study: "Study", seconds: float, keys: Collection[str]) -> int:
    """Fail the trials that nobody trains any more, and put what they tried back in line; return how many.

    Args:
        study: whose trials they are.
        seconds: between two heartbeats. A process of this machine that is gone is known to be dead at once.
        keys: that are searched.
    """
    failed = sum(try_again(study, trial.number, keys) for trial in dead_trials(study, seconds))
    if failed:
        log.warning("%d trials of a search that was stopped count as failed; what they tried is tried again", failed)
    return failed


def dead_trials(study: "Study", seconds: float) -> "list[FrozenTrial]":
    """Return the running trials that nobody works at any more; arguments are those of `fail_the_dead`."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if _is_dead(trial, SILENCE * seconds)]


def try_again(study: "Study", number: int, keys: Collection[str], by_hand: bool = False) -> bool:
    """Fail a trial that was stopped, and put what it tried back in line; return whether it was at work until now.

    What has been stopped `ATTEMPTS` times before it ended an epoch is not tried any more: it may be what stops the
    process.

    Args:
        study: whose trial it is.
        number: of the trial.
        keys: that are searched; a trial that was stopped before it had values for all of them is only failed.
        by_hand: whether somebody stopped it, so that this attempt does not count.
    """
    from optuna.trial import TrialState

    try:
        study.tell(number, state=TrialState.FAIL)
    except (RuntimeError, ValueError):  # another worker was faster
        return False
    trial = next(each for each in study.get_trials(deepcopy=False) if each.number == number)
    attempt = 0 if _has_ended_an_epoch(trial) else int(trial.user_attrs.get(ATTEMPT, 1)) - by_hand
    if attempt >= ATTEMPTS:
        log.warning("trial %d was stopped, and %d before with these values: they are given up", number, attempt - 1)
    elif set(keys) <= trial.params.keys():
        study.enqueue_trial(trial.params, user_attrs={ATTEMPT: attempt + 1})
    return True


def _has_ended_an_epoch(trial: "FrozenTrial") -> bool:
    folder, job = trial.user_attrs.get(JOB, ("", 0))
    return Path(folder, str(job), "checkpoints", "last.ckpt").exists()


def _is_dead(trial: "FrozenTrial", silence: float) -> bool:
    said: Any = trial.user_attrs.get(ALIVE)
    if said is None:  # written by another program, or killed within a moment
        return trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > silence
    place, process, moment = said
    if place == _place() and not _runs(process):
        return True
    return bool(time.time() - moment > silence)


def _place() -> str:
    """Return where processes are known by their numbers: a machine, or a container that has its name."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
