"""Two processes with synchronised batch-norm train what one process with all their images trains."""

from pathlib import Path

import pytest
import torch

from shiftaddaug.commands.checkpoints import read_checkpoint
from shiftaddaug.report.results import read_json
from tests.commands.running import command

LINE = (
    "op=shift", "net=resnet20", "aug=full", "sharing=heterogeneous", "reorder=l1", "block_variant=block",
    "bn=recalibrated", "aug.distill_weight=1", "trainer.precision=64-true", "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false", "trainer.max_epochs=2", "+trainer.limit_train_batches=2", "optim.lr=0.01",
    "optim.warmup_epochs=0", "data.image_size=8", "data.crop_padding=0",
)  # fmt: skip
"""In float64, for in float32 one activation whose sign is decided by rounding moves all gradients below it."""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Weights within 1e-9, and what results.json says, every mechanism of the method active."""
    one, two = tmp_path / "one", tmp_path / "two"
    runs = [
        command(*LINE, "data.batch_size=16", f"hydra.run.dir={one}"),
        command("trainer=ddp", "trainer.devices=2", "trainer.sync_batchnorm=true", *LINE, "data.batch_size=8",
                f"hydra.run.dir={two}"),
    ]  # fmt: skip
    assert [run.returncode for run in runs] == [0, 0], runs
    weights, theirs = (read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"] for run in (one, two))
    assert weights.keys() == theirs.keys()
    for name, value in weights.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-9, atol=1e-9, msg=lambda text, at=name: f"{at}: {text}")
    for name in ("val_loss", "test_loss", "train_top1_percent", "test_top1_percent"):
        assert read_json(two / "results.json")[name] == pytest.approx(read_json(one / "results.json")[name], rel=1e-9)
