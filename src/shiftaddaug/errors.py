"""Errors that are for people."""


class UserError(ValueError):
    """A mistake its author can mend: one line that names the key, the bad value and the options.

    The commands print it as `error: ...` and exit with status 2, without a traceback.
    """


class TrainingDiverged(UserError):
    """The loss is no longer a number; the line says at which step, and which checkpoint is still good."""


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
