"""What is done at a run's end, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.harmless import harmless
from shiftaddaug.runs.prepare import Prepared
from shiftaddaug.runs.processes import resuming


@contextmanager
def finishing(run: Prepared) -> Iterator[None]:
    """Draw all figures of what the run has recorded, then let the next job of a multirun start afresh.

    Figures come last: one that takes for ever costs nothing. W&B is told whether the run failed.

    Raises:
        KeyboardInterrupt: Ctrl-C, at whichever step; its arguments say how to resume.
    """
    try:
        yield
    except BaseException as error:
        _draw(run)
        _close(exit_code=1)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(*_how_to_resume(run)) from None
        raise
    _draw(run)
    _close(exit_code=0)


def _how_to_resume(run: Prepared) -> list[str]:
    return [] if run.resumable is None else [resuming(run.resumable)]


def _draw(run: Prepared) -> None:
    if run.trainer.is_global_zero:
        draw_figures(run.settings.folder, run.settings.catalogue, run.loggers, run.trainer.global_step)


def _close(exit_code: int) -> None:
    if "wandb" in sys.modules:
        with harmless("W&B could not be told that the run has ended"):
            sys.modules["wandb"].finish(exit_code=exit_code)
    if "comet_ml" in sys.modules:  # which would go on with the same experiment in the next job
        with harmless("Comet could not be told that the run has ended"):
            experiment = sys.modules["comet_ml"].get_running_experiment()
            if experiment is not None:
                experiment.end()
