"""Errors that are for people."""

from dataclasses import dataclass


class UserError(ValueError):
    """A mistake its author can mend: one line that names the key, the bad value and the options.

    The commands print it as `error: ...` and exit with status 2, without a traceback. What does not print, such as a
    line break in the name of a file, is written as an escape.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class UnknownKey(UserError):
    """A key that its group does not have; `key` is its whole name."""

    def __init__(self, key: str, value: str, options: str) -> None:
        super().__init__(f"{key}={value}: no such key; {options}")
        self.key = key


class TrialPruned(Exception):
    """A search stops this trial, which is behind the others; the line says after how many epochs."""


class TrainingDiverged(UserError):
    """The loss is no longer a number; the line says at which step, and which checkpoint is still good."""


@dataclass(frozen=True)
class Failed:
    """What a job of a multirun returns that could not be run."""

    message: str
    """The line that says why."""
    by_mistake: bool
    """Whether the configuration is refused; else training with it diverged."""


DAMAGE = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    AssertionError,
    RecursionError,
)
"""What code raises that is given the content of a damaged file, or of one that another version wrote."""


def reason_of(error: BaseException, longest: int = 400) -> str:
    """Return the kind and the message of an error that some other code raised, in one line and no longer than that."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:longest]}" if message else type(error).__name__


def printable(value: object) -> str:
    """Return a value as text in one line, fit for every log: what does not print is written as an escape."""
    text = str(value)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
