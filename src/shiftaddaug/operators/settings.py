"""What an operator says of itself before torch is imported: its settings, their ranges, its arithmetic, its warnings.

Each operator's folder holds a `settings.py` whose `SETTINGS` inherits from `OperatorSettings`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from shiftaddaug.errors import UserError
from shiftaddaug.operators.remap_settings import RemapSettings
from shiftaddaug.settings import check_fields

WeightPrior = Literal["laplace", "normal"]
"""A distribution that weights are pulled to."""

KINDS = ("mult", "shift", "add", "xnor", "lookup")
"""Operations that an operator may count."""


@dataclass(frozen=True)
class Arithmetic:
    """What a layer executes for each multiply-accumulate, or for what stands in its place.

    Raises:
        UserError: a kind that is none of `KINDS`, or a count below 1.
    """

    operations: Mapping[str, int]
    """How many of each kind (`KINDS`), the accumulation included, which is an `add`."""
    weight_bits: int = 32
    """Bits of a stored weight."""
    input_bits: int = 32
    """Bits of an input, as the layer reads it."""

    def __post_init__(self) -> None:
        for kind, count in self.operations.items():
            if kind not in KINDS or not isinstance(count, int) or count < 1:
                raise UserError(f"arithmetic: {count} operations {kind}; options: at least 1 of {', '.join(KINDS)}")

    @property
    def multiplication_free(self) -> bool:
        """Whether nothing is multiplied."""
        return "mult" not in self.operations


@dataclass(frozen=True)
class OperatorSettings:
    """Keys of an operator's yaml in configs/op, besides those that are for the nets.

    A field that comes later needs a default that does what was done without it, or a value in `before` that does:
    stored configurations lack the field.
    Fields are annotated with their types and ranges (`shiftaddaug/settings.py`), which are checked here.
    A field `remap`, of an operator that has one, holds the constants of R (`sharing=heterogeneous`).

    Raises:
        UserError: a field outside its range.
    """

    name: ClassVar[str]
    """The operator's, as its folder is called."""
    shareable: ClassVar[bool] = True
    """Whether its trained parameter `weight` may be the leading slice of a multiplicative weight."""
    remap: ClassVar[RemapSettings | None] = None
    before: ClassVar[Mapping[str, Any]] = {}
    """Fields that came later with a default that changes a training: name, and the value that does not."""
    weight_prior: ClassVar[WeightPrior | None] = None
    """What `sharing=kl` pulls its weights to; None leaves them alone."""
    replaced_by_remap: ClassVar[tuple[str, ...]] = ()
    """Fields without effect where weights are read through R."""
    without_remap: ClassVar[tuple[str, ...]] = ()
    """Further ones, which concern the stored weight: R stores it in Gaussian form."""

    scales_gradient: ClassVar[tuple[str, ...]] = ()
    """Fields that multiply update directions: optimisers whose steps have a scale of their own undo them."""

    single_under_autocast: ClassVar[bool] = False
    """Whether layers compute and return float32 under autocast (`trainer.precision=bf16-mixed`)."""
    computes_in_single: ClassVar[bool] = False
    """Whether half precision is computed on float32 copies."""

    def __post_init__(self) -> None:
        check_fields("op", self)

    @property
    def copies_input(self) -> bool:
        """Whether the backward pass keeps an input of the layer's own, made of what the layer reads."""
        return False

    @property
    def without_effect(self) -> Mapping[str, str]:
        """Fields without effect beside the others' values: name, and because of what."""
        return {}

    @property
    def arithmetic(self) -> Arithmetic:
        """What a layer executes, by these settings."""
        raise NotImplementedError

    @property
    def turns(self) -> bool:
        """Whether a layer may multiply by its weight first, and turn multiplication-free later (block-variant)."""
        return self.shareable and self.arithmetic.multiplication_free

    def check_precision(self, precision: str) -> str | None:
        """What to warn of where a run trains in that precision (`trainer.precision`), if anything.

        Raises:
            UserError: these settings cannot be had in it.
        """
        return None

    def training_warning(self) -> str | None:
        """What to warn of wherever a run trains with these settings."""
        return None

    def multiplied_warning(self) -> str | None:
        """What to warn of where layers first multiply by weights that are stored in this operator's own scale."""
        return None

    def config(self) -> dict[str, Any]:
        """What makes the operator again for inference, as plain containers: its name, and all fields but `remap`."""
        fields = {key: value for key, value in dataclasses.asdict(self).items() if key != "remap"}
        return {"name": self.name, **fields}
