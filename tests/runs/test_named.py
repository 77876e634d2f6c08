"""What names a run: its folder, a file in it, or the newest one."""

import os
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.runs.named import checkpoint_in, evaluated


def run(folder: Path, *files: str, age: int = 0) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
        os.utime(folder / file, (1000 - age, 1000 - age))
    return folder


FINISHED = ("target/architecture.json", "results.json", "checkpoints/last.ckpt")


def test_a_run_stands_for_its_target(tmp_path: Path) -> None:
    finished = run(tmp_path / "a", *FINISHED)
    for named in (finished, finished / "target"):
        assert evaluated("ckpt_path", str(named), tmp_path) == finished / "target"
    checkpoint = finished / "checkpoints" / "last.ckpt"
    assert evaluated("ckpt_path", str(checkpoint), tmp_path) == checkpoint


def test_and_for_its_last_checkpoint(tmp_path: Path) -> None:
    finished = run(tmp_path / "a", *FINISHED)
    for named in (finished, finished / "checkpoints", finished / "checkpoints" / "last.ckpt"):
        assert checkpoint_in(named) == finished / "checkpoints" / "last.ckpt"
    assert checkpoint_in(finished / "target") == finished / "target"


def test_last_is_the_newest_that_has_finished(tmp_path: Path) -> None:
    run(tmp_path / "evaluation", "results.json")
    run(tmp_path / "deploying", "target/architecture.json")
    with pytest.raises(UserError, match=r"^target=last: no run under .* has finished; options: python src/train\.py"):
        evaluated("target", "last", tmp_path)
    run(tmp_path / "old", *FINISHED, age=2)
    newest = run(tmp_path / "multirun" / "3", *FINISHED, age=1)
    assert evaluated("target", "last", tmp_path) == newest / "target"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("checkpoints/last.ckpt",), r"has no target, for that run has not finished; options: .*/checkpoints/last\.ck"),
        (("notes.txt",), r"holds neither a run nor a target; options: last, a run's folder"),
        ((), r"no such file; options: last, a run's folder, its target/, or a \.ckpt file"),
    ],
)
def test_what_has_no_target_says_so(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^ckpt_path={tmp_path}/a: {message}"):
        evaluated("ckpt_path", str(run(tmp_path / "a", *files)), tmp_path)
