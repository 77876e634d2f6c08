"""The search space of a sweep: Hydra's sweep overrides as Optuna's distributions."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG = "log"
"""Tag of what is searched on a logarithmic scale."""


def read_space(overrides: Iterable[str]) -> tuple[dict[str, "BaseDistribution"], dict[str, str]]:
    """Return what is searched, as distributions by key, and what all trials share, as whole overrides by key.

    Args:
        overrides: in Hydra's syntax; a later one of a key wins, whether it begins with `+` or not. `choice`, `range`
            and `interval` (with `tag(log, ...)`) are searched. NOTE: a range ends before its stop, as in Hydra;
            hydra-optuna-sweeper took the stop in.

    Raises:
        UserError: a sweep that no distribution stands for.
    """
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        for known in (searched, fixed):
            for same in [each for each in known if each.lstrip("+~") == key.lstrip("+~")]:
                known.pop(same)
        if override.is_sweep_override():
            searched[key] = _distribution(override)
        else:
            fixed[key] = str(override.input_line)
    return searched, fixed


def _distribution(override: Override) -> "BaseDistribution":
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _range(value)
        if isinstance(value, ChoiceSweep | RangeSweep):
            return _choice(value)
    except (ValueError, ArithmeticError) as error:
        raise UserError(f"{override.input_line}: cannot be searched ({' '.join(str(error).split())})") from error
    raise UserError(f"{override.input_line}: cannot be searched; options: choice(...), range(...), interval(...)")


def _choice(value: ChoiceSweep | RangeSweep) -> "BaseDistribution":
    """Return the values as listed: their order means nothing, and a second call has to find the same ones."""
    from optuna.distributions import CategoricalDistribution

    elements = list(value.list or []) if isinstance(value, ChoiceSweep) else list(value.range())
    return CategoricalDistribution([_encoded(element) for element in elements])


def _encoded(element: Any) -> Any:
    """Return a number or a truth value as it is, all else as it can be typed: a text with the quotes that it needs."""
    value = Transformer.encode(element)
    if not isinstance(value, str):
        return value
    text = element.text if isinstance(element, QuotedString) else element
    if not isinstance(text, str):
        return value
    fitting = (typed for typed in (text, Transformer.str(element)) if _is_read_as(typed, text))
    return next(fitting, QuotedString(text, Quote.single).with_quotes())


def _is_read_as(typed: str, text: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(f"key={typed}").value() == text)
    except HydraException:
        return False


def _interval(value: IntervalSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, log = value.start, value.end, LOG in value.tags
    assert low is not None and high is not None
    if not math.isfinite(high - low):
        raise ValueError("both ends must be finite")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(value: RangeSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    values: Sequence[float] = [*value.range()] if _has_float(value) else cast("range", value.range())
    if not values:
        raise ValueError("it is empty")
    (low, high), step, log = sorted((values[0], values[-1])), abs(value.step), LOG in value.tags
    if log and step != 1:
        raise ValueError("a logarithmic range has steps of 1; options: tag(log, interval(...))")
    if _has_float(value):
        return FloatDistribution(float(low), float(high), step=float(step))
    return IntDistribution(int(low), int(high), step=int(step), log=log)


def _has_float(value: RangeSweep) -> bool:
    return any(isinstance(each, float) for each in (value.start, value.stop, value.step))


def grid_of(space: dict[str, "BaseDistribution"]) -> dict[str, Sequence[Any]]:
    """Return every value of each key, for a search of all combinations.

    Raises:
        UserError: a key with a continuum of values.
    """
    return {key: _values(key, distribution) for key, distribution in space.items()}


def _values(key: str, distribution: "BaseDistribution") -> Sequence[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        count = round((distribution.high - distribution.low) / distribution.step)
        return [distribution.low + i * distribution.step for i in range(count + 1)]
    raise UserError(f"{key}: an interval has no grid; options: choice(...), range(...), or another sampler")
