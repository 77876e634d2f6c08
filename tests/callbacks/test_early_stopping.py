"""A run that stops early ends at an epoch's end, once, whoever interrupts it, and counts as finished."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.commands.running import composed, run_little
from tests.tasks.little import make_task, quiet_trainer

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import read_history, read_json
from shiftaddaug.runs.checkpoints import find_checkpoint, read_checkpoint
from shiftaddaug.runs.settings import read_settings

STOPS = (
    *("net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]", "aug=none", "op=mult", "trainer.max_epochs=9"),
    *("callbacks=early_stopping", "callbacks.early_stopping.min_delta=1"),
)
"""No figure becomes better by 1: the first validation has the best one."""
PATIENCE = "callbacks.early_stopping.patience"


class _Kill(pl.Callback):
    """Raise when an epoch begins, or when training has ended, as a kill would."""

    only_watches = True

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.epoch is None:
            raise KeyboardInterrupt


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return state


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "run"
    run_little(folder, *STOPS, f"{PATIENCE}=2")
    return folder


def test_it_stops_after_as_many_validations_as_it_has_patience(whole: Path) -> None:
    assert read_json(whole / "results.json")["epochs"] == 3
    assert [*read_history(whole)["val/top1"]] == [0, 1, 2]


def test_a_run_that_has_stopped_has_finished(whole: Path) -> None:
    with pytest.raises(
        UserError, match=r"^ckpt_path=last: the run of these overrides has finished \(.*/run\); options: "
    ):
        find_checkpoint("last", whole.parent, read_checkpoint(whole / "checkpoints/last.ckpt")["config"])


@pytest.mark.parametrize("epoch", [2, None], ids=["after two epochs", "before it is deployed"])
def test_a_killed_run_stops_where_the_whole_one_does(epoch: int | None, whole: Path, tmp_path: Path) -> None:
    killed, resumed = tmp_path / "killed", tmp_path / "resumed"
    kill = f"+callbacks.kill={{_target_: {__name__}._Kill, epoch: {'null' if epoch is None else epoch}}}"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_little(killed, *STOPS, f"{PATIENCE}=2", kill)
    results = run_little(resumed, *STOPS, f"{PATIENCE}=2", f"ckpt_path={killed}/checkpoints/last.ckpt")
    wanted = read_json(whole / "results.json")
    measured = [key for key in wanted if key.startswith(("test_", "val_", "train_top1", "epochs"))]
    assert {key: results[key] for key in measured} == {key: wanted[key] for key in measured}
    if epoch is not None:
        assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_it_stops_at_an_epochs_end_though_it_wants_to_earlier(tmp_path: Path) -> None:
    """Validated after each of three batches: the second wants to stop, and the third is trained all the same."""
    folder = tmp_path / "run"
    results = run_little(folder, *STOPS, f"{PATIENCE}=1", "+trainer.val_check_interval=1")
    assert results["epochs"] == 1
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 3


def test_until_the_least_number_of_epochs_it_counts_and_does_not_stop(tmp_path: Path) -> None:
    assert run_little(tmp_path / "run", *STOPS, f"{PATIENCE}=1", "+trainer.min_epochs=4")["epochs"] == 4


@pytest.mark.parametrize(
    ("headline", "data", "wanted"),
    [("top1", "digits", "max"), ("loss", "digits", "min"), ("miou", "shapes", "max")],
)
def test_it_watches_the_tasks_headline(headline: str, data: str, wanted: str, tmp_path: Path) -> None:
    cfg = composed(
        tmp_path / "run",
        f"data={data}",
        f"task.headline={headline}",
        f"task.better={wanted}",
        "callbacks=early_stopping",
    )
    node = read_settings(cfg).config["callbacks"]["early_stopping"]
    assert (node["monitor"], node["mode"]) == (f"val/{headline}", wanted)


def test_a_run_that_is_too_short_for_its_patience_is_told() -> None:
    from shiftaddaug.callbacks.early_stopping import StopEarly

    stops = StopEarly("val/top1", patience=3)
    reasons = [stops.idle(quiet_trainer(max_epochs=epochs), make_task()) for epochs in (3, 4)]
    assert reasons == ["trainer.max_epochs=3 is over before callbacks.early_stopping.patience=3 can be", None]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (["block_variant=layer"], ["layers turn (callbacks.block_variant.end=0.5)", "+trainer.min_epochs=6 "]),
        (["block_variant=layer", "+trainer.min_epochs=6"], []),
        (["block_variant=layer", "op=mult"], []),
        (["aug=depth"], ["extra blocks go (callbacks.retire_depth.end=0.75)", "+trainer.min_epochs=8 "]),
        ([], []),
    ],
)
def test_stopping_before_a_schedule_has_ended_is_warned_of(
    chosen: list[str], told: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Of ten epochs: layers have turned in the sixth (5 / 9 of training), extra blocks have gone in the eighth."""
    read_settings(composed(tmp_path / "run", "callbacks=early_stopping", *chosen))
    lines = [r.getMessage() for r in caplog.records if "callbacks.early_stopping may stop" in r.getMessage()]
    assert len(lines) == bool(told)
    assert all(part in lines[0] for part in told)


@pytest.mark.parametrize("value", ["0", "1.5", "null"])
def test_patience_is_a_number_of_validations(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^callbacks\.early_stopping\.patience={value}: must be a whole number"):
        read_settings(composed(tmp_path / "run", "callbacks=early_stopping", f"{PATIENCE}={value}"))
