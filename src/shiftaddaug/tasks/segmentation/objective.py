"""Losses, figures and pictures of masks.

Logits are (N, channels, H, W) at the size of the images. Masks are int64: labels (N, H, W), those of binary masks 0 or
1, and no and yes (N, classes, H, W) of multilabel ones.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from shiftaddaug.tasks.base import Objective, at_least_float32
from shiftaddaug.tasks.segmentation.colours import IGNORED, layer, palette, picture
from shiftaddaug.tasks.segmentation.losses import WeightedLosses
from shiftaddaug.tasks.segmentation.metrics import (
    FromMatrix,
    MeanIoU,
    intersection_over_union,
    mean_dice,
    pixel_accuracy,
)
from shiftaddaug.tasks.segmentation.settings import SegmentationSettings
from shiftaddaug.tasks.segmentation.windows import slide


class Segmentation(Objective):
    """Semantic segmentation.

    Raises:
        UserError: the settings speak of another number of classes.
    """

    settings: SegmentationSettings

    def __init__(self, settings: SegmentationSettings, num_outputs: int) -> None:
        super().__init__(settings, num_outputs)
        settings.check_classes(2 if settings.masks == "binary" else num_outputs)
        self.trained_with = WeightedLosses(settings, settings.label_smoothing)
        self.reported = WeightedLosses(settings, 0.0)

    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the weighted sum of the losses that the settings name."""
        return self.trained_with(at_least_float32(outputs), wanted)

    def evaluation_loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the same without label smoothing."""
        return self.reported(at_least_float32(outputs), wanted)

    def distillation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(teacher || student) of each pixel's classes, mean over all pixels, labelled or not, in nats.

        Classes are those of softmax(logits / T). Of binary and multilabel masks each channel is a pair of classes,
        sigmoid(logit / T), and channels are added.
        """
        wanted, given = (at_least_float32(logits) / temperature for logits in (teacher, student))
        if self.settings.masks == "multiclass":
            pairs = [(F.log_softmax(wanted, 1), F.log_softmax(given, 1))]
        else:
            pairs = [(F.logsigmoid(sign * wanted), F.logsigmoid(sign * given)) for sign in (1, -1)]
        divergences = [F.kl_div(ours, theirs, reduction="sum", log_target=True) for theirs, ours in pairs]
        return temperature**2 * torch.stack(divergences).sum() / student[:, 0].numel()

    def infer(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the logits of whole images, or of those that windows see."""
        window = self.settings.window_size
        return net(images) if window is None else slide(net, images, window, self.settings.window_overlap)

    def metrics(self) -> dict[str, Metric]:
        """Return mIoU, which holds the confusion matrix, and what is read from it."""
        one_of_many = self.settings.masks == "multiclass"
        owner = MeanIoU(self.num_outputs, one_of_many, self.settings.ignore_index, self.predictions)
        return {
            "miou": owner,
            "pixel_accuracy": FromMatrix(owner, pixel_accuracy),
            "dice": FromMatrix(owner, mean_dice),
        }

    def details(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Return the IoU of each class in percent, by its name; null of one that is neither predicted nor wanted."""
        owner = metrics["miou"]
        assert isinstance(owner, MeanIoU)
        owner.compute()
        values = (100 * intersection_over_union(owner.whole)).tolist()
        rounded = [None if value != value else round(value, 2) for value in values]
        return {"iou_percent_by_class": dict(zip(self.output_names(), rounded, strict=True))}

    def classes(self, held: Sequence[str] | None) -> Sequence[str] | None:
        """Return the names of the settings, or else those of the data; of binary masks that of what is sought."""
        names = self.settings.class_names or held
        return super().classes(names[-1:] if names and self.settings.masks == "binary" else names)

    def output_names(self) -> list[str]:
        """Return the name of what each output channel stands for."""
        names = self.settings.class_names
        if self.settings.masks == "binary":
            return [names[-1] if names else "1"]
        return list(names) if names else [str(i) for i in range(self.num_outputs)]

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return masks: the most probable label of each pixel, or those more probable than not."""
        if self.settings.masks == "multiclass":
            return outputs.argmax(1)
        yes = (outputs > 0).long()
        return yes[:, 0] if self.settings.masks == "binary" else yes

    def show(self, value: Tensor) -> Tensor:
        """Return a mask in colours, uint8 (3, H, W)."""
        return picture(value, self.settings.ignore_index)

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """Return the colour of each class; what counts nowhere has none of theirs."""
        colours = palette().tolist()
        return {name: tuple(colours[label]) for label, name in self._shown_names().items()}

    def layer(self, value: Tensor) -> tuple[Tensor, dict[int, str]]:
        return layer(value, self.settings.ignore_index), self._shown_names()

    def _shown_names(self) -> dict[int, str]:
        """Names by the labels that `colours.layer` returns."""
        names = self.output_names()
        if self.settings.masks == "multiclass":
            return dict(enumerate(names)) | {IGNORED: "not labelled"}
        return dict(enumerate(names, 1)) | {IGNORED: "not labelled"}


OBJECTIVE = Segmentation
