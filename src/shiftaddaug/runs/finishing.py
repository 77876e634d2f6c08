"""What is done at a run's end, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.runs.prepare import Prepared


@contextmanager
def finishing(run: Prepared) -> Iterator[None]:
    """Draw all figures of what the run has recorded, then let the next job of a multirun start afresh.

    Figures come last: one that takes for ever costs nothing. W&B is told whether the run failed.
    """
    try:
        yield
    except BaseException:
        _draw(run)
        _close(exit_code=1)
        raise
    _draw(run)
    _close(exit_code=0)


def _draw(run: Prepared) -> None:
    if run.trainer.is_global_zero:
        draw_figures(run.settings.folder, run.settings.catalogue, run.other_loggers, run.trainer.global_step)


def _close(exit_code: int) -> None:
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=exit_code)
