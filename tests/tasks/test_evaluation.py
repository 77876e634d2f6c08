"""Metrics of the evaluation module against ranks counted by hand."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.tasks.little import classification, loader, quiet_trainer
from torch import Tensor, nn

from shiftaddaug.tasks.evaluation import Batch, Evaluation


class _LogitsAreTheImage(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def scored(ranks: list[int], classes: int) -> Batch:
    """Logits, as images (N, classes, 1, 1), in which the right class i has the `ranks[i]`-th highest."""
    labels = torch.arange(len(ranks)) % classes
    images = torch.empty(len(ranks), classes)
    for i, rank in enumerate(ranks):
        others = [c for c in range(classes) if c != labels[i]]
        order = [*others[: rank - 1], int(labels[i]), *others[rank - 1 :]]
        images[i, order] = -torch.arange(float(classes))
    return images.view(len(ranks), classes, 1, 1), labels


@pytest.fixture
def evaluated() -> Iterator[Any]:
    def evaluate(batches: list[Batch], classes: int, split: str = "validate") -> dict[str, float]:
        module = Evaluation(_LogitsAreTheImage(), classification(classes))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics = getattr(quiet_trainer(), split)(module, loader(batches), verbose=False)
        return dict(metrics[0])

    return evaluate


class TestEvaluation:
    @pytest.mark.parametrize(("method", "split"), [("validate", "val"), ("test", "test")])
    def test_counts_over_unequal_batches(self, evaluated: Any, method: str, split: str) -> None:
        ranks = [[1, 5, 6, 2], [1, 7, 1]]  # top-1: 3 of 7, top-5: 5 of 7
        batches = [scored(batch, 7) for batch in ranks]
        metrics = evaluated(batches, 7, method)
        assert metrics[f"{split}/top1"] == pytest.approx(3 / 7)
        assert metrics[f"{split}/top5"] == pytest.approx(5 / 7)
        partition = math.log(sum(math.exp(-i) for i in range(7)))
        mean = sum(rank - 1 + partition for batch in ranks for rank in batch) / 7  # over images, not over batches
        assert metrics[f"{split}/loss"] == pytest.approx(mean, rel=1e-5)

    @pytest.mark.parametrize(("classes", "measured"), [(3, False), (5, False), (6, True)])
    def test_top5_is_measured_of_six_classes_and_more(self, evaluated: Any, classes: int, measured: bool) -> None:
        metrics = evaluated([scored([1, 2, 3, 3], classes)], classes)
        assert metrics["val/top1"] == 0.25
        assert metrics.get("val/top5") == (1.0 if measured else None)
