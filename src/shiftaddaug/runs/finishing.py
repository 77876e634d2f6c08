"""What is done at a run's end, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.harmless import harmless
from shiftaddaug.runs.again import command
from shiftaddaug.runs.prepare import Prepared


@dataclass
class Ending:
    """How far a run has come."""

    trained: bool = False
    """Whether all that is left is its deployment."""


@contextmanager
def finishing(run: Prepared) -> Iterator[Ending]:
    """Draw all figures of what the run has recorded, then let the next job of a multirun start afresh.

    Figures come last: one that takes for ever costs nothing. W&B is told whether the run failed.

    Raises:
        KeyboardInterrupt: Ctrl-C, at whichever step; its arguments say how to resume.
    """
    ending = Ending()
    try:
        yield ending
    except BaseException as error:
        _draw(run)
        _close(exit_code=1)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(*_how_to_resume(run, ending)) from None
        raise
    _draw(run)
    _close(exit_code=0)


def _how_to_resume(run: Prepared, ending: Ending) -> list[str]:
    if run.resumable is None:
        return []
    again = command(run.settings.typed, run.resumable)
    if ending.trained:
        return [f"training has finished, deployment has not: {again} deploys and tests"]
    return [f"{again} resumes from the last finished epoch"]


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
