"""What an evaluation refuses, in one line that names the key, before it reads a checkpoint; what it changes of data."""

from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import RESULTS
from shiftaddaug.runs.eval_settings import EvalSettings, read_eval_settings
from tests.commands.running import composed

DIGITS = {"_target_": "shiftaddaug.data.digits.DigitsDataModule", "name": "digits", "batch_size": 64}


def settings(folder: Path, *overrides: str) -> EvalSettings:
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "architecture.json").touch()
    cfg = composed(folder / "run", f"ckpt_path={folder / 'out'}", *overrides, config_name="eval")
    return read_eval_settings(cfg, overrides)


@pytest.mark.parametrize(("change", "keys"), [("verify=false", "data.batch_size"), ("data_dir=x", "data.batch_size")])
def test_an_evaluation_changes_only_what_its_data_have(change: str, keys: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^data\.{change.split('=')[0]}=.*: data=digits has no such key; .*: {keys}$"):
        settings(tmp_path / "a", f"data.{change}").changed(DIGITS)
    assert settings(tmp_path / "b", "data.batch_size=8").changed(DIGITS) == DIGITS | {"batch_size": 8}


def test_data_lie_where_they_are_said_to_lie(tmp_path: Path) -> None:
    """A target stores no path; a checkpoint's is used unless another one is typed."""
    default = str(tmp_path / "data")
    assert settings(tmp_path / "a").changed({"data_dir": "there"}) == {"data_dir": "there"}
    assert settings(tmp_path / "b", "paths.data_dir=here").changed({"data_dir": "there"}) == {"data_dir": "here"}
    found = settings(tmp_path / "c", f"paths.data_dir={default}").changed({"data_dir": None})
    assert found == {"data_dir": default}


def test_an_evaluation_overwrites_no_results(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RESULTS).write_text("{}")
    (tmp_path / "run" / "architecture.json").touch()
    with pytest.raises(UserError, match=r"run: holds results already, which are never overwritten"):
        read_eval_settings(composed(tmp_path / "run", f"ckpt_path={tmp_path / 'run'}", config_name="eval"))
    assert (tmp_path / "run" / RESULTS).read_text() == "{}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("split=all",), "split=all: no such option; options: val, test"),
        (("data.batch_size=0",), "data.batch_size=0: must be a whole number"),
        (("trainer.accelerator=gpuu",), "trainer.accelerator=gpuu: no such option"),
        (("subnet.width_multiplier=0.5", "ckpt_path=TARGET"), r"subnet\.width_multiplier=0\.5: must be a number >= 1"),
        (
            ("subnet.expand_multiplier=2", "ckpt_path=TARGET"),
            r"subnet\.expand_multiplier=2: .*/target is no checkpoint",
        ),
        (
            ("recalibrate_batches=-1", "ckpt_path=TARGET"),
            "recalibrate_batches=-1: must be a whole number >= 0 or null",
        ),
    ],
)
def test_evaluation(line: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "run" / "target").mkdir(parents=True)
    (tmp_path / "run" / "target" / "architecture.json").touch()
    line = tuple(argument.replace("TARGET", str(tmp_path / "run" / "target")) for argument in line)
    with pytest.raises(UserError, match=message):
        read_eval_settings(composed(tmp_path / "out", f"ckpt_path={tmp_path / 'run'}", *line, config_name="eval"))


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        (["trainer.max_epochs=3", "split=val"], ["an evaluation trains nothing: trainer.max_epochs=3"]),
        (["+trainer.limit_val_batches=3"], ["split=test is evaluated: +trainer.limit_val_batches=3"]),
        (["+trainer.logger=false"], ["the command makes its own: +trainer.logger=false"]),
        (["trainer.enable_progress_bar=true"], ["an evaluation shows no bar: trainer.enable_progress_bar=true"]),
        (["seed=1"], ["nothing is drawn at random: seed=1"]),
        (["paths.data_dir=here"], ["data=digits reads no files there: paths.data_dir=here"]),
        (["seed=1", "recalibrate_batches=2", "+trainer.limit_test_batches=3", "trainer.precision=64-true"], []),
    ],
)
def test_what_an_evaluation_does_not_read_is_told(
    typed: list[str], lines: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings(tmp_path, *typed).changed(DIGITS)
    assert [record.getMessage() for record in caplog.records] == [f"no effect, because {line}" for line in lines]
