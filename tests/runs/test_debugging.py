"""Runs for debugging keep to themselves: no other run goes on from them, or takes them for finished."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import read_json, write_json
from shiftaddaug.runs.checkpoints import find_checkpoint
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.identity import first_difference
from tests.build import names
from tests.commands.running import LITTLE, composed

STAGES = "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]"


@pytest.mark.parametrize("mode", names("debug"))
def test_a_mode_states_its_name_which_identifies(mode: str, tmp_path: Path) -> None:
    config = plain(composed(tmp_path / "run", f"debug={mode}"))
    assert config["debug"] == mode
    assert first_difference({**config, "debug": None}, config) == ("debug", None, mode)
    assert first_difference({key: value for key, value in config.items() if key != "debug"}, config) is not None


def test_ckpt_path_last_leaves_them_out(tmp_path: Path) -> None:
    for name, mode in (("debugged", "fast"), ("run", None)):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
        write_json(tmp_path / name / "run.json", {"debug": mode})
    assert find_checkpoint("last", tmp_path, {}) == tmp_path / "run" / "checkpoints" / "last.ckpt"
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"^ckpt_path=last: no checkpoints/last\.ckpt in any run under "):
        find_checkpoint("last", tmp_path, {})


class _Labels(pl.Callback):
    """Keep the labels of the batches of each epoch."""

    seen: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.setdefault(trainer.current_epoch, []).extend(batch[1].tolist())


def test_overfitting_trains_the_same_images_in_every_epoch_and_resume_trains_anew(tmp_path: Path) -> None:
    shape = [argument for argument in LITTLE if "limit_" not in argument]
    for i in range(2):
        _Labels.seen.clear()
        chosen = ("debug=overfit", "trainer.overfit_batches=2", "trainer.max_epochs=2", "resume=true", "aug=none")
        train(composed(tmp_path / str(i), *shape, STAGES, *chosen, f"+callbacks.labels._target_={__name__}._Labels"))
        assert _Labels.seen[0] == _Labels.seen[1]
        assert len(_Labels.seen[0]) == 64
        assert read_json(tmp_path / str(i) / "run.json")["debug"] == "overfit"
