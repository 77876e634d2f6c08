"""The optimiser and the schedule of a run, from its configuration."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from shiftaddaug.errors import UserError
from shiftaddaug.tasks.optim_settings import OptimSettings
from shiftaddaug.tasks.scheduler import Scheduler

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""Parameter groups to optimiser."""


def build_optim(optim: OptimSettings, epochs: int) -> tuple[MakeOptimizer, Scheduler]:
    """Return what makes the optimiser and its schedule once there are parameters and data.

    Both are tried on a weight: what they say of their arguments they say only when they are made.

    Args:
        optim: settings of the group.
        epochs: of the run.

    Raises:
        UserError: one of them cannot be made.
    """
    with _answering("optim.optimizer"):
        _refuse_unknown(optim.optimizer)
        make: MakeOptimizer = instantiate(optim.optimizer)
        matrix, vector = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        tried = make([{"params": [matrix]}, {"params": [vector], "weight_decay": 0.0}])
    with _answering("optim.scheduler"):
        scheduler = _scheduler(optim)
        scheduler(tried, total_steps=100 * epochs, epochs=epochs)
    return make, scheduler


def _refuse_unknown(optimizer: Mapping[str, Any]) -> None:
    """Refuse a name that timm does not know.

    Raises:
        UserError: naming those that are spelt nearly so.
    """
    name, factory = optimizer.get("opt"), str(optimizer.get("_target_"))
    if not isinstance(name, str) or not factory.startswith("timm.optim."):
        return
    from timm.optim import list_optimizers

    known = [str(each) for each in list_optimizers()]
    if name.lower().removeprefix("lookahead_") not in known:
        near = get_close_matches(name.lower(), known, n=5, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"optim.name={name}: no such optimiser of timm; {hint}options: timm.optim.list_optimizers()")


def _scheduler(optim: OptimSettings) -> Scheduler:
    node: dict[str, Any] = dict(optim.scheduler)
    interval = node.pop("interval", "step")
    make = instantiate(node, _convert_="all")
    if not isinstance(make, partial):
        raise UserError("optim.scheduler: needs `_partial_: true`, for the optimiser is made later")
    return Scheduler(make, interval, optim.warmup_epochs)


@contextmanager
def _answering(key: str) -> Iterator[None]:
    """Say in one line, by key, what the code that a configuration names does not like."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        raise UserError(f"{key}: {' '.join(str(reason).split())}") from error
