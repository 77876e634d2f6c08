"""A run that has ended may be trained further: with more epochs, or with more time. Imports no torch."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.report.results import RESULTS, RUN, read_json
from shiftaddaug.settings import shown

ENDED_BY = "ended_by"
"""Key of results.json: what ended the training, by the name of its key."""
MAX_EPOCHS, MAX_TIME = "trainer.max_epochs", "trainer.max_time"
LENGTHENED = "lengthened_from"
"""Key of run.json: `trainer.max_epochs` of the finished runs that this one trains further, the first one first. Such a
run is none that was as long from its beginning: it is never taken for one."""
SUPERNET = "supernet"
"""Key of the configuration of a search's supernet, which is no run that `train=false` deploys."""
CALLBACKS = "callbacks."
"""Beginning of what `ended_by` says where a callback has ended a training: it would end a longer one, too."""

log = logging.getLogger(__name__)


def is_over(run: Path) -> bool:
    """Whether a run has results, and no time limit has ended it before its last epoch."""
    return (run / RESULTS).exists() and not was_cut_short(run)


def was_cut_short(run: Path) -> bool:
    """Whether a time limit has ended a run before its last epoch."""
    return ended_by(run) == MAX_TIME


def ended_by(run: Path) -> str:
    """Return the key of what has ended a run; nothing where that is unknown, or it goes on."""
    return str(_read(run / RESULTS).get(ENDED_BY, ""))


def has_more_time(run: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a run that `trainer.max_time` has ended would get more time now, or no limit.

    The limit counts all parts of a run, as Lightning does.

    Args:
        run: its folder.
        theirs, ours: its configuration, and that of the run which would resume it.
    """
    limits = [_seconds(_of_trainer(config, "max_time")) for config in (theirs, ours)]
    return was_cut_short(run) and (limits[1] is None or limits[1] > (limits[0] or 0))


def is_longer(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a configuration has more epochs than a finished run, whose checkpoint it names."""
    epochs = [_of_trainer(config, "max_epochs") for config in (theirs, ours)]
    whole = all(isinstance(number, int) for number in epochs)
    return whole and (_run(path) / RESULTS).exists() and epochs[1] > epochs[0]


def as_short(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration with the epochs of the finished run that it trains further; any other as it is."""
    if not is_longer(path, theirs, ours):
        return ours
    return {**ours, "trainer": {**ours["trainer"], "max_epochs": theirs["trainer"]["max_epochs"]}}


def lengthened_from(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[int]:
    """Return the epochs of the finished runs, one after the other, that a run trains further; none for most.

    Args:
        path: of the checkpoint that it resumes.
        theirs, ours: the configuration in the checkpoint, and the run's.
    """
    before = _read(_run(path) / RUN).get(LENGTHENED)
    known = [epochs for epochs in before if isinstance(epochs, int)] if isinstance(before, list) else []
    return known + ([theirs["trainer"]["max_epochs"]] if is_longer(path, theirs, ours) else [])


def refuse_finished(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to resume a run that has finished, unless it is given more epochs, or the time that it lacked.

    Raises:
        UserError: saying what would train it further.
    """
    run = _run(path)
    if not (run / RESULTS).exists():
        return
    epochs, by = _of_trainer(theirs, "max_epochs"), ended_by(run)
    longer, more_time = is_longer(path, theirs, ours), has_more_time(run, theirs, ours)
    if by.startswith(CALLBACKS):
        raise UserError(
            f"ckpt_path={path}: {by} has ended that run before {MAX_EPOCHS}={epochs}, and would end it again "
            f"whatever {MAX_EPOCHS}; options: a run from the beginning, with other keys of {by}"
        )
    if not is_over(run) and not more_time:
        limit = shown(_of_trainer(theirs, "max_time"))
        raise UserError(
            f"ckpt_path={path}: {MAX_TIME}={limit} has ended that run, its parts counted together; options: a larger "
            f"{MAX_TIME}, or null"
        )
    if longer:
        ended = f"been ended by {MAX_TIME}" if more_time else "finished"
        log.warning(
            "ckpt_path=%s: a run of trainer.max_epochs=%s has %s, and is trained to %s: the learning rate goes "
            "on as in a run of %s epochs, and layers that have turned, and blocks that have gone, stay so. A run of %s "
            "epochs from the beginning would end otherwise",
            *(path, epochs, ended, *[ours["trainer"]["max_epochs"]] * 3),
        )
    elif not more_time:
        raise UserError(
            f"ckpt_path={path}: that run has finished: there is nothing left to train; options: {MAX_EPOCHS} above "
            f"{epochs}{'' if SUPERNET in ours else ', or train=false, which deploys and tests it'}"
        )


def _of_trainer(config: Mapping[str, Any], key: str) -> Any:
    trainer = config.get("trainer")
    return trainer.get(key) if isinstance(trainer, Mapping) else None


def _run(path: Path) -> Path:
    return path.absolute().parents[1]


def _read(path: Path) -> Mapping[str, Any]:
    """Return what a file of a run says; nothing if it is not there, or damaged."""
    try:
        return read_json(path)
    except (OSError, *DAMAGE):
        return {}


def _seconds(max_time: Any) -> float | None:
    """Return a time limit as Lightning reads it: DD:HH:MM:SS, or its parts by name."""
    if isinstance(max_time, Mapping):
        return timedelta(**max_time).total_seconds()
    if not isinstance(max_time, str):
        return None
    days, hours, minutes, seconds = (int(part) for part in max_time.split(":"))
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
