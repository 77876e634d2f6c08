"""Keys of a search space (configs/space). Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.nets.settings import Kernel, LayerNames, WidthOrShare
from shiftaddaug.settings import PositiveInt, PositiveNumber, Weight, check_group, shown

Sizes = Annotated[list[PositiveInt], Meta(min_length=1, title="a list of sides of images (px), such as [16,32]")]
WidthMults = Annotated[list[WidthOrShare], Meta(min_length=1, title="a list of numbers > 0, such as [0.2,0.35]")]
Kernels = Annotated[list[Kernel], Meta(min_length=1, title="a list of odd numbers, such as [3,5,7]")]
Expand = Annotated[float, Meta(gt=0, le=100)]
Expands = Annotated[list[Expand], Meta(min_length=1, title="a list of numbers > 0, such as [3,4,6]")]
Share = Annotated[float, Meta(gt=0, le=1)]
Shares = Annotated[list[Share], Meta(min_length=1, title="a list of shares > 0 and <= 1, such as [0.5,1.0]")]
Names = Annotated[list[str], Meta(min_length=1, title="a list of operators, such as [mult,shift]")]


@dataclass(frozen=True)
class SpaceSettings:
    """What the networks of a space may be, within the largest one that a net's table describes."""

    name: str
    source: str
    image_sizes: Sizes
    """Sides of square images, in pixels."""
    width_mults: WidthMults
    """Width multipliers of the table."""
    kernels: Kernels
    expand_ratios: Expands
    least_depth: PositiveInt
    """Blocks that a stage keeps at least."""
    widths: Shares
    """Shares of a stage's channels."""
    operators: Names
    """What a layer may compute with."""
    mult_layers: LayerNames
    """Groups of layers that multiply whatever is searched (stem, blocks, se, head, classifier)."""

    def __post_init__(self) -> None:
        for key in ("image_sizes", "width_mults", "kernels", "expand_ratios", "widths", "operators"):
            values = getattr(self, key)
            if len({*values}) < len(values):
                raise UserError(f"space.{key}={shown(values)}: names one twice")


@dataclass(frozen=True)
class LimitSettings:
    """Keys of `limits`: what a target may cost at most; null is no limit."""

    mode: Literal["fair", "paper"] = "fair"
    """How energy and latency are counted."""
    energy_mj: PositiveNumber | None = None
    latency_ms: PositiveNumber | None = None
    peak_sram_kib: PositiveNumber | None = None
    flash_kib: PositiveNumber | None = None

    def by_cost(self) -> dict[str, float]:
        """Return the limits there are, by what prices call the costs."""
        limits = {
            f"energy_mj_{self.mode}": self.energy_mj,
            f"latency_ms_{self.mode}": self.latency_ms,
            "peak_sram_kib": self.peak_sram_kib,
            "flash_kib": self.flash_kib,
        }
        return {name: float(most) for name, most in limits.items() if most is not None}


@dataclass(frozen=True)
class MethodSettings:
    """Keys of configs/search/*.yaml."""

    name: str
    source: str
    operators: Names
    sandwich: bool = True
    random_subnets: Annotated[int, Meta(ge=0, le=64)] = 2
    distill_weight: Weight = 1.0
    distill_temperature: Annotated[float, Meta(ge=0.01, le=1000)] = 1.0
    kernel_transform: bool = True
    deep_draws: Annotated[int, Meta(ge=1, le=10**4)] = 64
    calibration_batches: Annotated[int, Meta(ge=1, le=10**4)] = 8
    score_images: PositiveInt = 5000
    sampler: Literal["nsga2", "random"] = "nsga2"
    population: Annotated[int, Meta(ge=2, le=10**4)] = 32
    evaluations: Annotated[int, Meta(ge=1, le=10**6)] = 200
    storage: str | None = None
    study_name: str | None = None

    def training(self) -> dict[str, Any]:
        """Return what the supernet's training depends on, as plain containers."""
        keys = ("operators", "sandwich", "random_subnets", "distill_weight", "distill_temperature", "kernel_transform")
        return {key: getattr(self, key) for key in keys}

    def __post_init__(self) -> None:
        if not self.sandwich and not self.random_subnets:
            raise UserError(
                "search.random_subnets=0: with search.sandwich=false nothing but the largest network would train; "
                "options: 1 and more, or sandwich=true"
            )


def check_method(search: Mapping[str, Any]) -> MethodSettings:
    """Return the settings of a search.

    Raises:
        UserError: the first mistake, by key.
    """
    settings: MethodSettings = check_group("search", search, MethodSettings)
    return settings


def check_space(space: Mapping[str, Any]) -> SpaceSettings:
    """Return the settings of a space.

    Raises:
        UserError: the first mistake, by key.
    """
    settings: SpaceSettings = check_group("space", space, SpaceSettings)
    return settings
