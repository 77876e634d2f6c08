"""What a task optimises and measures: the only part of a training that knows what outputs and labels mean."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from shiftaddaug.tasks.figures import Figure
from shiftaddaug.tasks.settings import TaskSettings


class Objective(ABC):
    """Losses, metrics and predictions of a task. Each task's `objective.py` ends with `OBJECTIVE = YourObjective`.

    `outputs` are what the network computes of a batch, of any shape that begins with the images: (N, classes), or
    (N, classes, H, W). `wanted` is what the data module puts beside the images, of any shape and dtype: labels (N,),
    masks (N, H, W). Nobody else looks into either.

    Args:
        settings: of the task.
        num_outputs: channels of the network's outputs.
    """

    settings: TaskSettings

    def __init__(self, settings: TaskSettings, num_outputs: int) -> None:
        self.settings, self.num_outputs = settings, num_outputs

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Figures that are measured of this network, besides the loss."""
        return self.settings.figures_of(self.num_outputs)

    @abstractmethod
    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The loss that is trained with, a scalar, mean over the batch; `wanted` as `mixed` returns it."""

    def evaluation_loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The loss that is reported of validation and test; `wanted` as it comes from the data."""
        return self.loss(outputs, wanted)

    def distillation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far the outputs of a student are from a teacher's, a scalar; for tasks whose settings say `distils`."""
        raise NotImplementedError

    def mixed(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """A training batch, augmented together with what is wanted; must leave the tensors given as they are."""
        return images, wanted

    def infer(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Outputs that are evaluated of a batch of images; a task may show the network parts of them, say."""
        return net(images)

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Fresh metrics by the names of `figures`.

        They are updated with (outputs, wanted) and accumulate over a split; `compute` returns a scalar. Two figures
        that are computed from one state (a confusion matrix, say) may share it: then one metric owns it, and the other
        only reads.
        """

    def details(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """What more the metrics of a finished split say, such as a value for each class: plain values by name.

        They stand in results.json as `<split>_<name>`.
        """
        return {}

    @abstractmethod
    def predictions(self, outputs: Tensor) -> Tensor:
        """What the outputs say, in the form of `wanted`: labels, masks, values."""

    def classes(self, held: Sequence[str] | None) -> Sequence[str] | None:
        """Names of what each output channel stands for, in their order; None if they have none.

        Args:
            held: names of the classes that the data hold, in the order of labels; None if they have none.
        """
        return held if held is not None and len(held) == self.num_outputs else None

    def ranked(self, outputs: Tensor, most: int) -> tuple[Tensor, Tensor] | None:
        """The most probable classes of each image, the best first, and their scores in 0..1, both (N, most).

        None, as here: the task does not say one class of an image. Else `wanted` are labels (N,).
        """
        return None

    def show(self, value: Tensor) -> "str | Tensor":
        """One image's prediction, or what was wanted of it, for people: a text, or a picture uint8 (3, H, W).

        Pictures are those of tasks whose settings say `pictures`."""
        return str(value.tolist())

    def legend(self) -> dict[str, tuple[int, int, int]]:
        """Names of what pictures show, and their colours, red, green and blue of 0..255."""
        return {}

    def layer(self, value: Tensor) -> tuple[Tensor, dict[int, str]]:
        """What `show` shows, for viewers that colour it themselves: labels uint8 (H, W), and names of the labels."""
        raise NotImplementedError


def at_least_float32(outputs: Tensor) -> Tensor:
    """Half precision would round a loss to 8 significant bits, and a distillation loss to nothing."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
