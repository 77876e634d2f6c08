"""`train=false` deploys and tests what a checkpoint holds, `test=false` leaves the test set alone; both are said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import read_json
from shiftaddaug.runs.checkpoints import find_checkpoint, read_checkpoint
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed

RUN = (
    *(*LITTLE, "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]", "aug=none", "trainer.max_epochs=2"),
    "tags=[first,wider]",
)


def trained(folder: Path, *overrides: str) -> dict[str, Any]:
    train(composed(folder, *RUN, *overrides))
    return read_json(folder / "results.json")


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "untested"
    trained(folder, "test=false")
    return folder


def target_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "target" / "model.safetensors")


def test_a_run_that_is_not_tested_says_so(untested: Path) -> None:
    results = read_json(untested / "results.json")
    assert results["tested"] is False
    assert results["val_top1_percent"] >= 0
    assert not [key for key in results if key.startswith("test_")]
    assert read_json(untested / "run.json")["tags"] == ["first", "wider"]


def test_a_checkpoint_is_deployed_and_tested_without_a_training(
    untested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, best = tmp_path / "run", untested / "checkpoints" / "best.ckpt"
    results, before = trained(folder, "train=false", f"ckpt_path={best}"), read_json(untested / "results.json")
    assert (results["deployed"], results["tested"], results["train_seconds"]) == ("ckpt_path", True, None)
    assert results["epochs"] == read_checkpoint(best)["epoch"] + 1
    measured = [key for key in before if key.startswith("val_")]
    assert {key: results[key] for key in measured} == {key: before[key] for key in measured}
    assert results["test_top1_percent"] >= 0
    assert all(torch.equal(value, target_of(folder)[name]) for name, value in target_of(untested).items())
    assert not (folder / "checkpoints").exists()
    capsys.readouterr()
    trained(tmp_path / "neither", "train=false", "test=false", f"ckpt_path={best}")
    assert "none: test=false" in capsys.readouterr().out


def test_a_stopped_run_whose_weights_were_deployed_has_not_finished(untested: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    (stopped / "checkpoints").mkdir(parents=True)
    last = stopped / "checkpoints" / "last.ckpt"
    last.write_bytes((untested / "checkpoints" / "last.ckpt").read_bytes())
    (stopped / "run.json").write_text(json.dumps({}))
    trained(tmp_path / "deployed", "train=false", "ckpt_path=last")
    run = read_json(tmp_path / "deployed" / "run.json")
    assert (run["resumed_from"], run["deployed_from"]) == (None, str(last))
    assert find_checkpoint("last", tmp_path, read_checkpoint(last)["config"]) == last


def test_a_finished_run_is_not_trained_again_to_be_tested(untested: Path) -> None:
    again = (*RUN, "resume=true", f"paths.log_dir={untested.parent}")
    train(composed(untested.parent / "reused", *again, "test=false"))
    assert read_json(untested.parent / "reused" / "reused.json") == {"folder": str(untested)}
    with pytest.raises(UserError, match=r"has finished with test=false, .* or train=false ckpt_path=.*/best\.ckpt"):
        train(composed(untested.parent / "tested", *again))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ["train=false"],
            r"^train=false: deploys and tests the weights of a checkpoint, and ckpt_path=null names none",
        ),
        (["train=1"], r"^train=1: must be true or false"),
        (["tags=first"], r"^tags=first: must be a list of words, such as \[first,wider\]"),
        (["print_config=maybe"], r"^print_config=maybe: must be true or false"),
    ],
)
def test_what_is_no_choice_is_refused(typed: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_settings(composed(tmp_path / "run", *typed))


def test_other_overrides_and_several_processes_are_refused(untested: Path, tmp_path: Path) -> None:
    deploy = (*RUN, "train=false", f"ckpt_path={untested}/checkpoints/last.ckpt")
    for name, other, message in (
        ("add", "op=add", r"was trained with op\.name=shift, this run has op\.name=add"),
        (
            "two",
            "trainer.devices=2",
            r"^train=false: deploys and tests in one process, not in 2; options: trainer\.devices=1",
        ),
    ):
        with pytest.raises(UserError, match=message):
            train(composed(tmp_path / name, *deploy, other))
