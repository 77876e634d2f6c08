"""Which sub-network of a supernet a forward pass uses. Imports no torch.

A `SubnetSpec` is a value: a forward pass is a function of (images, SubnetSpec). `Widening` says how far a plan is
widened and deepened, and draws augmented sub-networks.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

from shiftaddaug.nets.entry import make_divisible
from shiftaddaug.nets.extras import ExtraBlock, deepened
from shiftaddaug.nets.nodes import Space
from shiftaddaug.nets.plan import Plan


@dataclass(frozen=True)
class SubnetSpec:
    """Active channels of every space, kernels, skipped blocks, and what computes the target's part of each layer.

    Raises:
        ValueError: fields of a wrong type or range, or that contradict each other.
    """

    channels: tuple[int, ...]
    """Active channels in the order of `Widening.spaces`, from 1 to the widest."""
    augmented: bool = False
    """Normalise with the batch's own statistics and leave the target's alone."""
    multiplied: frozenset[str] = frozenset()
    """Layers (by name) whose target part multiplies in this pass, whatever their operator."""
    blends: tuple[tuple[str, float], ...] = ()
    """Layers that mix both: name and share a of the operator in y = a op(x) + (1 - a) mult(x), in [0, 1]."""
    kernels: tuple[tuple[str, int], ...] = ()
    """Convolutions whose kernel is smaller than the plan's: name and side, odd."""
    skipped: frozenset[str] = frozenset()
    """Blocks (units of the plan, and extra ones) that pass on what they read."""
    fades: tuple[tuple[str, float], ...] = ()
    """Blocks on their way out: name and factor a on the residual branch in y = x + a f(x), in (0, 1)."""
    operators: tuple[tuple[str, str], ...] = ()
    """Layers whose target part has another operator in this pass: name, and that of one of the supernet's
    `alternatives`."""

    def __post_init__(self) -> None:
        _refuse_unless(isinstance(self.channels, tuple), "channels", "a tuple of whole numbers")
        for channels in self.channels:
            _refuse_unless(type(channels) is int and channels >= 1, f"channels: {channels!r}", "a whole number >= 1")
        _refuse_unless(isinstance(self.augmented, bool), f"augmented={self.augmented!r}", "True or False")
        for key in ("multiplied", "skipped"):
            _refuse_unless(isinstance(getattr(self, key), frozenset), key, "a frozenset of names")
        for key in ("blends", "kernels", "fades", "operators"):
            _refuse_doubles(key, getattr(self, key))
        for name, kernel in self.kernels:
            _refuse_unless(type(kernel) is int and kernel % 2 == 1, f"kernels: {name}: {kernel!r}", "an odd number")
        for name, share in self.blends:
            _refuse_unless(0 <= share <= 1, f"blends: {name}: {share!r}", "a share in [0, 1]")
        for name, factor in self.fades:
            _refuse_unless(0 < factor < 1, f"fades: {name}: {factor!r}", "a factor in (0, 1)")
        for name, operator in self.operators:
            _refuse_unless(isinstance(operator, str), f"operators: {name}: {operator!r}", "the name of an alternative")
        blended = {name for name, _ in self.blends}
        both = self.multiplied & blended
        _refuse_unless(not both, f"blends: {', '.join(sorted(both))}", "layers that are not in `multiplied`")
        both = (self.multiplied | blended) & {name for name, _ in self.operators}
        _refuse_unless(not both, f"operators: {', '.join(sorted(both))}", "layers that neither multiply nor blend")
        both = self.skipped & {name for name, _ in self.fades}
        _refuse_unless(not both, f"fades: {', '.join(sorted(both))}", "blocks that are not in `skipped`")

    def at_depth(self, blocks: Collection[str], active: Collection[tuple[str, float]]) -> "SubnetSpec":
        """Return this spec with the active ones of some blocks and without the others.

        Args:
            blocks: names of the blocks.
            active: name and factor in [0, 1] on the residual branch of those that are not skipped.
        """
        factors = {name: factor for name, factor in active if factor}
        fades = (*(fade for fade in self.fades if fade[0] not in blocks), *factors.items())
        skipped = (self.skipped - set(blocks)) | (set(blocks) - factors.keys())
        return replace(self, skipped=skipped, fades=tuple(fade for fade in fades if fade[1] < 1))

    def around(self, target: "SubnetSpec") -> "SubnetSpec":
        """Return these channels, kernels and blocks around that target: what they share is computed as the target's.

        Blocks that are left out here and not in the target are computed as there.
        """
        returned = self.skipped - target.skipped
        fades = self.fades + tuple(fade for fade in target.fades if fade[0] in returned)
        skipped = self.skipped & target.skipped
        around = replace(self, skipped=skipped, fades=fades, operators=target.operators)
        return replace(around, multiplied=target.multiplied, blends=target.blends)


