"""Callbacks that others wrote, Lightning's among them: a run says which of them failed, by its key."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.errors import reason_of

PACKAGE = "shiftaddaug"
LIGHTNINGS = ("lightning", "pytorch_lightning")
ON_EXCEPTION = "on_exception"
"""The hook in which callbacks are told of an error."""


def failed_guest(error: BaseException, callbacks: Mapping[str, pl.Callback]) -> str | None:
    """Return what to say of an error that a guest raised; None if none did.

    Args:
        error: as it left the trainer.
        callbacks: of the run, by their names in the configuration.
    """
    found = _guest_at_work(error, callbacks)
    if found is None:
        return None
    name, frames = found
    place = "" if _top(callbacks[name]) in LIGHTNINGS else f" at {_place(*frames[-1])}"
    return f"callbacks.{name}: failed in {frames[0][0].f_code.co_name}{place} ({reason_of(error)})"


def before_on_exception(error: BaseException, callbacks: Mapping[str, pl.Callback]) -> BaseException:
    """Return the error that a run ended with; another one, which a guest raised when it was told, hides it."""
    found = _guest_at_work(error, callbacks)
    told = found is not None and any(frame.f_code.co_name == ON_EXCEPTION for frame, _ in found[1])
    return error.__context__ if told and error.__context__ is not None else error


Frame = tuple[FrameType, int]
"""A call, and the line that it was at."""


def _guest_at_work(error: BaseException, callbacks: Mapping[str, pl.Callback]) -> tuple[str, list[Frame]] | None:
    """Return the name of the callback that was at work, if it is a guest, and its calls, the outermost first.

    Of callbacks that call each other, as one that saves asks the others for their state, it is the innermost.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    names = [name for frame, _ in frames if (name := _name_in(frame, callbacks)) is not None]
    if not names or _top(callbacks[names[-1]]) == PACKAGE:
        return None
    own = [each for each in frames if _name_in(each[0], callbacks) == names[-1]]
    hooks = [each for each in own if "self" in each[0].f_locals]  # what has none is a function, or Lightning's call
    return names[-1], hooks or own


def _name_in(frame: FrameType, callbacks: Mapping[str, pl.Callback]) -> str | None:
    """Return the name of the callback whose method a call is, or whose hook Lightning calls there."""
    values = [frame.f_locals.get(variable) for variable in ("self", "callback")]
    return next((name for name, callback in callbacks.items() if any(value is callback for value in values)), None)


def _top(callback: Any) -> str:
    return type(callback).__module__.partition(".")[0]


def _place(frame: FrameType, line: int) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{Path(*path.parts[-3:])}:{line}"
