"""The contract carries a task of pixels: masks, figures of one confusion matrix, values by class, pictures."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.tasks.contract import check_objective
from tests.tasks.little import loader, quiet_trainer
from torch import Tensor, nn
from torchmetrics import Metric

from shiftaddaug.tasks.base import Objective, at_least_float32
from shiftaddaug.tasks.evaluation import Evaluation
from shiftaddaug.tasks.figures import PERCENT, Figure
from shiftaddaug.tasks.settings import TaskSettings

CLASSES, IGNORED = 3, 255


@dataclass(frozen=True)
class PixelSettings(TaskSettings):
    name = "pixels"
    figures = (Figure("miou", "mIoU", PERCENT, digits=2), Figure("right", "pixels", PERCENT, training=False))


class MeanIoU(Metric):
    """Counts into one matrix over the whole split."""

    full_state_update = False
    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("matrix", torch.zeros(CLASSES, CLASSES, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, wanted: Tensor) -> None:
        seen = wanted != IGNORED
        pairs = wanted[seen].long() * CLASSES + outputs.argmax(1)[seen]
        self.matrix = self.matrix + torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES)

    def of_classes(self) -> Tensor:
        hits = self.matrix.diag()
        return hits / (self.matrix.sum(0) + self.matrix.sum(1) - hits)

    def compute(self) -> Tensor:
        return self.of_classes().mean()


class Right(Metric):
    """Reads the matrix of another metric, which is updated once."""

    full_state_update = False

    def __init__(self, counted: MeanIoU) -> None:
        super().__init__()
        self.counted = counted

    def update(self, outputs: Tensor, wanted: Tensor) -> None:
        pass

    def compute(self) -> Tensor:
        return self.counted.matrix.diag().sum() / self.counted.matrix.sum()


class Pixels(Objective):
    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(at_least_float32(outputs), wanted.long(), ignore_index=IGNORED)

    def metrics(self) -> dict[str, Metric]:
        counted = MeanIoU()
        return {"miou": counted, "right": Right(counted)}

    def details(self, metrics: Any) -> dict[str, Any]:
        return {"iou_percent_of_classes": [round(100 * float(value), 2) for value in metrics["miou"].of_classes()]}

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1).to(torch.uint8)

    def show(self, value: Tensor) -> Tensor:
        return torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]] * 100, dtype=torch.uint8)[value.long()].movedim(
            -1, 0
        )


class _OutputsAreTheImage(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


def pixels() -> Pixels:
    return Pixels(PixelSettings(headline="miou", better="max"), CLASSES)


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    masks = [torch.randint(CLASSES, (n, 8, 8), generator=generator, dtype=torch.uint8) for n in (4, 2)]
    masks[0][:, 0] = IGNORED
    return [(torch.randn(len(mask), CLASSES, 8, 8, generator=generator), mask) for mask in masks]


def test_it_keeps_to_the_contract() -> None:
    check_objective(pixels(), *(torch.cat(parts) for parts in zip(*batches(), strict=True)))


@pytest.mark.filterwarnings("ignore")
def test_a_split_is_measured_as_a_whole() -> None:
    module = Evaluation(_OutputsAreTheImage(), pixels())
    trainer = quiet_trainer()
    for _ in range(2):  # the second time from empty metrics
        metrics = dict(trainer.validate(module, loader(batches()), verbose=False)[0])  # type: ignore[arg-type]
        found = module.results("val", metrics)
    outputs, masks = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    guessed, seen = outputs.argmax(1), masks != IGNORED
    ious = []
    for label in range(CLASSES):
        ours, theirs = (guessed == label) & seen, masks == label
        ious.append(float((ours & theirs).sum() / (ours | theirs).sum()))
    assert found["val_miou_percent"] == round(100 * sum(ious) / CLASSES, 2)
    assert found["val_right_percent"] == round(100 * float((guessed == masks)[seen].float().mean()), 4)
    assert found["val_iou_percent_of_classes"] == [round(100 * iou, 2) for iou in ious]
