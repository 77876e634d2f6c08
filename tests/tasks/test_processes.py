"""What two processes without synchronised batch-norm validate with: one network, the one that is kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from tests.tasks.little import make_task
from torch import Tensor
from torch.multiprocessing import start_processes

from shiftaddaug.callbacks.recalibrate import RecalibrateBatchNorm
from shiftaddaug.nets.recalibrate import NORMS, recalibrate
from shiftaddaug.tasks.training import Training

TRAINER: Any = SimpleNamespace(
    sanity_checking=False, precision_plugin=SimpleNamespace(forward_context=lambda: torch.enable_grad())
)


def statistics(task: Training) -> Tensor:
    """Of all norms, in one vector."""
    norms: list[Any] = [module for module in task.net.modules() if isinstance(module, NORMS)]
    return torch.cat([value.detach().flatten() for n in norms for value in (n.running_mean, n.running_var)])


def begin_validations(rank: int, folder: str) -> None:
    """Statistics into `folder`: those of this process alone, and what running and measured ones become."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    task = make_task("shift")
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(rank))
    recalibrate(task.net, [images])
    seen = {"own": statistics(task)}
    task.on_validation_epoch_start()
    seen["running"] = statistics(task)
    callback = RecalibrateBatchNorm(1)
    callback.on_train_batch_end(TRAINER, task, None, (images, images), 0)
    callback.on_validation_epoch_start(TRAINER, task)
    task.on_validation_epoch_start()
    torch.save(seen | {"recalibrated": statistics(task)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_validation_has_the_same_statistics_everywhere(tmp_path: Path) -> None:
    """Running ones are the first process's, measured ones the mean of what all measured."""
    # forked, they need not import torch once more; neither uses a device or trains, which a fork would forbid
    start_processes(begin_validations, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.allclose(first["own"], second["own"], rtol=0.1)
    assert torch.equal(first["running"], second["running"]) and torch.equal(first["running"], first["own"])
    assert torch.equal(first["recalibrated"], second["recalibrated"])
    torch.testing.assert_close(first["recalibrated"], (first["own"] + second["own"]) / 2, rtol=1e-5, atol=1e-6)
