"""Where each callback stands among the others, and what it says of itself: whether it has anything to do.

A callback states its place by a class attribute, `stage`. The order in which a yaml lists callbacks decides only among
those of one stage. Between two stages there is room: `stage = Stage.REORDER + 1` comes after a reorder, and before what
has to follow one. A callback without a stage, such as one of Lightning's, has the place that `stage_of` says.

A callback that may have nothing to do has a method `idle(trainer, pl_module)`. It returns why, in words that can follow
"no effect, because", or None if the callback works. It is asked once, before training: when the network and the
trainer are built, and the optimisers are not. One that nobody gets without asking for it also states
`warn_when_idle = True`; of others, being idle is recorded in run.json and nothing is said.

A callback that states `sees_target = True` is also called when the deployed target is validated and tested, in the end.

A callback that changes nothing of what is trained states `only_watches = True`, a constant that is read from its source
(`runs/identity.py`): a run may be resumed with it or without it.
"""

import logging
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, WeightAveraging

log = logging.getLogger(__name__)


class Stage(IntEnum):
    """Places in the order, first to last."""

    TARGET = 10
    """Which layers and blocks the target has at this moment: later callbacks ask."""
    SUBNET = 20
    """Which augmented sub-network the next step trains."""
    SCALE = 30
    """Stored weights are brought to the scale in which a reorder compares them."""
    REORDER = 40
    """Channels change places, with all that belongs to them."""
    OPERATORS = 50
    """Operators update what they keep by channel, in the new order."""
    DIAGNOSE = 60
    """The network is looked at as the next step will train it."""
    SEED = 70
    """Random generators are seeded: what the callbacks above have drawn is forgotten."""
    SHOW = 80
    """A person is told what happens."""
    PICTURE = 85
    """Pictures are made of what is predicted."""
    AVERAGE = 90
    """Averages of the weights take their place for validation."""
    OTHER = 100
    """Callbacks that state nothing."""
    STATISTICS = 110
    """Batch-norm statistics are measured, with the weights that are validated."""
    MEASURE = 120
    """Time is taken of all the above."""
    SAVE = 130
    """Checkpoints. Lightning, too, moves them to the end."""
    SAVE_LAST = 140
    """The checkpoint that is resumed. It holds the state of the other ones, so that it is written after them."""


_OF_LIGHTNING = {WeightAveraging: Stage.AVERAGE, ProgressBar: Stage.SHOW, Checkpoint: Stage.SAVE}


def stage_of(callback: pl.Callback) -> int:
    """The place that a callback states; else that of Lightning's class which it is made from; else `Stage.OTHER`."""
    stated = getattr(callback, "stage", None)
    if isinstance(stated, int):
        return stated
    return next((stage for kind, stage in _OF_LIGHTNING.items() if isinstance(callback, kind)), Stage.OTHER)


def in_order(callbacks: Iterable[pl.Callback]) -> list[pl.Callback]:
    """Callbacks by stage; those of one stage in the order in which they are given."""
    return sorted(callbacks, key=stage_of)


def idle_reasons(callbacks: Mapping[str, pl.Callback], trainer: pl.Trainer, pl_module: Any) -> dict[str, str]:
    """Why callbacks have nothing to do, by their names; those that work are left out."""
    reasons = {name: _reason(callback, trainer, pl_module) for name, callback in callbacks.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(callback: pl.Callback, trainer: pl.Trainer, pl_module: Any) -> str | None:
    """The reason that a callback gives; one that cannot give any is taken for one that works."""
    idle = getattr(callback, "idle", None)
    if not callable(idle):
        return None
    try:
        reason: str | None = idle(trainer, pl_module)
        return reason
    except (Exception, SystemExit) as error:  # whatever the author's code does
        log.warning("%s cannot say whether it is idle (%s: %s)", type(callback).__name__, type(error).__name__, error)
        return None
