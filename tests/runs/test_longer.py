"""A run that has ended is trained further, from what is typed to what is recorded of it."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Timer

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import load_target
from shiftaddaug.runs.checkpoints import find_checkpoint
from shiftaddaug.runs.longer import refuse_finished
from shiftaddaug.runs.repeated import going_on
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed, run_little

STAGES = "[{block: inverted_bottleneck, channels: 8, expand: 2, stride: 2, depth: 2}]"
NET = ("data=digits", "op=add", f"net.stages={STAGES}", "net.stem_stride=2", "optim.warmup_epochs=0")
WHOLE = (*NET, "aug=full", "aug.extra_blocks=1", "block_variant=layer")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, of the whole method."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run_little(folder, *WHOLE, "trainer.max_epochs=2")["ended_by"] == "trainer.max_epochs"
    return folder


def curve(folder: Path, name: str) -> list[float]:
    rows = csv.DictReader((folder / "metrics.csv").open())
    return [float(row[name]) for row in rows if row.get(name)]


def test_it_gets_more_epochs(finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    longer, before = tmp_path / "longer", (finished / "results.json").read_text()
    given = (*WHOLE, f"ckpt_path={finished}/checkpoints/last.ckpt", "trainer.max_epochs=4")
    results = run_little(longer, *given)
    assert "has finished, and is trained to 4: the learning rate goes on as in a run of 4 epochs" in caplog.text
    assert "training ended before" not in caplog.text  # nothing that had turned, or gone, is back
    assert (results["epochs"], results["lengthened_from"]) == (4, [2])
    assert json.loads((longer / "run.json").read_text())["lengthened_from"] == [2]
    assert (finished / "results.json").read_text() == before
    expected = [0.1 * (1 + torch.cos(torch.tensor(torch.pi * step / 12))) / 2 for step in range(6, 12)]
    assert curve(longer, "lr") == pytest.approx([float(value) for value in expected])


def test_a_longer_run_is_none_from_the_beginning(finished: Path, tmp_path: Path) -> None:
    """Nor is what goes on from it; and it may be lengthened once more."""
    logs = tmp_path / "logs"
    given = (*NET, "aug=none", f"paths.log_dir={logs}")
    run_little(logs / "a", *given, "trainer.max_epochs=1")
    run_little(logs / "b", *given, "trainer.max_epochs=2", f"ckpt_path={logs}/a/checkpoints/last.ckpt")
    with ExitStack() as held:
        settings = read_settings(composed(logs / "c", *LITTLE, *given, "trainer.max_epochs=2", "resume=true"))
        assert going_on(settings, held)[0].top.ckpt_path is None
    results = run_little(logs / "d", *given, "trainer.max_epochs=3", f"ckpt_path={logs}/b/checkpoints/last.ckpt")
    assert results["lengthened_from"] == [1, 2]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (("trainer.max_epochs=2",), "that run has finished: there is nothing left to train; options: trainer.max_epo"),
        (("trainer.max_epochs=1",), "was trained with trainer.max_epochs=2, this run has trainer.max_epochs=1"),
        (("trainer.max_epochs=4", "optim.lr=0.01"), "was trained with optim.lr=0.1, this run has optim.lr=0.01"),
    ],
)
def test_another_run_is_refused(changed: tuple[str, ...], line: str, finished: Path, tmp_path: Path) -> None:
    path = finished / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError) as error:
        run_little(tmp_path / "run", *WHOLE, f"ckpt_path={path}", *changed)
    assert str(error.value).startswith(f"ckpt_path={path}: {line}")
    assert not (tmp_path / "run").exists()


class AnHourPasses(pl.Callback):
    """After the second epoch, so that the third is cut short."""

    only_watches = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
            timers[0]._offset = 3600


def test_a_run_ended_by_its_time_limit_goes_on(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    given = (*NET, "aug=none", f"paths.log_dir={logs}", "trainer.max_epochs=3")
    slow = ("trainer.max_time={hours: 1}", "+callbacks.hour={_target_: tests.runs.test_longer.AnHourPasses}")
    stopped = run_little(logs / "stopped", *given, *slow)
    assert (stopped["ended_by"], stopped["epochs"]) == ("trainer.max_time", 2)
    last = logs / "stopped" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"max_time=.* has ended that run, its parts .*; options: a larger trainer"):
        run_little(logs / "again", *given, slow[0], f"ckpt_path={last}")
    assert find_checkpoint("last", logs, composed(logs / "x", *LITTLE, *given)) == last
    settings = read_settings(composed(logs / "reused", *LITTLE, *given, slow[0], "resume=true"))
    with ExitStack() as held:
        assert going_on(settings, held)[1] is not None
    resumed = run_little(logs / "resumed", *given, "resume=true")
    assert (resumed["ended_by"], resumed["epochs"], resumed.get("lengthened_from")) == ("trainer.max_epochs", 3, None)
    whole = run_little(tmp_path / "whole" / "whole", *given, f"paths.log_dir={tmp_path}/whole")
    assert resumed["val_top1_percent"] == whole["val_top1_percent"]
    states = [
        load_target(folder / "target").net.state_dict() for folder in (logs / "resumed", tmp_path / "whole/whole")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_another_callback_has_ended_it(tmp_path: Path) -> None:
    stop = "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, stopping_threshold: 1e9}"
    results = run_little(tmp_path / "run", *NET, "aug=none", "trainer.max_epochs=3", f"+callbacks.early={stop}")
    assert (results["ended_by"], results["epochs"]) == ("callbacks.early", 1)


def recorded(folder: Path, ended_by: str) -> Path:
    """A run of which only its results are looked at."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"ended_by": ended_by}))
    return folder / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("ended_by", "line"),
    [
        (
            "callbacks.early_stopping",
            "callbacks.early_stopping has ended that run before trainer.max_epochs=3, and would end it again whatever "
            "trainer.max_epochs; options: a run from the beginning, with other keys of callbacks.early_stopping",
        ),
        (
            "trainer.max_time",
            "trainer.max_time=00:01:00:00 has ended that run, its parts counted together; options: a larger "
            "trainer.max_time, or null",
        ),
    ],
)
def test_more_epochs_do_not_help_what_something_else_has_ended(ended_by: str, line: str, tmp_path: Path) -> None:
    """It would train nothing, and test the same target again."""
    path = recorded(tmp_path, ended_by)
    theirs, ours = ({"trainer": {"max_epochs": n, "max_time": "00:01:00:00"}} for n in (3, 5))
    with pytest.raises(UserError) as error:
        refuse_finished(path, theirs, ours)
    assert str(error.value) == f"ckpt_path={path}: {line}"


def test_more_epochs_and_more_time_are_warned_of_as_more_epochs_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = {"trainer": {"max_epochs": 3, "max_time": "00:01:00:00"}}
    refuse_finished(recorded(tmp_path, "trainer.max_time"), theirs, {"trainer": {"max_epochs": 5}})
    assert "a run of trainer.max_epochs=3 has been ended by trainer.max_time, and is trained to 5" in caplog.text
