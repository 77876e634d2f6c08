"""The second step of a run: train."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.callbacks import Timer

from shiftaddaug.callbacks.guests import before_on_exception, failed_guest
from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.report.results import read_history
from shiftaddaug.runs.checkpoints import read_checkpoint
from shiftaddaug.runs.lightning_trainer import interruptible, say_profile
from shiftaddaug.runs.longer import ENDED_BY, MAX_EPOCHS, MAX_TIME
from shiftaddaug.runs.prepare import Prepared
from shiftaddaug.runs.processes import resuming

READER = "lightning.pytorch.trainer.connectors.checkpoint_connector"
"""Lightning's module that reads checkpoints, and writes them."""

KILLED = "is killed by signal"
"""What torch says of a worker of a loader that is no more: the machine stops, or has no memory left."""

log = logging.getLogger(__name__)


def fit(run: Prepared) -> dict[str, Any]:
    """Train the network in `run.task`; return how long it took, and the figures of its last epoch.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        TrainingDiverged: the loss is no longer a number.
        UserError: a callback that is not of this package failed.
    """
    trainer = run.trainer
    with interruptible(trainer), _answering_guests(run):
        trainer.fit(run.task, datamodule=run.data, ckpt_path=run.ckpt_path)
    say_profile(trainer)
    ended_by = _ended_by(run)
    if ended_by == MAX_TIME:
        log.info(
            "%s has ended training after %d of %d epochs; more time trains on",
            *(MAX_TIME, _whole_epochs(run), trainer.max_epochs),
        )
    first, seconds = run.throughput.first_step_time, run.throughput.seconds
    return {
        "train_seconds": None if seconds is None else round(seconds, 1),
        "seconds_to_first_step": None if first is None else round(first - run.settings.started, 2),
        "images_per_s": None if run.throughput.images_per_s is None else round(run.throughput.images_per_s),
        "epochs": _whole_epochs(run),
        ENDED_BY: ended_by,
        **_last_training_figures(run),
    }


def adopt(run: Prepared) -> dict[str, Any]:
    """Load the weights of `ckpt_path` into the network in `run.task`, in place of a training; return what `fit` does.

    Nobody knows how long they were trained, but in epochs.
    """
    assert run.ckpt_path is not None, "runs/settings.py refuses train=false without one"
    checkpoint = read_checkpoint(run.ckpt_path)
    run.task.load_state_dict(checkpoint["state_dict"])
    what = "deploying" if run.settings.top.test else "test=false: deploying and validating, but not testing,"
    log.info("train=false: %s the weights of %s", what, run.ckpt_path)
    epoch = checkpoint.get("epoch")
    unknown = dict.fromkeys(("train_seconds", "seconds_to_first_step", "images_per_s"))
    return {**unknown, "epochs": None if epoch is None else epoch + 1, ENDED_BY: "train=false"}


@contextmanager
def _answering_guests(run: Prepared) -> Iterator[None]:
    """Say in one line, by its key, which callback of others' has failed, and how the run goes on."""
    try:
        yield
    except Exception as raised:
        error = before_on_exception(raised, run.callbacks)
        if error is not raised:
            log.warning(failed_guest(raised, run.callbacks))
        if isinstance(error, UserError):
            raise error  # noqa: B904  # what hid it has been told
        if isinstance(error, RuntimeError) and KILLED in str(error):
            raise UserError(f"{reason_of(error, 120)}; {resuming(run.resumable)}") from error
        if run.ckpt_path is not None and _was_being_read(error):
            raise UserError(f"ckpt_path={run.ckpt_path}: cannot be resumed ({reason_of(error)})") from error
        failure = failed_guest(error, run.callbacks)
        if failure is None:
            raise error  # noqa: B904  # what hid it has been told
        raise UserError(f"{failure}; {resuming(run.resumable)}") from error


def _whole_epochs(run: Prepared) -> int:
    """Return how many epochs have been trained to their end; Lightning counts one that was cut short, too."""
    loop = run.trainer.fit_loop
    return run.trainer.current_epoch - (0 if loop.epoch_loop.batch_progress.is_last_batch else 1)


def _ended_by(run: Prepared) -> str:
    """Return the key of what ended the training: its length, a time limit, or a callback."""
    epochs = _whole_epochs(run)
    if epochs >= (run.trainer.max_epochs or 0):
        return MAX_EPOCHS
    timers = [callback for callback in run.trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    if any((timer.time_remaining() or 0.0) <= 0 for timer in timers):
        return MAX_TIME
    stopping = [name for name, each in run.callbacks.items() if getattr(each, "stopped_epoch", None) == epochs - 1]
    return f"callbacks.{stopping[0]}" if stopping else "a callback"


def _was_being_read(error: BaseException) -> bool:
    """Whether an error arose while Lightning took over what a checkpoint holds."""
    calls = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [call.f_code.co_name for call in calls if call.f_globals.get("__name__") == READER]
    return any(name.startswith(("resume", "restore", "_restore")) for name in names)


def _last_training_figures(run: Prepared) -> dict[str, float | None]:
    """Training figures of the last epoch; an earlier run trained it if this one had only its deployment left."""
    history, found = read_history(run.settings.folder), dict[str, float | None]()
    for figure in (figure for figure in run.task.objective.figures if figure.training):
        curve = history.get(f"train/{figure.name}", {})
        found[figure.key("train")] = figure.recorded(curve[max(curve)]) if curve else None
    return found
