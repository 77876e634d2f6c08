"""Figures: the numbers that a run measures, logs and reports, described so that nobody names one. Imports no torch."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shiftaddaug.errors import UserError

PERCENT = "percent"
"""The unit of a share: measured in [0, 1], written times 100."""
BETTER = {"max": "higher", "min": "lower"}


@dataclass(frozen=True)
class Figure:
    """What one number is, that is measured on a split of the data.

    Raises:
        UserError: a name that cannot be part of a key, a `better` that is none of `BETTER`, or no number of digits.
    """

    name: str
    """The name that is logged: `val/<name>`."""
    title: str
    """The name that people read."""
    unit: str = ""
    """The unit, such as `percent`, `px` or `m`; empty if it has none."""
    better: str = "max"
    """Whether the highest value is the best one (`max`) or the lowest (`min`)."""
    digits: int = 4
    """Decimals that are written."""
    training: bool = True
    """Whether it is measured while training, too."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]\w*", str(self.name)):
            raise UserError(f"figure {self.name}: must be called by small letters, digits and _")
        for key in ("title", "unit", "better"):
            if not isinstance(getattr(self, key), str):
                raise UserError(f"figure {self.name}: {key}={getattr(self, key)}: must be a word")
        if not isinstance(self.training, bool):
            raise UserError(f"figure {self.name}: training={self.training}: must be true or false")
        if self.better not in BETTER:
            raise UserError(f"figure {self.name}: better={self.better}: no such option; options: {', '.join(BETTER)}")
        if isinstance(self.digits, bool) or not isinstance(self.digits, int) or self.digits < 0:
            raise UserError(f"figure {self.name}: digits={self.digits}: must be a whole number >= 0")

    @property
    def _factor(self) -> int:
        return 100 if self.unit == PERCENT else 1

    @property
    def symbol(self) -> str:
        """The unit as it stands behind a number."""
        return "%" if self.unit == PERCENT else self.unit

    def key(self, split: str) -> str:
        """Key of results.json, such as `val_top1_percent`."""
        parts = (split, self.name, re.sub(r"\W+", "_", self.unit))
        return "_".join(part for part in parts if part)

    def column(self, split: str) -> str:
        """Title of a table's column, such as `val top-1 %`."""
        return " ".join(part for part in (split, self.title, self.symbol) if part)

    def axis(self, split: str) -> str:
        """Title of a drawing's axis, such as `test top-1, %`."""
        return f"{split} {self.title}" + (f", {self.symbol}" if self.symbol else "")

    def recorded(self, value: float) -> float:
        """A measured value as results.json holds it."""
        return round(self._factor * value, self.digits)

    def measured(self, recorded: float) -> float:
        """A value of results.json as it was measured."""
        return float(recorded) / self._factor

    def written(self, recorded: float) -> str:
        """A value of results.json as people read it, such as `93.50 %`."""
        return f"{recorded:.{self.digits}f}" + (f" {self.symbol}" if self.symbol else "")

    def gain(self, ours: float, theirs: float) -> float:
        """How much better ours is: positive, whichever way is better."""
        return ours - theirs if self.better == "max" else theirs - ours


LOSS = Figure("loss", "loss", better="min", training=False)
"""What every task measures besides its figures. While it trains, a run logs its losses by itself."""


def record_of(figures: tuple[Figure, ...], headline: Figure) -> dict[str, Any]:
    """What run.json and results.json say of the figures beside them."""
    return {"headline": headline.name, "figures": [dataclasses.asdict(figure) for figure in figures]}


def figures_in(recorded: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures that a run.json or results.json describes, by name; none if it is older than their descriptions."""
    known = [field.name for field in dataclasses.fields(Figure)]
    described = [
        {key: value for key, value in figure.items() if key in known} for figure in recorded.get("figures", [])
    ]
    return {figure["name"]: Figure(**figure) for figure in described}
