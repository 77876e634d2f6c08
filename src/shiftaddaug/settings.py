"""Check single values of a configuration: each function names the key, the value and what it may be."""

import math
from collections.abc import Sequence
from typing import Any

from shiftaddaug.errors import UserError


def check_positive_integer(key: str, value: Any) -> None:
    """Refuse what is no integer >= 1.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{key}={value}: must be a positive integer")


def check_option(key: str, value: Any, options: Sequence[str]) -> None:
    """Refuse a value that, written as text, is none of the options.

    Raises:
        UserError: it is none.
    """
    if str(value) not in options:
        raise UserError(f"{key}={value}: no such option; options: {', '.join(options)}")


def check_number(
    key: str, value: Any, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Refuse what is no finite number within all limits given.

    Raises:
        UserError: it is none.
    """
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    low = (above is None or value > above) and (at_least is None or value >= at_least) if finite else False
    if low and (at_most is None or value <= at_most):
        return
    limits = {"> ": above, ">= ": at_least, "<= ": at_most}
    wanted = " and ".join(f"{sign}{limit}" for sign, limit in limits.items() if limit is not None)
    raise UserError(f"{key}={value}: must be a number {wanted}")
