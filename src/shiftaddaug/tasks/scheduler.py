"""A schedule that waits for its optimiser and for the length of the run."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.optim import Optimizer

from shiftaddaug.errors import UserError
from shiftaddaug.settings import shown
from shiftaddaug.tasks.run_length import RunLength
from shiftaddaug.tasks.schedule import cosine

ASKED: dict[str, Any] = {"total_steps": "run.total_steps", "warmup_steps": "run.warmup_steps"}
"""What the schedules with a warm-up ask of a run."""


class EachEpoch:
    """Advance a scheduler by one step an epoch, while it is called after every optimiser step.

    Lightning advances schedules that count epochs after it has written the epoch's checkpoint: a resumed run would be
    one epoch behind.

    Args:
        scheduler: of torch.
        steps_per_epoch: optimiser steps.
    """

    def __init__(self, scheduler: Any, steps_per_epoch: int) -> None:
        self.scheduler, self.optimizer, self.steps_per_epoch = scheduler, scheduler.optimizer, steps_per_epoch
        self.steps = 0

    def step(self) -> None:
        """Count an optimiser step; the last one of an epoch advances the scheduler."""
        self.steps += 1
        if self.steps % self.steps_per_epoch == 0:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the count and of the scheduler, for the checkpoint."""
        return {"steps": self.steps, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.steps = state_dict["steps"]
        self.scheduler.load_state_dict(state_dict["scheduler"])


class Lengthened:
    """Let a scheduler go on where a shorter run has ended, as in a run of its own length.

    What the checkpoint holds of the shorter run's schedule is not taken over. Many of torch's compute a rate from the
    one before it: where a cosine has come down to 0, such a rate would stay 0. The schedule is stepped from the
    beginning instead, on an optimiser of its own, and what it sets there is set here: rates, momenta.

    Args:
        scheduler: of the longer run.
        alike: makes another such scheduler, of a new optimiser.
        steps_done: returns how many steps the optimiser has made.
    """

    def __init__(self, scheduler: Any, alike: Callable[[], Any], steps_done: Callable[[], int]) -> None:
        self.scheduler, self.optimizer = scheduler, scheduler.optimizer
        self._alike, self._steps_done = alike, steps_done

    def step(self) -> None:
        """Advance the scheduler."""
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the scheduler itself: a resumed run reads it as any other."""
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to where the shorter run has ended; the optimiser's state has been loaded before."""
        replayed = self._alike()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before")
            for _ in range(self._steps_done()):
                replayed.step()
        self.scheduler.load_state_dict(replayed.state_dict())
        for ours, theirs in zip(self.optimizer.param_groups, replayed.optimizer.param_groups, strict=True):
            ours.update({key: theirs[key] for key in SCHEDULED if key in theirs})


SCHEDULED = ("lr", "momentum", "betas")
"""What schedules set in an optimiser's groups."""


@dataclass(frozen=True)
class Scheduler:
    """A torch scheduler, or what has its `step`, `state_dict` and `load_state_dict`, still to be made."""

    make: "partial[Any]"
    """Takes the optimiser. Keywords whose value is `run.<name>` ask for a quantity of `RunLength`."""
    interval: str = "step"
    """What the schedule counts: `step` or `epoch`."""
    warmup_epochs: float = 0.0

    def __call__(self, optimizer: Optimizer, total_steps: int, epochs: int) -> Any:
        """Make the scheduler, to be advanced after every optimiser step.

        Args:
            optimizer: whose learning rates it sets.
            total_steps: optimiser steps of the run.
            epochs: of the run.

        Raises:
            UserError: an argument that the scheduler does not take, or whose value is no number where it takes one.
        """
        length = RunLength.in_steps(total_steps, epochs, self.warmup_epochs)
        counted = RunLength.in_epochs(epochs, self.warmup_epochs) if self.interval == "epoch" else length
        arguments = {key: counted.fill_in(f"optim.scheduler.{key}", value) for key, value in self.make.keywords.items()}
        check_arguments(self.make.func, arguments)
        scheduler = self.make.func(optimizer, **arguments)
        return EachEpoch(scheduler, length.steps_per_epoch) if self.interval == "epoch" else scheduler


COSINE = Scheduler(partial(cosine, **ASKED))
"""Cosine without warm-up, down to 0."""


def check_arguments(function: Callable[..., Any], arguments: dict[str, Any], called: str | None = None) -> None:
    """Refuse arguments that a function, whose first is the optimiser, does not take.

    Args:
        function: which is to be called.
        arguments: all but the first.
        called: what messages call the function.

    Raises:
        UserError: naming the first argument that it does not take, and those that it takes; or the first value that
            is no number where it takes one.
    """
    parameters = dict(list(inspect.signature(function).parameters.items())[1:])
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in arguments.items():
        if key not in parameters and not any_name:
            options = ", ".join(parameters)
            name = called or function.__name__
            raise UserError(f"optim.scheduler.{key}={shown(value)}: no such argument of {name}; options: {options}")
        kind = parameters[key].annotation if key in parameters else None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if getattr(kind, "__name__", kind) in ("int", "float") and not number:
            raise UserError(f"optim.scheduler.{key}={shown(value)}: must be a number")
