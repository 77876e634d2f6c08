"""Every command's entry: mistakes in one line on stderr and status 2, bugs with their traceback, folders kept."""

import errno
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from shiftaddaug.commands.entry import TRACEBACKS, run_command
from shiftaddaug.commands.folders import claim_folders
from shiftaddaug.errors import UserError
from shiftaddaug.runs.compose import expand_home
from shiftaddaug.runs.settings import read_settings


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "paths.log_dir", "hydra.output_subdir"])
def test_unwritable_folders(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=rf"{key}=.*/below: cannot write there \(.*file is not a writable folder\)"):
        claim_folders([f"{key}={file}/below"])


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("pathlib.Pth", "error: Error locating target 'pathlib.Pth'"),
        ("fractions.Fraction", None),  # 1 / 0
        ("datetime.date", "error: Error in call to target 'datetime.date'"),  # month 0 is a ValueError
    ],
)
def test_what_breaks_while_it_is_built_keeps_its_traceback(
    target: str,
    line: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={tmp_path}"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(InstantiationException if line is None else SystemExit):
        run_command(
            "train", lambda _: instantiate({"_target_": target, "_args_": [1, 0, 1] if "date" in target else [1, 0]})
        )
    assert capsys.readouterr().err.startswith(line or "")


def test_a_mistake_in_one_job_of_a_multirun_leaves_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines, done = (
        ["train.py", "-m", "optim.lr=-1,0.1", f"paths.log_dir={tmp_path}", f"hydra.sweep.dir={tmp_path}/m"],
        [],
    )
    monkeypatch.setattr(sys, "argv", lines)
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        run_command("train", lambda cfg: read_settings(cfg) and done.append(cfg.optim.lr))
    assert (exit_.value.code, done) == (2, [0.1])
    assert "error: 1 of the jobs failed: optim.lr=-1: must be a number > 0" in capsys.readouterr().err
    table = (tmp_path / "m" / "jobs.csv").read_text().splitlines()
    assert table[1].startswith("0,optim.lr=-1,failed,")


def test_a_full_disk_is_answered_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "logs/metrics.csv")

    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={tmp_path}"])
    with pytest.raises(SystemExit) as exit_:
        run_command("train", write)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: logs/metrics.csv: could not be written (No space left on device)\n"


def test_a_sweep_folder_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    claim_folders([f"hydra.sweep.dir={tmp_path}/sweep"])
    (tmp_path / "sweep" / "0" / "run.json").touch()
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir=.*: holds a run already, which is never overwritten"):
        claim_folders([f"hydra.sweep.dir={tmp_path}/sweep"])


def test_a_runs_folder_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever key names it, and whatever the command."""
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    old = tmp_path / "old"
    old.mkdir()
    (old / "run.json").touch()
    for key in ("hydra.run.dir", "paths.output_dir"):
        with pytest.raises(
            UserError, match=rf"^{re.escape(key)}=.*old: holds a run already, which is never overwritten"
        ):
            claim_folders([f"{key}={old}"])


def test_an_unknown_key_is_looked_for_in_the_commands_own_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", "splitt=val"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit):
        run_command("eval", lambda cfg: None)
    error = capsys.readouterr().err
    assert error.startswith("error: splitt: no such key; did you mean split? options: ")
    assert "ckpt_path" in error
    assert "optim" not in error


def test_a_group_that_the_command_does_not_have(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", "op=add"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit):
        run_command("eval", lambda cfg: None)
    assert capsys.readouterr().err == "error: op=add: no such group; options: paths, trainer, hardware\n"


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("paths.data_dir=~/data", "paths.data_dir=/home/a/data"),
        ("paths.data_dir='~/data'", "paths.data_dir='/home/a/data'"),
        ("+x=~", "+x=/home/a"),
        ("a.b=sqlite:///~/c.db", "a.b=sqlite:////home/a/c.db"),
        ("paths.log_dir=/a/~/b", "paths.log_dir=/a/~/b"),
        ("~callbacks.ema", "~callbacks.ema"),
        ("a=~b/c", "a=~b/c"),
        ("-m", "-m"),
    ],
)
def test_home_is_expanded(argument: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    assert expand_home(argument) == expanded


def test_a_folder_under_home_is_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["train.py", "paths.log_dir=~/my logs"])
    folders: list[str] = []
    run_command("train", lambda cfg: folders.append(cfg.paths.output_dir))
    assert folders[0].startswith(f"{tmp_path}/my logs/train/runs/")


def refused(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, write: str | None = None) -> list[str]:
    """What a start that is refused, once it has written a file or not, leaves in a folder."""

    def refuse(cfg: DictConfig) -> None:
        if write is not None:
            (Path(HydraConfig.get().runtime.output_dir) / write).touch()
        raise UserError("seed=-1: is refused")

    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(folder))
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={folder}/logs", *arguments])
    with pytest.raises(SystemExit):
        run_command("train", refuse)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_refused_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, tmp_path) == []
    assert refused(monkeypatch, tmp_path, f"hydra.run.dir={tmp_path}/new/run") == []
    assert refused(monkeypatch, tmp_path, f"hydra.run.dir={tmp_path}/new/run", "op=bad") == []
    assert not (tmp_path / "new").exists()


def test_it_removes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a folder that was there, nor one with anything in it, nor one of another process of the run."""
    old = tmp_path / "2020-01-01_00-00-00-000000"
    (old / ".hydra").mkdir(parents=True)
    assert f"{old.name}/.hydra/config.yaml" in refused(monkeypatch, tmp_path, f"hydra.run.dir={old}")
    shutil.rmtree(old)
    assert "run/notes.txt" in refused(monkeypatch, tmp_path, f"hydra.run.dir={tmp_path}/run", write="notes.txt")
    assert "run/.hydra/config.yaml" in refused(monkeypatch, tmp_path, f"hydra.run.dir={tmp_path}/run")
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert "run/.hydra/config.yaml" in refused(monkeypatch, tmp_path, f"hydra.run.dir={tmp_path}/run")


@pytest.mark.parametrize(
    ("line", "value", "shown"),
    [
        ("seed=1", None, False),
        ("seed=1", "", False),
        ("op=nothing", "0", False),
        ("seed=1", "False", False),
        ("seed=1", "1", True),
        ("op=nothing", "true", True),
        ("-m seed=1", "1", True),
    ],
)
def test_mistakes_have_a_traceback_for_those_who_ask(
    line: str,
    value: str | None,
    shown: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def refuse(cfg: object) -> None:
        seen.update(os.environ)
        raise UserError("seed: too small")

    seen: dict[str, str] = {}
    monkeypatch.setattr(sys, "argv", ["train.py", *line.split()])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    for name in ("HYDRA_FULL_ERROR", TRACEBACKS):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", value)
    before = dict(os.environ)
    with pytest.raises(SystemExit):
        run_command("train", refuse)
    errors = capsys.readouterr().err
    assert ("Traceback" in errors) is shown
    assert errors.splitlines()[-1].startswith("error: ")
    assert dict(os.environ) == before
    if seen:  # a process that the command starts is told the same
        assert (seen["HYDRA_FULL_ERROR"], seen[TRACEBACKS]) == ("1", value or "")


def test_the_log_file_has_the_traceback_of_a_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(cfg: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py", f"hydra.run.dir={tmp_path}/run"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        run_command("train", fail)
    log = (tmp_path / "run" / "train.log").read_text()
    assert "ERROR Traceback" in log and log.endswith("ZeroDivisionError: a bug\n")
