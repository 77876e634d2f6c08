"""Limits on batches, and searches, in one process and in several."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from shiftaddaug.errors import UserError
from shiftaddaug.runs.lightning_trainer import (
    build_trainer,
    check_limits,
    say_profile,
    warn_of_global_draws,
)
from tests.tasks.little import loader, make_batch, make_task

DATA: Any = SimpleNamespace(**{f"{split}_dataloader": lambda: range(40) for split in ("train", "val", "test")})


@pytest.mark.parametrize(
    ("limit", "processes", "refused"),
    [(0.03, 1, False), (0.02, 1, True), (0.03, 4, True), (0.1, 4, False), (0.09, 3, False), (1.0, 64, False)],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_share_is_of_the_batches_of_one_process(limit: float, processes: int, refused: bool, split: str) -> None:
    config = OmegaConf.create({f"limit_{split}_batches": limit})
    check_limits(config, DATA, processes, splits=[])
    if refused:
        with pytest.raises(
            UserError, match=rf"trainer\.limit_{split}_batches={limit}: is less than one of the \d+ bat"
        ):
            check_limits(config, DATA, processes)
    else:
        check_limits(config, DATA, processes)


def test_numbers_of_batches_are_no_shares() -> None:
    check_limits(OmegaConf.create({"limit_train_batches": 1, "limit_val_batches": None}), DATA, 64)


def test_a_share_to_overfit_is_one_of_the_batches_of_training_and_validation() -> None:
    for share, refused in ((0.01, True), (0.03, False), (3, False)):
        config = OmegaConf.create({"overfit_batches": share, "limit_train_batches": 0.001})
        if refused:
            with pytest.raises(UserError, match=r"^trainer\.overfit_batches=0\.01: is less than one of the 40 batches"):
                check_limits(config, DATA, 1)
        else:
            check_limits(config, DATA, 1)
        check_limits(config, DATA, 1, splits=["test"])


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_a_loader_that_draws_from_the_global_generator_is_warned_of(
    generator: torch.Generator | None, caplog: pytest.LogCaptureFixture
) -> None:
    data = pl.LightningDataModule()
    opened = DataLoader(TensorDataset(torch.zeros(4)), generator=generator)
    data.train_dataloader = lambda: opened  # type: ignore[method-assign]
    warn_of_global_draws(data, "mine")
    assert ("data=mine: its training loader draws from the global generator" in caplog.text) == (generator is None)


def test_what_the_trainer_says_is_passed_on_alone() -> None:
    """Without Hydra's words around it."""
    config = OmegaConf.create({"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "strategy": "nope"})
    with pytest.raises(UserError, match=r"^trainer: You selected an invalid strategy name"):
        build_trainer(config, [])


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_several_processes_may_leave_weights_out(strategy: str) -> None:
    """`trainer.devices=2` alone is enough; no group is formed before training."""
    config = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "devices": 2, "strategy": strategy}
    trainer = build_trainer(config, logger=False, enable_checkpointing=False)
    assert trainer.world_size == 2
    assert trainer.strategy._ddp_kwargs == {"find_unused_parameters": True}  # type: ignore[attr-defined]


@pytest.mark.parametrize("profiler", ["simple", {"_target_": "lightning.pytorch.profilers.AdvancedProfiler"}])
def test_a_profilers_report_is_in_the_trainers_folder(
    profiler: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lightning hands it to a log that says nothing of a run's."""
    config = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "profiler": profiler, "max_epochs": 1}
    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = build_trainer({**config, "default_root_dir": str(tmp_path)}, **options)
    trainer.fit(make_task(), loader([make_batch()]))
    caplog.clear()  # of what Lightning says where no run before has quietened it
    with caplog.at_level("INFO"):
        say_profile(trainer)
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
    assert [r.getMessage() for r in caplog.records] == [f"trainer.profiler: wrote {tmp_path / 'fit-profile.txt'}"]


def test_a_profiler_with_a_file_of_its_own_keeps_it_and_none_is_no_profiler(tmp_path: Path) -> None:
    own = {"_target_": "lightning.pytorch.profilers.SimpleProfiler", "dirpath": str(tmp_path), "filename": "mine"}
    for profiler, wanted in ((own, "mine"), (None, None)):
        trainer = build_trainer({"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "profiler": profiler})
        assert getattr(trainer.profiler, "filename", None) == wanted  # type: ignore[attr-defined]
        say_profile(trainer)
