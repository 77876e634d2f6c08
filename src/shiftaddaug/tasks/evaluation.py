"""Evaluation of any network by the figures of its task."""

from collections.abc import Mapping
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from shiftaddaug.nets.recalibrate import take_from_first_process
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.figures import LOSS, Figure
from shiftaddaug.tasks.metrics import MeanLoss

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) float32, and what is wanted of them, which only the objective looks into."""


class Evaluation(pl.LightningModule):
    """Loss and figures of a network on batches of images and what is wanted of them.

    Args:
        net: images to outputs.
        objective: of the task.
    """

    def __init__(self, net: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.net, self.objective = net, objective
        self.details: dict[str, Any] = {}
        """What the metrics of the last validation or test said besides the figures."""
        figures, made = objective.figures, objective.metrics()
        metrics: dict[str, Metric] = {f"train_{f.name}": made[f.name] for f in figures if f.training}
        for split in ("val", "test"):
            made = objective.metrics()
            metrics |= {f"{split}_{figure.name}": made[figure.name] for figure in figures}
            metrics[f"{split}_{LOSS.name}"] = MeanLoss()
        self.metrics = nn.ModuleDict(metrics)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the deployed (target) network."""
        outputs: Tensor = self.net(self._prepared(images))
        return outputs

    def _prepared(self, images: Tensor) -> Tensor:
        """The images in the network's own precision (data modules give float32), and in channels_last: in that memory
        layout convolutions, depthwise ones above all, train about twice as fast on a CPU."""
        precision = next(self.net.parameters(), images).dtype
        return images.to(precision).contiguous(memory_format=torch.channels_last)

    def _metric(self, split: str, figure: Figure) -> Metric:
        return cast(Metric, self.metrics[f"{split}_{figure.name}"])

    def _is_headline(self, figure: Figure) -> bool:
        return figure.name == self.objective.settings.headline

    def _evaluate(self, batch: Batch, split: str) -> Tensor:
        """Measure a batch; return the outputs, which callbacks are handed."""
        images, wanted = batch
        outputs = self.objective.infer(self, images)
        loss = self._metric(split, LOSS)
        loss.update(self.objective.evaluation_loss(outputs, wanted), len(images))
        self.log(f"{split}/{LOSS.name}", loss, on_epoch=True, prog_bar=self._is_headline(LOSS))
        for figure in self.objective.figures:
            metric = self._metric(split, figure)
            metric.update(outputs, wanted)
            self.log(f"{split}/{figure.name}", metric, on_epoch=True, prog_bar=self._is_headline(figure))
        return outputs

    def _take_details(self, split: str) -> None:
        """Keep what the metrics of a finished split say besides the figures, before Lightning empties them."""
        figures = self.objective.figures
        self.details = self.objective.details({figure.name: self._metric(split, figure) for figure in figures})

    def results(self, split: str, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What results.json says of a split that has been evaluated: figures as they are recorded, and details.

        Args:
            split: val or test.
            metrics: as the trainer returns them.
        """
        measured = (*self.objective.figures, LOSS)
        figures = {figure.key(split): figure.recorded(metrics[f"{split}/{figure.name}"]) for figure in measured}
        return figures | {f"{split}_{name}": value for name, value in self.details.items()}

    def on_validation_epoch_start(self) -> None:
        """Statistics of the processes differ by an epoch's last step, unless norms are synchronised: after callbacks
        have put averages of the weights there, those that a checkpoint holds are validated everywhere."""
        take_from_first_process(self.net)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self._take_details("val")

    def on_test_epoch_end(self) -> None:
        self._take_details("test")
