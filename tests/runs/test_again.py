"""The command that goes on with a run is one that can be typed."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from shiftaddaug.runs.again import command, overrides_of, to_resume
from shiftaddaug.runs.compose import text_of


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def typed(checkpoint: Path, *overrides: str, cwd: Path | None = None) -> None:
    records = checkpoint.parents[1] / ".hydra"
    (records / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    (records / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(cwd or Path.cwd())}}}))


def test_it_has_what_was_typed_but_where_the_run_lies() -> None:
    given = ["op=add", "net.stages=[{a: 1}]", "ckpt_path=x", "resume=true", "paths.output_dir=y", "hydra.run.dir=z",
             "sweep=nas", "sweep.n_trials=3", "hydra/launcher=joblib", "trainer.max_time=00:01:00:00"]  # fmt: skip
    line = command(given, "/a b/epoch=0.ckpt")
    *_, op, stages, time, path = shlex.split(line)
    assert (op, stages, time) == ("op=add", "net.stages=[{a: 1}]", "trainer.max_time=00:01:00:00")
    assert path == "ckpt_path=/a b/epoch=0.ckpt"
    assert line.startswith("python src/train.py op=add ")
    (*_, path) = shlex.split(command([], "/a,b"))
    assert text_of(path) == "/a,b" and path != "ckpt_path=/a,b", "which would be two"


def test_a_refused_resume_is_told_it(checkpoint: Path) -> None:
    difference = ("seed", 1, 0)
    assert to_resume(checkpoint, difference) is None, "nobody knows what was typed"
    typed(checkpoint, "seed=1", "ckpt_path=older")
    assert to_resume(checkpoint, difference) == f"it goes on by: python src/train.py seed=1 ckpt_path={checkpoint}"


@pytest.mark.parametrize(
    ("difference", "answer"),
    [
        (("optim.lr", 0.2, 0.1), "it goes on by: python src/train.py seed=1 optim.lr=0.2 ckpt_path="),
        (("op.name", "it's", "shift"), "it goes on by: python src/train.py seed=1 "),
        (
            ("data.mean", [True, None], [0.305]),
            "it goes on by: python src/train.py seed=1 'data.mean=[true,null]' ckpt",
        ),
        (("optim.warmup_epochs", None, 1), "a default has changed since; at git commit abc it goes on by: python src/"),
        (
            ("callbacks.recalibrate._target_", None, "shiftaddaug.callbacks.recalibrate.RecalibrateBatchNorm"),
            "it goes on by: python src/train.py seed=1 bn=running ckpt_path=",
        ),
        (("added.since", 3, None), "it goes on by: python src/train.py seed=1 ckpt_path="),
    ],
)
def test_a_default_that_has_changed_is_given(difference: tuple[str, Any, Any], answer: str, checkpoint: Path) -> None:
    typed(checkpoint, "seed=1")
    (checkpoint.parents[1] / "run.json").write_text('{"git_commit": "abc"}')
    again = to_resume(checkpoint, difference)
    assert again is not None and again.startswith(answer)


def test_relative_paths_are_those_of_where_the_run_began(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    typed(checkpoint, "data.data_dir=images", "op=add", "seed=1", cwd=tmp_path / "elsewhere")
    assert overrides_of(tmp_path / "run") == [f"data.data_dir={tmp_path}/elsewhere/images", "op=add", "seed=1"]
