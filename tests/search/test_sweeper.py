"""Searches: how many trials, told what, and what of those that died."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState
from tests.search.sweeping import composed, search, two_workers

from shiftaddaug.errors import UserError
from shiftaddaug.runs.searching import PRUNED
from shiftaddaug.runs.study_storage import open_storage
from shiftaddaug.search.heartbeat import ALIVE, beat, beating, fail_the_dead
from shiftaddaug.search.settings import read_sweeper

TPE = "hydra.sweeper.sampler.seed=0"


def storage(folder: Path, kind: str = "sqlite") -> str:
    return f"hydra.sweeper.storage={kind}:///{folder}/new/a.db"


def score(given: dict[str, str]) -> float:
    return -((float(given["x"]) - 0.3) ** 2)


def test_the_headline_is_maximised_and_the_best_is_written(tmp_path: Path) -> None:
    found = search(tmp_path, score, TPE, "hydra.sweeper.n_trials=25", swept=["x=interval(-1,1)", "seed=3"])
    assert len(found.study.trials) == 25 and found.study.direction.name == "MAXIMIZE"
    best: Any = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_value == max(trial.value for trial in found.study.trials) > -0.01
    assert best.best_params == found.study.best_params
    assert all(launched["seed"] == "3" for launched in found.launched)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("overrides", "direction"),
    [(["task.headline=loss", "task.better=min"], "MINIMIZE"), (["hydra.sweeper.direction=minimize"], "MINIMIZE")],
)
def test_other_directions_are_kept(overrides: list[str], direction: str, tmp_path: Path) -> None:
    assert search(tmp_path, score, "hydra.sweeper.n_trials=1", *overrides).study.direction.name == direction


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_second_call_adds_what_is_missing(kind: str, tmp_path: Path) -> None:
    for count, launched in ((3, 3), (3, 0), (5, 2)):
        found = search(tmp_path, score, storage(tmp_path, kind), f"hydra.sweeper.n_trials={count}")
        assert len(found.launched) == launched  # type: ignore[attr-defined]
    assert len(found.study.trials) == 5


def suggest_y(config: DictConfig, trial: optuna.Trial) -> None:
    """A space that depends on what was drawn."""
    assert config.op.name == "shift" and trial.user_attrs["z"] == "3"
    trial.suggest_float("y", trial.params["x"], trial.params["x"] + 1)


def suggest_z(config: DictConfig, trial: optuna.Trial) -> None:
    """A key that is given."""
    trial.suggest_int("z", 0, 1)


def test_a_function_suggests_more_as_hydra_optuna_sweeper_has_it(tmp_path: Path) -> None:
    swept = ["x=interval(0,1)", "z=3"]
    name = f"{__name__}.suggest_"
    given = ("hydra.sweeper.n_trials=3", f"hydra.sweeper.custom_search_space={name}")
    found = search(tmp_path, score, given[0], given[1] + "y", swept=swept)
    assert all(0 <= trial.params["y"] - trial.params["x"] <= 1 for trial in found.study.trials)
    assert {*found.launched[0]} == {"x", "y", "z"}  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"custom_search_space: suggests z, which is given already"):
        search(tmp_path, score, given[1] + "z", swept=swept)
    with pytest.raises(UserError, match=r"custom_search_space=no\.such: no function"):
        search(tmp_path, score, "hydra.sweeper.custom_search_space=no.such", swept=swept)


def test_a_failed_trial_is_failed_and_does_not_end_the_search(tmp_path: Path) -> None:
    values = iter([None, float("nan"), "bad", 0.5])
    found = search(tmp_path, lambda given: next(values), "hydra.sweeper.n_trials=4")
    assert [trial.state.name for trial in found.study.trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]


def test_too_many_failures_end_it(tmp_path: Path) -> None:
    values = iter([0.5, None, None, 0.5])
    options = ("hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=0.5")
    found = search(tmp_path, lambda given: next(values), *options)
    assert len(found.study.trials) == 3
    with pytest.raises(UserError, match=r"^no trial of the search has a score"):
        search(tmp_path, lambda given: None, "hydra.sweeper.n_trials=2")


def test_a_grid_is_searched_once_each(tmp_path: Path) -> None:
    swept = ["x=choice(0,1)", "y=range(1,6,2)"]
    sampler = "hydra/sweeper/sampler=grid"
    found = search(tmp_path, score, sampler, storage(tmp_path), swept=swept)
    wanted = {(x, y) for x in "01" for y in "135"}
    assert {(each["x"], each["y"]) for each in found.launched} == wanted and len(found.launched) == 6  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"^x: an interval has no grid; options: choice"):
        search(tmp_path, score, sampler)


def test_objectives_and_constraints_are_read_from_the_results(tmp_path: Path) -> None:
    def job(given: dict[str, str]) -> dict[str, float]:
        x = float(given["x"])
        return {"val_loss": x, "macs": x**2, "flash_kib": 10 * abs(x)}

    options = ("hydra.sweeper.objectives=[val_loss,macs]", "hydra.sweeper.direction=[maximize,minimize]")
    nsga = ("hydra/sweeper/sampler=nsgaii", TPE, "hydra.sweeper.n_trials=30")
    nsga += ("hydra.sweeper.constraints={flash_kib: 5}",)
    found = search(tmp_path, job, *options, *nsga)
    best: Any = OmegaConf.to_container(OmegaConf.load(tmp_path / "optimization_results.yaml"))
    front = [tuple(each["values"]) for each in best["solutions"]]
    assert front == sorted(front) and len(front) > 2
    assert all(10 * abs(value) <= 5 for value, _ in front)
    kept = [trial.values for trial in found.study.trials if abs(trial.values[0]) <= 0.5]
    assert max(value for value, _ in kept) == front[-1][0]
    assert (tmp_path / "pareto.png").stat().st_size > 1000
    with pytest.raises(UserError, match=r"no trial keeps them \(flash_kib: at most 0, the least was [\d.]+\)$"):
        search(tmp_path / "b", job, *options, "hydra.sweeper.constraints={flash_kib: 0}", "hydra.sweeper.n_trials=3")
    with pytest.raises(UserError, match=r"^hydra.sweeper.direction: 1 directions for 2 objectives"):
        search(tmp_path, job, options[0])


def test_a_pruned_trial_is_told_so(tmp_path: Path) -> None:
    where = storage(tmp_path)

    def job(given: dict[str, str]) -> float | None:
        study = optuna.load_study(study_name=None, storage=where.partition("=")[2])
        running = study.get_trials(states=(TrialState.RUNNING,))[0]
        if running.number != 1:
            return 1.0
        optuna.trial.Trial(study, running._trial_id).set_user_attr(PRUNED, 2)
        return None

    options = ("hydra.sweeper.n_trials=3", "hydra.sweeper.pruner=median")
    found = search(tmp_path, job, where, *options)
    assert [trial.state.name for trial in found.study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.search.sweeping import search
def job(given):
    os.kill(os.getpid(), signal.SIGKILL)
search(Path(sys.argv[2]), job, f"hydra.sweeper.storage={sys.argv[3]}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_killed_trial_is_failed_and_tried_again(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = storage(tmp_path, kind)
    root = str(Path(__file__).resolve().parents[2])
    line = [sys.executable, "-c", KILLED, root, str(tmp_path), where.partition("=")[2]]
    assert subprocess.run(line, timeout=120, check=False, capture_output=True).returncode == -9
    found = search(tmp_path, score, where, "hydra.sweeper.n_trials=1")
    assert [trial.state.name for trial in found.study.trials] == ["FAIL", "COMPLETE"]
    assert found.study.trials[0].params == found.study.trials[1].params
    assert "1 trials of a search that was stopped count as failed" in caplog.text


def test_a_living_trial_is_left_alone_and_a_silent_one_elsewhere_is_not(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(storage(tmp_path).partition("=")[2]))
    here, elsewhere = study.ask(), study.ask()
    beat(here)
    with beating([here], seconds=60):
        elsewhere.set_user_attr(ALIVE, ["another machine", 1, 0.0])
        assert fail_the_dead(study, 60, ["x"]) == 1
    assert [trial.state.name for trial in study.trials[:2]] == ["RUNNING", "FAIL"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_workers_share_a_study(kind: str, tmp_path: Path) -> None:
    where = storage(tmp_path, kind).partition("=")[2]
    two_workers(where, tmp_path)
    opened = open_storage(where)
    (name,) = optuna.get_all_study_names(opened)
    trials = optuna.load_study(study_name=name, storage=opened).trials
    assert 12 <= len(trials) <= 13 and all(trial.state == TrialState.COMPLETE for trial in trials)


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        search(folder, score, *overrides)
    return str(caught.value)


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.db").write_text("no database")
    assert re.match(
        r"^hydra\.sweeper\.storage=sqlite:.*a\.db: cannot be opened \(.*\)$", refusal(tmp_path, storage(tmp_path))
    )
    assert "cannot be opened" in refusal(tmp_path, "hydra.sweeper.storage=sqlite:////proc/x/a.db")
    assert "cannot be opened" in refusal(tmp_path, "hydra.sweeper.storage=nodb://x/y")


def test_a_study_of_an_older_optuna_is_refused_with_the_way_to_migrate_it(tmp_path: Path) -> None:
    import sqlite3

    where = storage(tmp_path)
    search(tmp_path, score, where, "hydra.sweeper.n_trials=1")
    with sqlite3.connect(tmp_path / "new" / "a.db") as database:
        database.execute("UPDATE version_info SET schema_version = 11, library_version = '2.10.1'")
        database.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    answer = refusal(tmp_path, where)
    assert "an older version of Optuna wrote it); `optuna storage upgrade --storage sqlite:///" in answer


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: must be a whole number >= 1"),
        ("hydra.sweeper.n_jobs=0", "hydra.sweeper.n_jobs=0: must be a whole number >= 1"),
        ("hydra.sweeper.max_failure_rate=3", "hydra.sweeper.max_failure_rate=3: must be a number >= 0 and <= 1"),
        ("hydra.sweeper.direction=up", "hydra.sweeper.direction=up: must be minimize or maximize or a list"),
        ("hydra.sweeper.pruner=best", "hydra.sweeper.pruner=best: no such option; options: median, hyperband, null"),
        ("hydra.sweeper.pruner=median", "hydra.sweeper.pruner=median: jobs report to a database; options: "),
        ("+hydra.sweeper.trials=3", "hydra.sweeper.trials=3: no such key; did you mean hydra.sweeper.n_trials?"),
        ("+hydra.sweeper.sampler.seeds=3", "hydra.sweeper.sampler=optuna.samplers.TPESampler: "),
        ("hydra.sweeper.sampler._target_=optuna.samplers.Best", "hydra.sweeper.sampler=optuna.samplers.Best: "),
    ],
)
def test_a_mistake_is_one_line(override: str, line: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, override).startswith(line)


def test_two_objectives_are_not_pruned(tmp_path: Path) -> None:
    config = composed(tmp_path, "hydra.sweeper.pruner=median", "hydra.sweeper.direction=[maximize,minimize]")
    given = {key: value for key, value in config.hydra.sweeper.items() if not str(key).startswith("_")}
    with pytest.raises(UserError, match=r"^hydra.sweeper.pruner=median: cannot compare two objectives"):
        read_sweeper(given)  # type: ignore[arg-type]


def test_nothing_to_search_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hydra/sweeper=optuna: nothing is searched; options: keys with choice"):
        search(tmp_path, score, swept=["x=3"])
