"""Run the commands as tests need them: in this process, on little data; or as a user would, in a process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[2]

LITTLE = [
    "data.image_size=16",
    "data.batch_size=32",
    "trainer.accelerator=cpu",
    "+trainer.limit_train_batches=3",
    "+trainer.limit_val_batches=2",
    "+trainer.limit_test_batches=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
]
"""Digits at 16 px, three steps an epoch: a second or so."""


def composed(folder: Path, *overrides: str, config_name: str = "train") -> DictConfig:
    """The configuration of a run in `folder`, whose logs are its siblings."""
    paths = [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", f"paths.data_dir={folder.parent}/data"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose(config_name, overrides=[*paths, *overrides])


def run_little(folder: Path, *overrides: str) -> dict[str, Any]:
    """Train in this process; its results.json."""
    from shiftaddaug.commands.train import train
    from shiftaddaug.report.results import read_json

    train(composed(folder, *LITTLE, *overrides))
    return read_json(folder / "results.json")


def command(*arguments: str, cwd: Path | None = None, script: str = "train") -> subprocess.CompletedProcess[str]:
    """`python src/train.py ...` in a process of its own."""
    line = [sys.executable, str(ROOT / "src" / f"{script}.py"), *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
