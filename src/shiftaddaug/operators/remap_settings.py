"""The constants of R, through which an operator reads shared weights, and their ranges. Imports no torch.

`hybrid/remap.py` says what they mean and computes with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.settings import check_fields, shown

FORMS = ("replace", "residual")
LIMIT = 1e12
"""Largest constant and largest slope of FC (and its inverse the smallest), so that float32 holds every product."""
Constant = Annotated[float, Meta(ge=-LIMIT, le=LIMIT)]


@dataclass(frozen=True)
class RemapSettings:
    """Constants of R for the weights of one operator.

    Args:
        form: replace or residual (`hybrid/remap.py`).
        laplace_scale: b.
        laplace_mean: mu_l.
        relative: whether b, mu_l and FC are in units of the layer's own sigma (weights that differ in scale from
            layer to layer, as those of shift do), or absolute (weights measured against their inputs, as those of
            add are).
        knots_x, knots_y: of FC, both strictly increasing; linear between them and on beyond the ends. Empty: FC is
            the identity.

    Raises:
        UserError: a field outside its range.
    """

    form: Literal["replace", "residual"]
    laplace_scale: Annotated[float, Meta(ge=1 / LIMIT, le=LIMIT)]
    laplace_mean: Constant = 0.0
    relative: bool = False
    knots_x: tuple[Constant, ...] = ()
    knots_y: tuple[Constant, ...] = ()

    def __post_init__(self) -> None:
        check_fields("op.remap", self)
        for key in ("knots_x", "knots_y"):
            object.__setattr__(self, key, _checked_knots(key, getattr(self, key)))
        if len(self.knots_x) != len(self.knots_y):
            raise UserError(
                f"op.remap.knots_y={shown(self.knots_y)}: must hold as many numbers as op.remap.knots_x, "
                f"{len(self.knots_x)}"
            )
        for slope in slopes(self.knots_x, self.knots_y):
            if not 1 / LIMIT <= slope <= LIMIT:
                raise UserError(
                    f"op.remap.knots_y={shown(self.knots_y)}: a slope of {slope:g} is too flat or too steep"
                )

    @property
    def scale_free(self) -> bool:
        """Whether R(a w) = R(w) for every a > 0."""
        return self.form == "replace" and not self.relative

    def config(self) -> dict[str, Any]:
        """The fields, as plain containers for a yaml."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def remap_settings_from(value: Any) -> RemapSettings | None:
    """The constants that a yaml's `remap` holds; null means no R.

    Raises:
        UserError: no constants, an unknown key, or a value outside its range.
    """
    if value is None or isinstance(value, RemapSettings):
        return value
    known = [field.name for field in fields(RemapSettings)]
    if not isinstance(value, Mapping):
        raise UserError(f"op.remap={shown(value)}: must hold constants: {', '.join(known)}")
    for key in value:
        if key not in known:
            raise UserError(f"op.remap.{key}={shown(value[key])}: no such key; options: {', '.join(known)}")
    for key in ("form", "laplace_scale"):
        if key not in value:
            raise UserError(f"op.remap={shown(value)}: has no {key}")
    return RemapSettings(**value)


def slopes(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Slopes of the pieces between the knots (x, y)."""
    return [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(len(x) - 1)]


def _checked_knots(key: str, values: Sequence[float]) -> tuple[float, ...]:
    if len(values) == 1:
        raise UserError(f"op.remap.{key}={shown(values)}: must hold two numbers at least, or none (the identity)")
    for low, high in pairwise(values):
        if low >= high:
            raise UserError(f"op.remap.{key}: {low} before {high}: must be strictly increasing")
    return tuple(float(value) for value in values)
