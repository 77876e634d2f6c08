"""Which sub-network of a supernet a forward pass uses. Imports no torch.

A `SubnetSpec` is a value: a forward pass is a function of (images, SubnetSpec). `Widening` says how far a plan is
widened, and draws augmented sub-networks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shiftaddaug.nets.plan import NetPlan
from shiftaddaug.nets.tables import make_divisible


@dataclass(frozen=True)
class SubnetSpec:
    """Active channels of every space, and what computes the target's part of each layer."""

    channels: tuple[int, ...]
    """In the order of the plan's spaces."""
    augmented: bool = False
    """Normalise with the batch's own statistics and leave the target's alone."""
    mult_layers: frozenset[str] = frozenset()
    """Layers (by name) whose target part multiplies in this pass, whatever their operator."""


@dataclass(frozen=True)
class Widening:
    """Width and expand augmentation of a plan (NetAug, arXiv 2110.08890, section 3.2)."""

    plan: NetPlan
    width_multipliers: tuple[float, ...] = (1.0,)
    expand_multipliers: tuple[float, ...] = (1.0,)
    divisor: int = 8
    """Augmented widths are rounded to multiples of it."""

    def channels(self, width: dict[str, float], expand: dict[str, float]) -> tuple[int, ...]:
        """Active channels, given a multiplier for each width space and one for each hidden space."""
        active = []
        for space in self.plan.spaces:
            factor = {"fixed": 1.0, "width": width.get(space.name, 1.0)}.get(space.kind)
            if factor is None:
                factor = width.get(space.parent, 1.0) * expand[space.name]
            active.append(space.channels if factor == 1.0 else make_divisible(space.channels * factor, self.divisor))
        return tuple(active)

    def max_channels(self) -> tuple[int, ...]:
        """Of the whole supernet."""
        return self._uniform(max(self.width_multipliers), max(self.expand_multipliers))

    def target(self) -> SubnetSpec:
        """The target, with every layer's own operator."""
        return SubnetSpec(self._uniform(1.0, 1.0))

    def _uniform(self, width: float, expand: float) -> tuple[int, ...]:
        names = [space.name for space in self.plan.spaces]
        return self.channels(dict.fromkeys(names, width), dict.fromkeys(names, expand))

    def sample(self, generator: random.Random, width: bool = True, expand: bool = True) -> SubnetSpec:
        """An augmented sub-network: a multiplier drawn for every space, uniformly and independently.

        Args:
            generator: all randomness comes from it.
            width, expand: False leaves that kind out (multiplier 1), once its share of training is over.
        """
        draw_width: Sequence[float] = self.width_multipliers if width else (1.0,)
        draw_expand: Sequence[float] = self.expand_multipliers if expand else (1.0,)
        names = [space.name for space in self.plan.spaces]
        widths = {name: generator.choice(draw_width) for name in names}
        expands = {name: generator.choice(draw_expand) for name in names}
        return SubnetSpec(self.channels(widths, expands), augmented=True)
