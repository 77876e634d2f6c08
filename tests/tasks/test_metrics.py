"""The mean loss counts images, keeps its precision and hides no nan."""

import math

import pytest
import torch

from shiftaddaug.tasks.metrics import MeanLoss


def test_mean_over_images() -> None:
    metric = MeanLoss()
    metric.update(torch.tensor(2.0), 3)
    metric.update(torch.tensor(5.0), 1)
    assert float(metric.compute()) == pytest.approx(11 / 4)
    metric.reset()
    metric.update(torch.tensor(1.0), 7)
    assert float(metric.compute()) == 1


def test_nan_is_not_dropped() -> None:
    metric = MeanLoss()
    metric.update(torch.tensor(math.nan), 3)
    metric.update(torch.tensor(5.0), 1)
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_counts_in_a_module_of_any_precision(dtype: torch.dtype) -> None:
    """40,000 batches: a count in bfloat16 would stop at 256, a sum in float16 overflow at 65,504."""
    module = torch.nn.ModuleDict({"loss": MeanLoss(), "net": torch.nn.Linear(1, 1)}).to(dtype)
    metric = module["loss"]
    for _ in range(400):
        metric.update(torch.tensor(3.0, dtype=dtype), 100)
    assert metric.compute().dtype == torch.float32 and float(metric.compute()) == 3