def _refuse_unless(holds: bool, what: str, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{what}: must be {wanted}")


def _refuse_doubles(key: str, pairs: Any) -> None:
    _refuse_unless(isinstance(pairs, tuple) and all(type(pair) is tuple for pair in pairs), key, "a tuple of pairs")
    names = [name for name, _ in pairs]
    _refuse_unless(len(set(names)) == len(names), f"{key}: {names}", "names that stand there once")


@dataclass(frozen=True)
class Widening:
    """Width and expand augmentation of a plan (NetAug, arXiv 2110.08890, section 3.2), and depth augmentation."""

    plan: Plan
    width_multipliers: tuple[float, ...] = (1.0,)
    expand_multipliers: tuple[float, ...] = (1.0,)
    divisor: int = 8
    """Augmented widths are rounded to multiples of it."""
    extra_blocks: tuple[ExtraBlock, ...] = ()
    """Extra blocks in forward order."""
    choices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Widths that some spaces of the plan are drawn from, ascending, the target's first; multipliers are (1,) then.
    The spaces of an extra block are drawn as those of the block that it is built as."""

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Spaces of the plan, then the extra blocks' own."""
        return self.plan.spaces + tuple(space for extra in self.extra_blocks for space in extra.spaces)

    def index(self) -> dict[str, int]:
        """Position in `spaces` by space name."""
        return {space.name: i for i, space in enumerate(self.spaces)}

    def deepened(self) -> Plan:
        """The plan with the extra blocks in it, and so with all of `spaces`."""
        return deepened(self.plan, self.extra_blocks)

    def extras(self) -> frozenset[str]:
        """Names of the extra blocks: the target skips them."""
        return frozenset(extra.name for extra in self.extra_blocks)

    def channels(self, width: dict[str, float], expand: dict[str, float]) -> tuple[int, ...]:
        """Active channels, given a multiplier for each width space and one for each hidden space."""
        active = []
        for space in self.spaces:
            factor = {"fixed": 1.0, "width": width.get(space.name, 1.0)}.get(space.kind)
            if factor is None:
                factor = width.get(space.parent, 1.0) * expand[space.name]
            widened = make_divisible(space.channels * factor, self.divisor)
            active.append(space.channels if factor == 1.0 else max(space.channels, widened))
        return tuple(active)

    @cached_property
    def drawn_from(self) -> dict[str, tuple[int, ...]]:
        """The choices by space, those of extra blocks too. Nobody may change the dict."""
        drawn = dict(self.choices)
        for extra in self.extra_blocks:
            for space in extra.spaces:
                model = extra.model + space.name.removeprefix(extra.name)
                if model in drawn:
                    drawn[space.name] = drawn[model]
        return drawn

    def max_channels(self) -> tuple[int, ...]:
        """Channels of the whole supernet."""
        return self.widest()

    def widest(self, width: bool = True, expand: bool = True) -> tuple[int, ...]:
        """Channels of the widest sub-network; False leaves the target's where that kind would widen them."""
        channels = self._uniform(
            max(self.width_multipliers) if width else 1.0, max(self.expand_multipliers) if expand else 1.0
        )
        return self._chosen(channels, lambda space, widths: widths[-1] if self._widened(space, width, expand) else 0)

    def widens(self, width: bool = True, expand: bool = True) -> bool:
        """Whether any space is wider than in the target, with the largest multipliers of these kinds, rounded."""
        return self.widest(width, expand) != tuple(space.channels for space in self.spaces)

    def largest_multipliers(self) -> tuple[float, float]:
        """How many times as wide as in the target any width space, and any hidden one, can be in a `uniform` spec."""
        largest = {"width": max(self.width_multipliers), "hidden": max(self.expand_multipliers)}
        for space in self.spaces:
            if space.name in self.drawn_from:
                ratio = ceil(100 * self.drawn_from[space.name][-1] / space.channels) / 100
                largest[space.kind] = max(largest[space.kind], ratio)
        return largest["width"], largest["hidden"]

    def target(self) -> SubnetSpec:
        """The final target: every layer's own operator, no extra block."""
        return self.uniform(1.0, 1.0)

    def uniform(self, width_multiplier: float, expand_multiplier: float) -> SubnetSpec:
        """Every layer widened alike, without extra blocks, normalised with running statistics: to be evaluated.

        Where widths are drawn from choices, spaces have the widest that is at most so many times as wide as in the
        target, and the others the target's.
        """

        def fitting(space: Space, widths: tuple[int, ...]) -> int:
            factor = width_multiplier * (1.0 if space.kind == "width" else expand_multiplier)
            return max((each for each in widths if each <= space.channels * factor), default=0)

        if not self.choices:
            return SubnetSpec(self._uniform(width_multiplier, expand_multiplier), skipped=self.extras())
        return SubnetSpec(self._chosen(self._uniform(1.0, 1.0), fitting), skipped=self.extras())

    def _chosen(self, channels: tuple[int, ...], choose: Callable[[Space, tuple[int, ...]], int]) -> tuple[int, ...]:
        """Return channels of all spaces, those that are drawn from choices chosen anew, 0 being the target's."""
        if not self.choices:
            return channels
        return tuple(
            choose(space, self.drawn_from[space.name]) or space.channels if space.name in self.drawn_from else count
            for space, count in zip(self.spaces, channels, strict=True)
        )

    @staticmethod
    def _widened(space: Space, width: bool, expand: bool) -> bool:
        return width if space.kind == "width" else expand

    def _uniform(self, width: float, expand: float) -> tuple[int, ...]:
        names = [space.name for space in self.spaces]
        return self.channels(dict.fromkeys(names, width), dict.fromkeys(names, expand))

    def sample(
        self, generator: random.Random, width: bool = True, expand: bool = True, depth: bool = True
    ) -> SubnetSpec:
        """An augmented sub-network: a multiplier, or a width, drawn for every space, uniformly and independently.

        All extra blocks are active. What is drawn for the plan's spaces does not depend on them.

        Args:
            generator: all randomness comes from it.
            width, expand, depth: False leaves that kind out (multiplier 1, no extra block), once its share of
                training is over.
        """
        draw_width: Sequence[float] = self.width_multipliers if width else (1.0,)
        draw_expand: Sequence[float] = self.expand_multipliers if expand else (1.0,)
        names = [space.name for space in self.plan.spaces]
        widths = {name: generator.choice(draw_width) for name in names}
        expands = {name: generator.choice(draw_expand) for name in names}
        expands |= {space.name: generator.choice(draw_expand) for space in self.spaces[len(names) :]}
        skipped = frozenset[str]() if depth else self.extras()
        channels = self._chosen(
            self.channels(widths, expands),
            lambda space, each: generator.choice(each if self._widened(space, width, expand) else each[:1]),
        )
        return SubnetSpec(channels, augmented=True, skipped=skipped)
