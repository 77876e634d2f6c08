"""Best and last checkpoint, through a real trainer whose validation scores are written down beforehand."""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.tasks.little import fit as fit_batches
from torch import Tensor

from shiftaddaug.callbacks.checkpoint import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, checkpoint_path
from shiftaddaug.errors import UserError

MONITOR = "val/top1"


class _Scored(pl.LightningModule):
    """Its only weight counts the steps; epoch i validates with scores[i]."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores
        self.steps = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.steps

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log(MONITOR, self.scores[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class _Watch(pl.Callback):
    """The epoch in last.ckpt when the next epoch begins."""

    def __init__(self, last: Path) -> None:
        self.last = last
        self.seen: dict[int, int | None] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.seen[trainer.current_epoch] = saved(self.last)["epoch"] if self.last.exists() else None


def saved(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


class _StopAt(pl.Callback):
    """As `trainer.max_time` stops, in the middle of an epoch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


def fit(
    folder: Path, scores: list[float], resume: Path | None = None, *watch: pl.Callback, batches: int = 1
) -> pl.Trainer:
    """So many steps an epoch, into `folder`."""
    callbacks = [BestCheckpoint(str(folder), MONITOR), LastCheckpoint(str(folder)), *watch]
    options = {"max_epochs": len(scores), "callbacks": callbacks, "enable_checkpointing": True}
    return fit_batches(_Scored(scores), [torch.zeros(1)] * batches, [torch.zeros(1)], resume, **options)


def steps_of(path: Path) -> float:
    return float(saved(path)["state_dict"]["steps"])


def best(trainer: pl.Trainer) -> BestCheckpoint:
    return next(callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint))


def test_last_is_written_every_epoch_even_when_validation_gets_worse(tmp_path: Path) -> None:
    watch = _Watch(tmp_path / "last.ckpt")
    fit(tmp_path, [0.7, 0.6, 0.5, 0.4], None, watch)
    assert watch.seen == {0: None, 1: 0, 2: 1, 3: 2}
    assert (saved(tmp_path / "last.ckpt")["epoch"], steps_of(tmp_path / "last.ckpt")) == (3, 4)


@pytest.mark.parametrize(("step", "epoch"), [(3, 0), (4, 1)])
def test_an_epoch_that_was_stopped_half_way_is_trained_again(step: int, epoch: int, tmp_path: Path) -> None:
    fit(tmp_path / "stopped", [0.5, 0.6, 0.7], None, _StopAt(step), batches=2)
    last = tmp_path / "stopped" / "last.ckpt"
    assert (saved(last)["epoch"], steps_of(last)) == (epoch, 2 * (epoch + 1))
    fit(tmp_path / "resumed", [0.5, 0.6, 0.7], last, batches=2)
    assert steps_of(tmp_path / "resumed" / "last.ckpt") == 6


def test_the_best_is_of_a_whole_epoch(tmp_path: Path) -> None:
    """Stopped in the middle of the second epoch, validated with 0.6, and resumed, where that epoch ends with 0.4."""
    trainer = fit(tmp_path / "stopped", [0.5, 0.6, 0.3], None, _StopAt(3), batches=2)
    assert (steps_of(tmp_path / "stopped" / "best.ckpt"), float(best(trainer).best_model_score or 0)) == (2, 0.5)
    trainer = fit(tmp_path / "resumed", [0.5, 0.4, 0.3], tmp_path / "stopped" / "last.ckpt", batches=2)
    assert (steps_of(tmp_path / "resumed" / "best.ckpt"), float(best(trainer).best_model_score or 0)) == (2, 0.5)


