"""The command that goes on with a run is one that can be typed."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from shiftaddaug.runs.again import Refused, command, overrides_of
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
             "sweep=nas", "sweep.n_trials=3", "hydra/launcher=joblib", "+trainer.max_time=00:01:00:00"]  # fmt: skip
    line = command(given, "/a b/epoch=0.ckpt")
    *_, op, stages, time, path = shlex.split(line)
    assert (op, stages, time) == ("op=add", "net.stages=[{a: 1}]", "trainer.max_time=00:01:00:00"), "a key by now"
    assert path == "ckpt_path=/a b/epoch=0.ckpt"
    assert line.startswith("python src/train.py op=add ")
    (*_, path) = shlex.split(command([], "/a,b"))
    assert text_of(path) == "/a,b" and path != "ckpt_path=/a,b", "which would be two"


def refused(checkpoint: Path, *given: str, trains: bool = True, epochs: int = 3, **trainer: Any) -> str:
    """The answer to a command whose seed is none of the checkpoint's run."""
    theirs = {"seed": 1, "trainer": {"max_epochs": 10, "max_time": "00:01:00:00"}}
    ours = {"seed": 0, "trainer": {"max_epochs": epochs, "max_time": None, **trainer}}
    return Refused(checkpoint, theirs, ours, given, trains).remedy(("seed", 1, 0))


def test_a_refused_resume_is_told_it(checkpoint: Path) -> None:
    assert refused(checkpoint) == "repeat the overrides of the run that is resumed", "nobody knows what was typed"
    typed(checkpoint, "seed=1", "ckpt_path=older")
    assert refused(checkpoint) == f"it goes on by: python src/train.py seed=1 ckpt_path={checkpoint}"


def test_what_any_run_may_change_is_kept_as_it_was_typed(checkpoint: Path) -> None:
    """A deployment stays one: in one process, and the test set is looked at unless the user says otherwise."""
    typed(
        checkpoint, "seed=1", "test=false", "logger=csv", "trainer.devices=2", "logger.csv.flush_logs_every_n_steps=5"
    )
    given = ("op=add", "logger=wandb", "train=false", "ckpt_path=x")
    line = f"it is deployed by: python src/train.py seed=1 logger=wandb train=false ckpt_path={checkpoint}"
    assert refused(checkpoint, *given, trains=False) == line
    assert " train=false test=false ckpt_path" in refused(checkpoint, "train=false", "test=false", trains=False)
    assert " test=false " in refused(checkpoint), "as that run had it"
    assert " test=true " in refused(checkpoint, "test=true") and " test=false " not in refused(checkpoint, "test=true")


def test_a_finished_run_does_not_go_on_by_itself(checkpoint: Path) -> None:
    run = checkpoint.parents[1]
    (run / "results.json").write_text("{}")
    assert refused(checkpoint) == (
        "repeat the overrides of the run that is resumed, which has finished: trainer.max_epochs above 10 "
        "trains it further; train=false tests it"
    )
    typed(checkpoint, "seed=1", "trainer.max_epochs=10", "test=false")
    for epochs, more in ((3, 20), (11, 11)):
        assert refused(checkpoint, epochs=epochs) == (
            f"that run has finished; python src/train.py seed=1 test=false trainer.max_epochs={more} ckpt_path={run} "
            f"trains it further (trainer.max_epochs above 10); python src/train.py seed=1 trainer.max_epochs=10 "
            f"train=false ckpt_path={run} tests it"
        )
    (run / "results.json").write_text('{"ended_by": "callbacks.early"}')
    ended = "that run has finished; callbacks.early has ended it, and would end it again; python src/train.py seed=1 "
    assert refused(checkpoint).startswith(ended)
    assert refused(checkpoint, "train=false", trains=False).startswith("it is deployed by: python src/train.py seed=1 ")


def test_a_run_that_its_time_limit_has_ended_gets_more(checkpoint: Path) -> None:
    (checkpoint.parents[1] / "results.json").write_text('{"ended_by": "trainer.max_time"}')
    typed(checkpoint, "seed=1", "+trainer.max_time=00:01:00:00")
    larger, same = "00:02:00:00", "00:01:00:00"
    for given, kept in ((None, "null"), (same, "null"), (larger, larger)):
        overrides = () if given is None else (f"+trainer.max_time={given}",)
        line = f"it goes on by: python src/train.py seed=1 trainer.max_time={kept} ckpt_path={checkpoint}"
        assert refused(checkpoint, *overrides, max_time=given) == line


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
    assert Refused(checkpoint, {}, {}).remedy(difference).startswith(answer)


def test_relative_paths_are_those_of_where_the_run_began(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    typed(checkpoint, "data.data_dir=images", "op=add", "seed=1", cwd=tmp_path / "elsewhere")
    assert overrides_of(tmp_path / "run") == [f"data.data_dir={tmp_path}/elsewhere/images", "op=add", "seed=1"]
