"""What a task says of itself before torch is imported: its figures, its headline, the ranges of its keys.

Each task's folder holds a `settings.py` whose `SETTINGS` inherits from `TaskSettings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size, as_size
from shiftaddaug.settings import check, check_fields
from shiftaddaug.tasks.figures import BETTER, LOSS, Figure, record_of

CompileBackend = Literal["inductor", "cudagraphs", "aot_eager", "eager"]
"""Backends of `torch.compile`; the last two compile nothing, and are for finding mistakes."""


@dataclass(frozen=True)
class TaskSettings:
    """Keys of a task's yaml in configs/task.

    A field that comes later needs a default that does what was done without it: stored configurations lack the field.

    Raises:
        UserError: a headline that is no figure of the task, or a value outside its range.
    """

    name: ClassVar[str]
    """The task's, as its folder is called."""
    figures: ClassVar[tuple[Figure, ...]]
    """What is measured besides the loss, in the order in which it is reported; `figures_of` may leave some out."""
    distils: ClassVar[bool] = False
    """Whether its objective has a distillation loss (`aug.distill_weight`)."""
    pictures: ClassVar[bool] = False
    """Whether its objective shows predictions as pictures, with a legend and a layer."""
    labels_of: ClassVar[str | None] = None
    """Task whose data it reads too, because the labels are the same; its own data are read anyway."""
    dense: ClassVar[bool | None] = None
    """Whether it wants outputs of each pixel (N, outputs, H, W), or of each image (N, outputs); None: of either."""

    headline: str
    """The figure that chooses the best checkpoint, that searches optimise and that tables show."""
    better: Literal["max", "min"]
    """Which way the headline is better, `max` or `min`. Callbacks and sweeps read it, so the yaml states it."""
    compile: CompileBackend | None = None
    """Backend of torch.compile for the target's training pass."""

    def __post_init__(self) -> None:
        check_fields("task", self)
        names = tuple(figure.name for figure in self.measured)
        check("task.headline", self.headline, Literal[names])  # type: ignore[valid-type]
        better = self.headline_figure.better
        if better != self.better:
            raise UserError(f"task.better={self.better}: {self.headline} is better if it is {BETTER[better]}: {better}")

    @property
    def measured(self) -> tuple[Figure, ...]:
        """All figures, the loss last."""
        return (*self.figures, LOSS)

    @property
    def headline_figure(self) -> Figure:
        """The figure that `headline` names."""
        return next(figure for figure in self.measured if figure.name == self.headline)

    def outputs(self, data: Mapping[str, Any]) -> int:
        """Number of channels that the network computes for data of this configuration.

        `num_classes`, if data have it, is a number: classes that the configuration leaves open have been counted.
        """
        raise NotImplementedError

    def figures_of(self, outputs: int) -> tuple[Figure, ...]:
        """Return the figures that mean something of a network of so many output channels; here all of them."""
        return self.figures

    def check_outputs(self, outputs: int) -> None:
        """Refuse a headline that is not measured of a network of so many output channels.

        Raises:
            UserError: it is none of `figures_of`, nor the loss.
        """
        names = [figure.name for figure in (*self.figures_of(outputs), LOSS)]
        if self.headline not in names:
            raise UserError(
                f"task.headline={self.headline}: is not measured of {outputs} classes; options: {', '.join(names)}"
            )

    def seen(self, data: Mapping[str, Any]) -> Size:
        """Size (height, width) of what the network sees at once when it is evaluated, in pixels."""
        return as_size(data["image_size"])

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Check what must hold of the data's configuration for this task's own keys.

        Raises:
            UserError: it does not.
        """

    def without_effect(self) -> Mapping[str, str]:
        """Return the keys that do nothing beside the others, and why."""
        return {}

    def check_distillation(self, weight: float) -> None:
        """Refuse to distil where the objective cannot.

        Raises:
            UserError: it cannot, and the weight is not 0.
        """
        if weight and not self.distils:
            raise UserError(f"aug.distill_weight={weight}: task={self.name} has no distillation loss; options: 0")

    def refuse_other_data(self, name: str, task: object) -> None:
        """Refuse data whose module states another task, or none.

        Args:
            name: of the data, as people read it.
            task: attribute `task` of the data module.

        Raises:
            UserError: its labels are not read here.
        """
        if task is None or task not in (self.name, self.labels_of):
            made = "states no task" if task is None else f"is made for task={task}"
            options = "other data" if task is None else f"other data, or task={task}"
            raise UserError(f"data={name}: {made}, and this run has task={self.name}; options: {options}")

    def record(self, outputs: int | None = None) -> dict[str, Any]:
        """What run.json and results.json say of the task, for those who report.

        Args:
            outputs: output channels of the network; None: all figures, whatever a network has.

        Raises:
            UserError: two figures of one name.
        """
        names = [figure.name for figure in self.measured]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"task={self.name}: states two figures {name}; the loss is one of them by itself")
        measured = self.measured if outputs is None else (*self.figures_of(outputs), LOSS)
        return {"task": self.name} | record_of(measured, self.headline_figure)
