"""Hard limits on what networks cost: which keep them, and what can be had. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.nas.space import Choices

DRAWN_AT_ONCE = 2000
"""Networks that are priced together where some are wanted that keep the limits."""
MOST_DRAWN = 50
"""How often that is tried."""


@dataclass(frozen=True)
class Limits:
    """What networks may cost, by the name of the cost."""

    most: Mapping[str, float]
    key: str = "limits"
    """Where they stand in the configuration."""

    def named(self, cost: str) -> str:
        """Return the key of a cost's limit; the names of energy and latency say in which mode they are counted."""
        return f"{self.key}.{cost.removesuffix('_fair').removesuffix('_paper')}"

    def excess(self, costs: Mapping[str, Any]) -> list[Any]:
        """Return by which share of it each limit is broken; at most 0 keeps it."""
        return [(costs[name] - most) / most for name, most in self.most.items()]

    def kept(self, costs: Mapping[str, Any]) -> Any:
        """Return which networks keep all limits, as a mask."""
        count = len(next(iter(costs.values())))
        return np.all([excess <= 0 for excess in self.excess(costs)] or [np.ones(count, bool)], axis=0)


def cheapest(choices: Choices, pricer: Pricer, cost: str) -> dict[str, Any]:
    """Return the point of the smallest network whose layers have the operators that make it cheapest.

    Operators of different layers are independent of each other in all costs but peak SRAM, which they do not change.
    """
    point = choices.smallest()
    searched = [(name, options) for name, options in choices.parameters.items() if name.startswith("operator.")]
    tried = [{**point, name: option} for name, options in searched for option in options]
    prices = iter(pricer.price(choices.of(tried))[cost] if tried else ())
    for name, options in searched:
        prices_of = {option: float(next(prices)) for option in options}
        point[name] = min(prices_of, key=lambda option: prices_of[option])
    return point


def refuse_unreachable(choices: Choices, pricer: Pricer, limits: Limits) -> None:
    """Refuse limits that no network keeps.

    Raises:
        UserError: which one binds, and the smallest value that can be reached.
    """
    for name, most in limits.most.items():
        least = float(pricer.price(choices.of([cheapest(choices, pricer, name)]))[name][0])
        if least > most:
            raise UserError(f"{limits.named(name)}={most:g}: no network of the space has less than {least:.4g}")


def drawn_within(
    choices: Choices, pricer: Pricer, limits: Limits, generator: np.random.Generator, count: int
) -> list[dict[str, Any]]:
    """Return networks that keep the limits, drawn uniformly from those that do; fewer where few do."""
    found: list[dict[str, Any]] = []
    for _ in range(MOST_DRAWN):
        drawn = choices.draw(generator, DRAWN_AT_ONCE)
        kept = limits.kept(pricer.price(choices.of(drawn)))
        found += [point for point, keeps in zip(drawn, kept, strict=True) if keeps]
        if len(found) >= count:
            break
    return found[:count]
