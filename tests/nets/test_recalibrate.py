"""Recalibrated statistics are means over batches of what each batch gives."""

import torch
from torch import nn

from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.recalibrate import recalibrate


def test_means_over_batches() -> None:
    torch.manual_seed(0)
    for norm in (nn.BatchNorm2d(3), HybridBatchNorm2d(Widths(3, 5))):
        norm.eval()
        batches = [torch.randn(4, 3, 2, 2) * (i + 1) + i for i in range(3)]
        assert recalibrate(norm, batches) == 3
        mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
        var = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
        assert torch.allclose(norm.running_mean[:3], mean, atol=1e-6)
        assert torch.allclose(norm.running_var[:3], var, rtol=1e-5)
        assert norm.momentum == 0.1 and not norm.training
        assert norm.num_batches_tracked == 0  # they count what was trained on


def test_without_batches_nothing_changes() -> None:
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(7)
    assert recalibrate(norm, []) == 0
    assert torch.equal(norm.running_mean, torch.full((3,), 7.0))
