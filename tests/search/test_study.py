"""Studies of searches: made once, gone on with, told the right direction; what a killed search left is failed."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from omegaconf import DictConfig
from optuna.trial import TrialState
from tests.build import CONFIGS

from shiftaddaug.errors import UserError
from shiftaddaug.search.study import PrepareStudy


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=["hydra/sweeper=optuna", *overrides], return_hydra_config=True)


@pytest.mark.parametrize(
    ("overrides", "direction"),
    [
        ((), "maximize"),
        (("task.headline=loss", "task.better=min"), "minimize"),
        (("hydra.sweeper.direction=minimize",), "minimize"),
    ],
)
def test_the_headline_is_searched_for_wherever_optuna_is_chosen(overrides: tuple[str, ...], direction: str) -> None:
    config = composed(*overrides)
    PrepareStudy().on_multirun_start(config)
    assert (config.hydra.sweeper.direction, config.hydra.sweeper.max_failure_rate) == (direction, 1.0)


def test_other_sweepers_are_left_alone() -> None:
    config = composed("hydra/sweeper=basic")
    PrepareStudy(named_by_content=True).on_multirun_start(config)
    assert set(config.hydra.sweeper) == {"_target_", "max_batch_size", "params"}


@pytest.fixture
def sweeping(tmp_path: Path) -> DictConfig:
    return composed(f"hydra.sweeper.storage='sqlite:///{tmp_path}/new/a.db'", "hydra.sweeper.study_name=s")


def study_of(config: DictConfig) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=config.hydra.sweeper.storage)


def test_searches_that_begin_at_once_share_a_study(sweeping: DictConfig) -> None:
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            PrepareStudy().on_multirun_start(sweeping)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert study_of(sweeping).direction == optuna.study.StudyDirection.MAXIMIZE


HOLD = """
import sys, time
from omegaconf import OmegaConf
from shiftaddaug.search.study import PrepareStudy
config = OmegaConf.create({"hydra": {"sweeper": {"storage": sys.argv[1], "study_name": "s", "direction": "maximize",
    "_target_": "x.OptunaSweeper", "max_failure_rate": 0}, "overrides": {"hydra": []}}})
callback = PrepareStudy()
callback.on_multirun_start(config)
print("ready", flush=True)
sys.stdin.read()
"""


def prepare(config: DictConfig) -> None:
    callback = PrepareStudy()
    callback.on_multirun_start(config)
    callback.on_multirun_end(config)


@pytest.mark.slow
def test_trials_of_a_killed_search_are_failed_once_nobody_is_at_work(
    sweeping: DictConfig, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(sweeping)
    study_of(sweeping).ask()
    done = study_of(sweeping).ask()
    study_of(sweeping).tell(done, 0.5)
    line = [sys.executable, "-c", HOLD, sweeping.hydra.sweeper.storage]
    other = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    left = study_of(sweeping).ask()
    prepare(sweeping)
    assert study_of(sweeping).trials[left.number].state == TrialState.RUNNING
    other.communicate("")
    prepare(sweeping)
    assert [trial.state.name for trial in study_of(sweeping).trials] == ["FAIL", "COMPLETE", "FAIL"]
    assert "1 trials of a search that was stopped count as failed" in caplog.text


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database")
    config = composed(f"hydra.sweeper.storage='sqlite:///{tmp_path}/a.db'", "hydra.sweeper.study_name=s")
    assert re.match(r"^hydra\.sweeper\.storage=sqlite:.*a\.db: cannot be opened \(.*\)$", refused(config))
    config = composed("hydra.sweeper.storage='sqlite:////proc/x/a.db'", "hydra.sweeper.study_name=s")
    assert refused(config).startswith("hydra.sweeper.storage=sqlite:////proc/x/a.db: cannot be opened ([Errno 2]")


def refused(config: DictConfig) -> str:
    """What is said of the settings of a search; Hydra lets a callback end the command by SystemExit alone."""
    with pytest.raises(SystemExit) as caught:
        Callbacks(config).on_multirun_start(config)
    assert isinstance(caught.value.__cause__, UserError)
    return str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("n_trials=0", "n_trials=0: must be a whole number >= 1"),
        ("n_jobs=0", "n_jobs=0: must be a whole number >= 1"),
        ("max_failure_rate=3", "max_failure_rate=3.0: must be a number >= 0 and <= 1"),
        ("direction=up", "direction=up: no such option; options: minimize, maximize"),
        ("direction=[maximize,minimize]", "direction=[maximize,minimize]: no such option; options: minimize, maximize"),
    ],
)
def test_a_setting_of_the_search_outside_its_range_is_one_line(override: str, line: str) -> None:
    assert refused(composed(f"hydra.sweeper.{override}")) == f"hydra.sweeper.{line}"
