"""Two processes train what one does with all their images, whatever surrounds the target and however layers turn."""

import os
import socket
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing import start_processes

from shiftaddaug.commands.train import train
from shiftaddaug.report.results import read_json
from shiftaddaug.runs.checkpoints import read_checkpoint
from shiftaddaug.runs.compose import config_dir
from tests.commands.running import composed


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("[!_]*.yaml"))


AUGS = [name for name in options("aug") if name != "searched"]  # which needs the file of a search
CASES = [*product(AUGS, options("block_variant"))]
LINE = (
    "net.stages=[{block: basic, channels: 8, depth: 2, act: relu}]", "data.image_size=8", "data.crop_padding=0",
    "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=3", "optim.lr=0.01",
    "optim.warmup_epochs=0", "reorder=l1", "bn=recalibrated", "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1",
)  # fmt: skip
TWO = ("trainer.devices=2", "trainer.sync_batchnorm=true", "data.batch_size=8")


def train_all(folder: Path, precision: str, *overrides: str) -> None:
    torch.set_num_threads(1)
    for aug, block_variant in CASES:
        chosen = (f"aug={aug}", f"block_variant={block_variant}", f"trainer.precision={precision}")
        train(composed(folder / f"{aug}-{block_variant}", *LINE, *chosen, *overrides))


def train_as_one_of_two(rank: int, folder: str, precision: str, port: int) -> None:
    """Train as a launcher would have it, in one process group for all runs."""
    place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    train_all(Path(folder), precision, *TWO)


def train_both(folder: Path, precision: str) -> Path:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(train_as_one_of_two, (str(folder / "two"), precision, port), nprocs=2, start_method="spawn")
    train_all(folder / "one", precision, "data.batch_size=16")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in one process and in two, in float64: in float32 a sign that rounding decides moves all below it."""
    return train_both(tmp_path_factory.mktemp("runs"), "64-true")


def weights(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]
    return state


@pytest.mark.slow
@pytest.mark.parametrize(("aug", "block_variant"), CASES)
def test_two_processes_end_with_the_weights_of_one(trained: Path, aug: str, block_variant: str) -> None:
    """The default choice of strategy, for `trainer.devices=2` alone."""
    one, two = (trained / count / f"{aug}-{block_variant}" for count in ("one", "two"))
    theirs = weights(two)
    for name, value in weights(one).items():
        message = partial("{}: {}".format, name)
        torch.testing.assert_close(theirs[name], value, rtol=1e-9, atol=1e-9, msg=message)
    assert read_json(two / "results.json")["epochs"] == 3
