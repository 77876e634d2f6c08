"""What a hardware (a yaml of configs/hardware) may say. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.technology import Operations, Picojoules, read_technology
from shiftaddaug.operators.settings import KINDS
from shiftaddaug.settings import PathName, PositiveInt, PositiveNumber, check_group, shown

KindNames = Annotated[list[str], Meta(title=f"a list of operations, of {', '.join(KINDS)}")]
Megahertz = Annotated[float, Meta(ge=1e-3, le=10**6)]
NARROW = 8
"""Bits up to which four times as many elements fit, and registers and buffers hold twice as many numbers."""


@dataclass(frozen=True)
class MemorySettings:
    """Keys of `hardware.accelerator.memory`: energy of moving one word, in pJ."""

    dram: Picojoules
    buffer: Picojoules
    """Global buffer."""
    noc: Picojoules
    """Network on chip, of inputs and weights."""
    noc_psum: Picojoules
    """Network on chip, of partial sums."""
    rf: Picojoules
    """Register files of the elements, of inputs and partial sums."""
    rf_weight: Picojoules
    """Register files, of weights."""
    dram_to_buffer: Picojoules = 0.0
    """What the way between DRAM and buffer costs inputs and outputs besides."""
    word_bits: PositiveInt | None = 16
    """Bits of the words that these energies are of; null takes every number for a word."""


@dataclass(frozen=True)
class ArraySettings:
    """Keys of `hardware.accelerator.array`: what an assignment of work to the elements must stay below."""

    elements: PositiveInt
    """Processing elements."""
    filter_rows: PositiveInt = 12
    """Values of a filter's row that an element holds, of all its channels."""
    filter_words: PositiveInt = 960
    """Weights that an element holds."""
    filters: PositiveInt = 16
    """Filters that an element works on, this many at most."""
    buffer_words: PositiveInt = 65536
    """Numbers that the global buffer holds, inputs and outputs together."""


@dataclass(frozen=True)
class PublishedSettings:
    """Keys of `hardware.accelerator.published`: what the published simulator does for some operators alone."""

    on_chip: KindNames = ()  # type: ignore[assignment]
    """Operators that execute nothing but these move inputs and weights for nothing, down to the elements."""
    narrow_input_bits: PositiveInt | None = None
    """Where weights have less bits than numbers, all words have the mean of theirs and of so many."""
    whole_cycle_bits: PositiveInt = 32
    """A cycle of such words is as long as their share of so many bits, at every precision."""


@dataclass(frozen=True)
class AcceleratorSettings:
    """Keys of `hardware.accelerator`: a row-stationary array of processing elements."""

    technology: PathName
    """A file of `hardware/technology`, or a path to one (with its .yaml)."""
    precision: str
    """One of the technology's."""
    clock_mhz: Megahertz
    array: dict[str, Any]
    memory: dict[str, Any]
    published: dict[str, Any]
    pad: bool = False
    """Whether outputs whose rows nothing divides are priced with more rows."""


@dataclass(frozen=True)
class HardwareSettings:
    """Keys of configs/hardware/*.yaml."""

    name: str
    source: str
    sram_kib: PositiveNumber | None = None
    """What activations may take; null is no budget."""
    flash_kib: PositiveNumber | None = None
    """What weights may take; null is no budget."""
    in_place_depthwise: bool = False
    """Whether a depthwise layer of stride 1 overwrites its input."""
    accelerator: dict[str, Any] | None = None
    """Null where energy and latency are not modelled."""


@dataclass(frozen=True)
class Accelerator:
    """An accelerator, its technology read."""

    array: ArraySettings
    memory: MemorySettings
    published: PublishedSettings
    operations: Operations
    clock_mhz: float
    pad: bool = False

    def limits(self) -> ArraySettings:
        """Return what bounds an assignment: at 8 bits four times the elements, and all else twice."""
        if self.operations.bits > NARROW:
            return self.array
        array = self.array
        return ArraySettings(
            elements=4 * array.elements,
            filter_rows=2 * array.filter_rows,
            filter_words=2 * array.filter_words,
            filters=2 * array.filters,
            buffer_words=2 * array.buffer_words,
        )


@dataclass(frozen=True)
class Hardware:
    """A hardware as the cost model sees it."""

    name: str
    accelerator: Accelerator | None
    sram_kib: float | None = None
    flash_kib: float | None = None
    in_place_depthwise: bool = False


def hardware_from(config: Mapping[str, Any]) -> Hardware:
    """Return the hardware of a yaml of configs/hardware.

    Raises:
        UserError: the first mistake, by key.
    """
    settings = check_group("hardware", config, HardwareSettings)
    accelerator = None if settings.accelerator is None else _accelerator(settings.accelerator)
    return Hardware(settings.name, accelerator, settings.sram_kib, settings.flash_kib, settings.in_place_depthwise)


def _accelerator(config: Mapping[str, Any]) -> Accelerator:
    key = "hardware.accelerator"
    settings = check_group(key, config, AcceleratorSettings)
    published = check_group(f"{key}.published", settings.published, PublishedSettings)
    for kind in published.on_chip:
        if kind not in KINDS:
            raise UserError(f"{key}.published.on_chip={shown(published.on_chip)}: options: {', '.join(KINDS)}")
    technology = read_technology(settings.technology)
    if settings.precision not in technology.precisions:
        options = ", ".join(technology.precisions)
        raise UserError(
            f"{key}.precision={settings.precision}: technology={technology.name} has no such precision; options: "
            f"{options}"
        )
    return Accelerator(
        array=check_group(f"{key}.array", settings.array, ArraySettings),
        memory=check_group(f"{key}.memory", settings.memory, MemorySettings),
        published=replace(published, on_chip=tuple(published.on_chip)),  # type: ignore[arg-type]
        operations=technology.precisions[settings.precision],
        clock_mhz=settings.clock_mhz,
        pad=settings.pad,
    )
