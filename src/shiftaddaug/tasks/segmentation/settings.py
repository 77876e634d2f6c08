"""Settings of segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size, as_size, shown_size
from shiftaddaug.settings import NonNegativeNumber, PositiveInt, PositiveNumber, Share, shown
from shiftaddaug.tasks.figures import PERCENT, Figure
from shiftaddaug.tasks.settings import TaskSettings

Loss = Literal["ce", "dice", "focal", "jaccard", "lovasz"]
Losses = Annotated[list[Loss], Meta(min_length=1, title="a list of these")]
Weights = Annotated[list[PositiveNumber], Meta(min_length=1, title="a list of numbers > 0, such as [1.0,0.5]")]
Overlap = Annotated[float, Meta(ge=0, lt=1)]
Window = Annotated[
    PositiveInt | Annotated[list[PositiveInt], Meta(min_length=2, max_length=2)],
    Meta(title="a whole number >= 1 (px), or two of them, [height,width]"),
]

UNWEIGHTED = ("lovasz",)
"""Losses that cannot count classes differently."""


@dataclass(frozen=True)
class SegmentationSettings(TaskSettings):
    """Keys of configs/task/segmentation.yaml."""

    name = "segmentation"
    figures = (
        Figure("miou", "mIoU", PERCENT, digits=2),
        Figure("pixel_accuracy", "pixel accuracy", PERCENT, digits=2, training=False),
        Figure("dice", "Dice", PERCENT, digits=2, training=False),
    )
    distils = True
    pictures = True
    dense = True

    masks: Literal["multiclass", "binary", "multilabel"] = "multiclass"
    """What a mask holds: one class of several for each pixel, one of two (one output channel), or any number."""
    loss: Loss | Losses = "ce"
    """One loss, or several that are added."""
    loss_weights: Weights | None = None
    """Factor of each loss, in the order of `loss`; None is 1 for each."""
    class_weights: Weights | None = None
    """How much each class counts in the losses; None is alike."""
    label_smoothing: Share = 0.0
    """Smoothing of the cross-entropy of multiclass masks."""
    focal_gamma: NonNegativeNumber = 2.0
    """Exponent of the focal loss."""
    ignore_index: int = 255
    """Label of pixels that count nowhere: in no loss and in no figure."""
    class_names: list[str] | None = None
    """Names of the classes, by which results.json tells the IoU of each."""
    window: Window | None = None
    """Size of the windows that evaluation slides over larger images; None has the network see them whole."""
    window_overlap: Overlap = 0.5
    """Share of a window that the next one covers, too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, values in (("loss", self.losses), ("class_names", self.class_names or ())):
            if len({*values}) < len(values):
                raise UserError(f"task.{key}={shown(values)}: names one twice")
        if self.loss_weights is not None and len(self.loss_weights) != len(self.losses):
            raise UserError(
                f"task.loss_weights={shown(self.loss_weights)}: must hold a number for each of "
                f"task.loss={shown(self.losses)}"
            )
        self._check_class_weights()

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that are added."""
        return (self.loss,) if isinstance(self.loss, str) else tuple(self.loss)

    @property
    def window_size(self) -> Size | None:
        """(height, width) of the windows, in pixels."""
        return None if self.window is None else as_size(self.window)

    def outputs(self, data: Mapping[str, Any]) -> int:
        """Return the number of output channels: one for each class, or the one of binary masks."""
        return 1 if self.masks == "binary" else int(data["num_classes"])

    def seen(self, data: Mapping[str, Any]) -> Size:
        return self.window_size or as_size(data.get("eval_size") or data["image_size"])

    def check_data(self, data: Mapping[str, Any]) -> None:
        classes = data.get("num_classes")
        if isinstance(classes, int):
            self.check_classes(classes)
        if bool(data.get("multilabel")) != (self.masks == "multilabel"):
            held = "yes or no for each class" if data.get("multilabel") else "one label for each pixel"
            options = "multilabel" if data.get("multilabel") else "multiclass, binary"
            raise UserError(f"task.masks={self.masks}: data={data['name']} have {held}; options: {options}")
        if self.window_size is not None:
            seen = as_size(data.get("eval_size") or data["image_size"])
            if any(side > most for side, most in zip(self.window_size, seen, strict=True)):
                raise UserError(
                    f"task.window={shown(self.window)}: is larger than what it slides over, images of "
                    f"{shown_size(seen)} px (data.eval_size, or else data.image_size)"
                )

    def without_effect(self) -> Mapping[str, str]:
        idle: dict[str, str] = {}
        if self.window is None:
            idle["window_overlap"] = "task.window=null has the network see whole images"
        if "focal" not in self.losses:
            idle["focal_gamma"] = f"task.loss={shown(self.losses)} has no focal loss"
        if "ce" not in self.losses or self.masks != "multiclass":
            idle["label_smoothing"] = "it is of the cross-entropy of multiclass masks"
        return idle

    def check_classes(self, classes: int) -> None:
        """Compare what speaks of each class with the number of classes.

        Raises:
            UserError: they disagree.
        """
        if self.masks == "binary" and classes != 2:
            raise UserError(f"task.masks=binary: data.num_classes={classes}; must be 2, what is sought being the last")
        for key in ("class_weights", "class_names"):
            values = getattr(self, key)
            if values is not None and len(values) != classes:
                raise UserError(f"task.{key}={shown(values)}: has {len(values)} entries for {classes} classes")
        if 0 <= self.ignore_index < classes and self.masks == "multiclass":
            raise UserError(f"task.ignore_index={self.ignore_index}: is the label of one of the {classes} classes")
        if self.ignore_index in (0, 1) and self.masks != "multiclass":
            raise UserError(f"task.ignore_index={self.ignore_index}: means no or yes with task.masks={self.masks}")

    def _check_class_weights(self) -> None:
        if self.class_weights is None:
            return
        start = f"task.class_weights={shown(self.class_weights)}"
        if self.masks == "binary":
            raise UserError(f"{start}: task.masks=binary has a single class; options: null")
        unweighted = [loss for loss in self.losses if loss in UNWEIGHTED]
        if unweighted:
            raise UserError(f"{start}: task.loss={unweighted[0]} counts all classes alike; options: null, other losses")


SETTINGS = SegmentationSettings
