"""Which resolution and width to search at: TinyNAS' choice (MCUNet, arXiv 2007.10319, section 3.1). Imports no torch.

Of each resolution and width multiplier, networks are drawn; those that fit into the memory count. The space whose
fitting networks compute most is the best: in one family, more computation means more accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Candidates, Pricer
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nas.settings import SpaceSettings
from shiftaddaug.nas.space import Choices, largest_table
from shiftaddaug.nets.tables import plan_net

LEAST_FITTING = 0.01
"""Share of drawn networks that must fit: of fewer, quantiles say little."""


@dataclass(frozen=True)
class Setting:
    """A resolution and a width multiplier, and what networks drawn there need."""

    image_size: int
    width_mult: float
    macs: NDArray[np.float64]
    """MACs of the networks that fit, ascending."""
    drawn: int
    """How many were drawn, whether they fit or not."""
    least_sram_kib: float
    """What the smallest network takes."""
    least_flash_kib: float

    @property
    def fitting(self) -> float:
        """Share of the drawn networks that fit."""
        return len(self.macs) / self.drawn

    def quantile(self, share: float) -> float:
        """Return the MACs that this share of the fitting networks stays below; 0 where too few fit."""
        return float(np.quantile(self.macs, share)) if self.fitting >= LEAST_FITTING else 0.0

    def record(self, share: float) -> dict[str, Any]:
        """Return a row of a table."""
        return {
            "image_size": self.image_size,
            "width_mult": self.width_mult,
            "fitting_percent": round(100 * self.fitting, 1),
            "macs_quantile": round(self.quantile(share)),
            "least_sram_kib": round(self.least_sram_kib, 1),
            "least_flash_kib": round(self.least_flash_kib, 1),
        }


def settings_of(
    table: Mapping[str, Any],
    space: SpaceSettings,
    outputs: int,
    in_channels: int,
    hardware: Hardware,
    draws: int,
    seed: int,
) -> list[Setting]:
    """Draw networks at each resolution and width of a space, and price them.

    All multiply, in 8 bits a weight: operators decide energy and latency, and not which networks fit.

    Args:
        table: a net's yaml, as plain containers.
        space: what is drawn from.
        outputs: channels of the logits.
        in_channels: of images.
        hardware: whose SRAM and Flash limit them.
        draws: networks at each resolution and width.
        seed: all randomness comes from it; every setting draws the same choices.

    Raises:
        UserError: a table without a stage to search, or no resolution that the net can be built at.
    """
    mult = operators.settings_from({"name": "mult"})
    found, refused = [], []
    for size in space.image_sizes:
        for width in space.width_mults:
            try:
                plan = plan_net(largest_table(table, space, width), outputs, in_channels, size)
            except UserError as error:
                refused.append(str(error))
                continue
            choices = Choices(plan, space, table["divisor"])
            pricer = Pricer(plan, [mult], hardware)
            costs = pricer.price(_multiplied(choices.sample(np.random.default_rng(seed), draws)))
            least = pricer.price(_multiplied(choices.of([choices.smallest()])))
            found.append(_setting(size, width, costs, least, hardware))
    if not found:
        raise UserError(refused[0])
    return found


def _multiplied(candidates: Candidates) -> Candidates:
    return replace(candidates, operators=np.zeros_like(candidates.operators))


def _setting(
    size: int,
    width: float,
    costs: Mapping[str, NDArray[np.float64]],
    least: Mapping[str, NDArray[np.float64]],
    hardware: Hardware,
) -> Setting:
    sram, flash = costs["peak_sram_kib"], costs["flash_kib"]
    most_sram, most_flash = (np.inf if most is None else most for most in (hardware.sram_kib, hardware.flash_kib))
    fits = (sram <= most_sram) & (flash <= most_flash)
    smallest = float(least["peak_sram_kib"][0]), float(least["flash_kib"][0])
    return Setting(size, width, np.sort(costs["macs"][fits]), len(sram), *smallest)


def choose(settings: Sequence[Setting], hardware: Hardware, share: float) -> Setting:
    """Return the setting whose fitting networks compute most, by a quantile of their MACs.

    Raises:
        UserError: nothing fits; which limit binds, and the smallest value that can be reached.
    """
    best = max(settings, key=lambda each: each.quantile(share))
    if best.quantile(share):
        return best
    limits = {"sram_kib": hardware.sram_kib, "flash_kib": hardware.flash_kib}
    for key, most in limits.items():
        least = min(getattr(each, f"least_{key}") for each in settings)
        if most is not None and least > most:
            raise UserError(
                f"hardware.{key}={most:g}: no network of the space takes less than {least:.1f} KiB; options: smaller "
                f"space.image_sizes or space.width_mults, or another hardware"
            )
    raise UserError(
        f"hardware={hardware.name}: less than {100 * LEAST_FITTING:g} % of the networks fit, at any resolution and "
        f"width; options: smaller space.image_sizes or space.width_mults, or another hardware"
    )
