"""How long a run is: the quantities that the configuration of a schedule may ask for. Imports no torch."""

from dataclasses import dataclass, fields
from typing import Any

from shiftaddaug.errors import UserError

PREFIX = "run."
"""`total_steps: run.total_steps` in a schedule's yaml asks for the field `total_steps`."""


@dataclass(frozen=True)
class RunLength:
    """Length of a run, counted in the steps of a schedule: optimiser steps, or epochs."""

    total_steps: int
    steps_per_epoch: int
    epochs: int
    warmup_steps: int

    @classmethod
    def in_steps(cls, total_steps: int, epochs: int, warmup_epochs: float) -> "RunLength":
        """Count optimiser steps."""
        warmup = round(warmup_epochs * total_steps / epochs)
        return cls(total_steps, max(1, total_steps // epochs), epochs, warmup)

    @classmethod
    def in_epochs(cls, epochs: int, warmup_epochs: float) -> "RunLength":
        """Count epochs: a step of the schedule is one."""
        return cls(epochs, 1, epochs, round(warmup_epochs))

    def fill_in(self, key: str, value: Any) -> Any:
        """Return the quantity that the value of this key asks for; any other value as it is."""
        name = asked_for(key, value)
        return value if name is None else getattr(self, name)


QUANTITIES = tuple(field.name for field in fields(RunLength))


def asked_for(key: str, value: Any) -> str | None:
    """Name of the quantity that the value of this key asks for, if it asks for one.

    Raises:
        UserError: there is no such quantity.
    """
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    name = value.removeprefix(PREFIX)
    if name not in QUANTITIES:
        raise UserError(f"{key}={value}: no such quantity; options: {', '.join(PREFIX + q for q in QUANTITIES)}")
    return name
