"""The search space of a sweep: Hydra's sweep overrides as Optuna's distributions."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def read_space(overrides: Iterable[str]) -> tuple[dict[str, "BaseDistribution"], dict[str, str]]:
    """Return what is searched, and what all trials share, by key.

    Args:
        overrides: in Hydra's syntax; a later one of a key wins. `choice`, `range` and `interval` (with `tag(log, ...)`)
            are searched. NOTE: a range ends before its stop, as in Hydra; hydra-optuna-sweeper took the stop in.

    Raises:
        UserError: a sweep that no distribution stands for.
    """
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        searched.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            searched[key] = _distribution(override)
        else:
            fixed[key] = override.get_value_element_as_str()
    return searched, fixed


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution

    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _range(value)
        if isinstance(value, ChoiceSweep | RangeSweep):
            return CategoricalDistribution(list(_encoded(override)))
    except ValueError as error:
        raise UserError(f"{override.input_line}: cannot be searched ({' '.join(str(error).split())})") from error
    raise UserError(f"{override.input_line}: cannot be searched; options: choice(...), range(...), interval(...)")


def _encoded(override: Override) -> Iterable[Any]:
    yield from override.sweep_iterator(transformer=Transformer.encode)


def _interval(value: IntervalSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, log = value.start, value.end, "log" in value.tags
    assert low is not None and high is not None
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(value: RangeSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    start, stop, step = value.start, value.stop, value.step
    assert start is not None and stop is not None
    if any(isinstance(each, float) for each in (start, stop, step)):
        count = int((stop - start) / step - 1e-9)
        return FloatDistribution(float(start), float(start + count * step), step=float(step))
    return IntDistribution(int(start), int(start + (stop - start - 1) // step * step), step=int(step))


def grid_of(space: dict[str, "BaseDistribution"]) -> dict[str, list[Any]]:
    """Return every value of each key, for a search of all combinations.

    Raises:
        UserError: a key with a continuum of values.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    grid: dict[str, list[Any]] = {}
    for key, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            grid[key] = list(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            grid[key] = list(range(distribution.low, distribution.high + 1, distribution.step))
        elif isinstance(distribution, FloatDistribution) and distribution.step is not None:
            count = round((distribution.high - distribution.low) / distribution.step)
            grid[key] = [distribution.low + i * distribution.step for i in range(count + 1)]
        else:
            raise UserError(f"{key}: an interval has no grid; options: choice(...), range(...), or another sampler")
    return grid