def test_best_is_the_highest_score_and_the_only_other_file(tmp_path: Path) -> None:
    trainer = fit(tmp_path, [0.5, 0.7, 0.6, 0.65])
    assert (saved(tmp_path / "best.ckpt")["epoch"], steps_of(tmp_path / "best.ckpt")) == (1, 2)
    assert float(best(trainer).best_model_score or 0) == pytest.approx(0.7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


class TestResumedInAnotherFolder:
    @pytest.fixture(scope="class")
    def stopped(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("stopped")
        fit(folder, [0.5, 0.7])
        return folder

    def test_a_lower_score_does_not_replace_the_old_best(self, stopped: Path, tmp_path: Path) -> None:
        trainer = fit(tmp_path, [0.0, 0.0, 0.65, 0.69], stopped / "last.ckpt")
        assert checkpoint_path(trainer, BestCheckpoint) == tmp_path / "best.ckpt"
        assert (tmp_path / "best.ckpt").read_bytes() == (stopped / "best.ckpt").read_bytes()
        assert float(best(trainer).best_model_score or 0) == pytest.approx(0.7)
        assert checkpoint_path(trainer, LastCheckpoint) == tmp_path / "last.ckpt"
        assert saved(tmp_path / "last.ckpt")["epoch"] == 3

    def test_a_higher_score_does_and_the_old_file_stays(self, stopped: Path, tmp_path: Path) -> None:
        before = (stopped / "best.ckpt").read_bytes()
        trainer = fit(tmp_path, [0.0, 0.0, 0.65, 0.9, 0.8], stopped / "last.ckpt")
        assert checkpoint_path(trainer, BestCheckpoint) == tmp_path / "best.ckpt"
        assert saved(tmp_path / "best.ckpt")["epoch"] == 3
        assert (stopped / "best.ckpt").read_bytes() == before

    def test_resumed_twice_it_is_still_remembered(self, stopped: Path, tmp_path: Path) -> None:
        fit(tmp_path / "second", [0.0, 0.0, 0.6], stopped / "last.ckpt")
        trainer = fit(tmp_path / "third", [0.0, 0.0, 0.0, 0.65], tmp_path / "second" / "last.ckpt")
        assert checkpoint_path(trainer, BestCheckpoint) == tmp_path / "third" / "best.ckpt"
        assert (tmp_path / "third" / "best.ckpt").read_bytes() == (stopped / "best.ckpt").read_bytes()

    def test_from_a_folder_that_was_moved(self, stopped: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        shutil.copytree(stopped, tmp_path / "original")
        fit(tmp_path / "going on", [0.0, 0.0, 0.6], tmp_path / "original" / "last.ckpt")
        (tmp_path / "going on").rename(moved)
        (tmp_path / "original").rename(tmp_path / "elsewhere")
        trainer = fit(tmp_path / "last", [0.0, 0.0, 0.0, 0.65], moved / "last.ckpt")
        assert checkpoint_path(trainer, BestCheckpoint) == tmp_path / "last" / "best.ckpt"
        assert (tmp_path / "last" / "best.ckpt").read_bytes() == (stopped / "best.ckpt").read_bytes()

    def test_without_the_best_there_is_no_resuming(self, stopped: Path, tmp_path: Path) -> None:
        state = saved(stopped / "last.ckpt")["callbacks"]
        best_state = next(value for key, value in state.items() if key.startswith("BestCheckpoint"))
        gone = best_state | {"best_model_path": str(tmp_path / "gone.ckpt")}
        with pytest.raises(UserError, match=r"the best checkpoint of the resumed run, .*gone\.ckpt, is gone"):
            BestCheckpoint(str(tmp_path), MONITOR).load_state_dict(gone)

    def test_the_old_folders_last_stays_too(self, stopped: Path, tmp_path: Path) -> None:
        fit(tmp_path, [0.0, 0.0, 0.9], stopped / "last.ckpt")
        assert saved(stopped / "last.ckpt")["epoch"] == 1


@pytest.mark.filterwarnings("error")
def test_another_folder_is_nothing_to_warn_of(tmp_path: Path) -> None:
    BestCheckpoint(str(tmp_path / "new"), MONITOR).load_state_dict(BestCheckpoint(str(tmp_path), MONITOR).state_dict())
    LastCheckpoint(str(tmp_path / "new")).load_state_dict(LastCheckpoint(str(tmp_path)).state_dict())


def test_no_path_of_a_checkpoint_that_is_gone_or_was_never_written(tmp_path: Path) -> None:
    trainer = fit(tmp_path, [0.5])
    (tmp_path / "best.ckpt").unlink()
    assert checkpoint_path(trainer, BestCheckpoint) is None
    assert checkpoint_path(trainer, LastCheckpoint) == tmp_path / "last.ckpt"
    fresh = pl.Trainer(accelerator="cpu", logger=False, callbacks=[BestCheckpoint(str(tmp_path), MONITOR)])
    assert checkpoint_path(fresh, BestCheckpoint) is None


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def fill(checkpoint: object, half: Path) -> None:
        half.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed\nframe #0: ...")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(UserError, match=r"last\.ckpt: could not be written \(is the disk full\? Pytorch.* failed\)$"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path) == {"epoch": 1}
