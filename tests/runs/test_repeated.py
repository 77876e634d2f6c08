"""`resume=true`: what was finished is not repeated, and what was stopped goes on."""

import fcntl
import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.report.results import results_of
from shiftaddaug.runs.identity import IDENTITY, identity_hash
from shiftaddaug.runs.repeated import going_on
from shiftaddaug.runs.settings import RunSettings, read_settings
from tests.commands.running import composed


def settings_of(folder: Path, *overrides: str) -> RunSettings:
    return read_settings(composed(folder, "resume=true", *overrides))


def earlier(folder: Path, *overrides: str, top1: float | None = None) -> Path:
    """A run that was stopped, or has finished."""
    settings = settings_of(folder, *overrides)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settings.config))
    (folder / "run.json").write_text("{}")
    (folder / "checkpoints" / "last.ckpt").touch()
    if top1 is not None:
        (folder / "results.json").write_text(json.dumps({"val_top1_percent": top1}))
    return folder


def found(settings: RunSettings) -> tuple[str | None, float | None]:
    with ExitStack() as held:
        resumed, score = going_on(settings, held)
    path = resumed.top.ckpt_path
    assert path == resumed.config["ckpt_path"]
    return None if path is None else Path(str(path)).parents[1].name, score


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    earlier(tmp_path / "stopped")
    done = earlier(tmp_path / "done", "logger=tensorboard", top1=12.5)
    assert found(settings_of(tmp_path / "new")) == (None, 0.125)
    assert results_of(tmp_path / "new") == done / "results.json"


def test_a_finished_run_whose_results_are_damaged_is_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = earlier(tmp_path / "done", top1=12.5)
    (done / "results.json").write_text('{"val_top1_percent": "12.5"}')
    assert found(settings_of(tmp_path / "new")) == (None, None)
    assert "is not taken for finished: " in caplog.text


@pytest.mark.parametrize("other", ["seed=1", "op=add", "trainer.max_time=00:00:01:00", "hardware=stm32f746"])
def test_another_run_is(other: str, tmp_path: Path) -> None:
    earlier(tmp_path / "done", other, top1=12.5)
    assert found(settings_of(tmp_path / "new")) == (None, None)


def test_a_stopped_run_goes_on_unless_somebody_trains_it(tmp_path: Path) -> None:
    stopped = earlier(tmp_path / "stopped")
    earlier(tmp_path / "other", "optim.lr=0.01")
    assert found(settings_of(tmp_path / "new")) == ("stopped", None)
    descriptor = os.open(stopped, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert found(settings_of(tmp_path / "new")) == (None, None)
    os.close(descriptor)


def test_it_finds_the_checkpoint_itself_and_is_off_by_default(tmp_path: Path) -> None:
    earlier(tmp_path / "stopped")
    settings = settings_of(tmp_path / "new")
    with pytest.raises(UserError, match=r"^resume=true: finds what it resumes; leave out ckpt_path=last"):
        going_on(replace(settings, top=replace(settings.top, ckpt_path="last")), ExitStack())
    assert found(replace(settings, top=replace(settings.top, resume=False))) == (None, None)


def test_hundreds_of_other_runs_are_told_apart_by_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path / "new")
    for name, seed in (("other", 1), ("stopped", 0)):
        other = earlier(tmp_path / name, f"seed={seed}")
        content = json.dumps({IDENTITY: identity_hash(settings_of(other, f"seed={seed}").config)})
        (other / "run.json").write_text(content)
    monkeypatch.setattr(OmegaConf, "load", None)  # reading a yaml takes 50 ms
    assert found(settings) == ("stopped", None)
