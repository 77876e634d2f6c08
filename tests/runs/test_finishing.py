"""Ctrl-C is answered at every step of a run, with the command that resumes it; other endings pass through."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug.runs.finishing import finishing
from shiftaddaug.runs.lightning_trainer import interruptible
from shiftaddaug.runs.prepare import Prepared


def run_in(folder: Path, resumed: Path | None = None) -> Any:
    settings = SimpleNamespace(folder=folder, catalogue=None, typed=("op=add", "ckpt_path=older"))
    run = SimpleNamespace(settings=settings, trainer=SimpleNamespace(is_global_zero=False), ckpt_path=resumed)
    run.resumable = Prepared.resumable.fget(run)  # type: ignore[attr-defined]
    return run


def ended(run: Any, end: Callable[[], None]) -> KeyboardInterrupt:
    with pytest.raises(KeyboardInterrupt) as caught, finishing(run):
        end()
    return caught.value


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("there", "resumed", "named"), [(True, None, "last"), (False, "old", "old"), (False, None, "")]
)
def test_ctrl_c_says_how_to_resume(there: bool, resumed: str | None, named: str, tmp_path: Path) -> None:
    last, old = tmp_path / "checkpoints" / "last.ckpt", tmp_path / "old.ckpt"
    if there:
        last.parent.mkdir()
        last.touch()
    error = ended(run_in(tmp_path, None if resumed is None else old), interrupt)
    path = {"last": last, "old": old, "": None}[named]
    resumes = f"python src/train.py op=add ckpt_path={path} resumes from the last finished epoch"
    assert error.args == (() if path is None else (resumes,))


def test_once_trained_it_says_how_to_deploy(tmp_path: Path) -> None:
    def deploy() -> None:
        with finishing(run_in(tmp_path, tmp_path / "old.ckpt")) as ending:
            ending.trained = True
            interrupt()

    with pytest.raises(KeyboardInterrupt) as caught:
        deploy()
    again = f"python src/train.py op=add ckpt_path={tmp_path}/old.ckpt"
    assert caught.value.args == (f"training has finished, deployment has not: {again} deploys and tests",)


def test_lightnings_answer_to_ctrl_c_is_told_from_other_exits() -> None:
    def leave(interrupted: bool) -> None:
        with interruptible(SimpleNamespace(interrupted=interrupted), "go on"):  # type: ignore[arg-type]
            raise SystemExit(1)

    with pytest.raises(KeyboardInterrupt, match="go on"):
        leave(True)
    with pytest.raises(SystemExit):
        leave(False)
