"""Metrics that torchmetrics and Lightning do not have as they are needed here."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanLoss(Metric):
    """Mean over images of losses that are means over batches; nan if one of them is.

    It is in float32 whatever the precision of the module it belongs to. NOTE: logged numbers would do, but Lightning
    averages their counts of images over processes as integers, which rounds down; torchmetrics' mean drops nan.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, loss: Tensor, images: int) -> None:
        """Take in the mean loss (scalar) of a batch of so many images."""
        self.total = self.total + loss.detach().float() * images
        self.images = self.images + images

    def compute(self) -> Tensor:
        return self.total / self.images

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        """Follow `Module.to` to a device, not to another precision."""
        moved = super()._apply(*arguments, **options)
        self.total = self.total.float()
        return moved
