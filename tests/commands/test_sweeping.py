"""A multirun that cannot be swept over, or leaves nothing to run, is one line that names what was typed."""

import sys
from pathlib import Path

import pytest

from shiftaddaug.commands.entry import run_command
from shiftaddaug.commands.sweeping import Jobs


def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, f"paths.log_dir={tmp_path}"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        run_command("train", lambda cfg: cfg.seed)
    assert exit_.value.code == 2
    return capsys.readouterr().err


OPTUNA = "hydra/sweeper=optuna"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seed=range(0)"], "seed=range(0): leaves nothing to run"),
        (["seed=range(0,3,0)"], "seed=range(0,3,0): cannot be swept over (ValueError: range() arg 3 must not be zero)"),
        (["hydra.sweeper.max_batch_size=0", "seed=0,1"], "seed=0,1: cannot be swept over (AssertionError)"),
        ([OPTUNA, "optim.lr=interval(1,0.1)"], "optim.lr=interval(1,0.1): cannot be searched (`low <= high`"),
        ([OPTUNA, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be a whole number >= 1"),
        (["--cfg", "job"], "--cfg -m: ValueError: Only one of --run, --multirun, --cfg"),
    ],
)
def test_one_line(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    said = answer(capsys, monkeypatch, tmp_path, "-m", *arguments).splitlines()[-1]
    assert said.startswith(f"error: {line}")


def test_a_bug_of_a_job_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", f"paths.log_dir={tmp_path}"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        run_command("train", lambda cfg: 1 / cfg.seed)


def test_a_killed_worker_of_a_launcher_is_no_matter_of_what_is_swept() -> None:
    error = type("TerminatedWorkerError", (RuntimeError,), {"__module__": "joblib.externals.loky"})("no memory")
    said = Jobs().mistake(["-m", "seed=0,1"], error, answer.__code__)
    assert said == "hydra/launcher: TerminatedWorkerError: no memory; run it again with resume=true to go on"
