"""Samplers: what a second call, another worker or a killed trial makes of them."""

from pathlib import Path

import pytest
from optuna.trial import TrialState
from tests.search.sweeping import search

from shiftaddaug.errors import UserError
from shiftaddaug.runs.study_storage import open_storage
from shiftaddaug.search.heartbeat import try_again
from shiftaddaug.search.sampling import build_sampler
from shiftaddaug.search.space import read_space

GRID = "hydra/sweeper/sampler=grid"


def score(given: dict[str, str]) -> float:
    return float(given["x"])


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii"])
def test_a_second_call_with_a_seed_repeats_nothing(sampler: str, tmp_path: Path) -> None:
    given = (f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.sampler.seed=3")
    for count in (4, 8):
        where = f"hydra.sweeper.storage=journal:///{tmp_path}/a"
        found = search(tmp_path, score, *given, where, f"hydra.sweeper.n_trials={count}")
    values = [trial.params["x"] for trial in found.study.trials]
    assert len(set(values)) == 8
    again = search(tmp_path, score, *given, "hydra.sweeper.n_trials=8")
    assert [trial.params["x"] for trial in again.study.trials] == values


def test_a_grid_is_never_walked_twice(tmp_path: Path) -> None:
    given = (GRID, f"hydra.sweeper.storage=journal:///{tmp_path}/a", "hydra.sweeper.n_jobs=4")
    swept = ["x=range(5)", "y=a,b"]
    launched = [len(search(tmp_path, score, *given, swept=swept).launched) for _ in range(2)]  # type: ignore[attr-defined]
    assert launched == [10, 0]


def test_a_killed_trial_of_a_grid_is_tried_again(tmp_path: Path) -> None:
    given = (GRID, f"hydra.sweeper.storage=journal:///{tmp_path}/a")
    swept = ["x=range(3)"]
    search(tmp_path, score, *given, "hydra.sweeper.n_trials=1", swept=swept)
    found = search(tmp_path, score, *given, "hydra.sweeper.n_trials=1", swept=swept)
    killed = found.study.ask(found.space)
    assert try_again(found.study, killed.number, found.space)
    found = search(tmp_path, score, *given, swept=swept)
    done = found.study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(trial.params["x"] for trial in done) == [0, 1, 2]


def test_combinations_of_a_grid_that_nobody_could_try_are_refused() -> None:
    space, _ = read_space(["x=range(100000000)", "y=a,b"])
    with pytest.raises(UserError, match=r"sampler=grid: 200000000 combinations; options: at most 100000"):
        build_sampler({"_target_": "optuna.samplers.GridSampler"}, space)


def test_workers_of_a_grid_that_ask_at_once_try_different_combinations(tmp_path: Path) -> None:
    import optuna

    space, _ = read_space(["x=range(4)"])
    asked = []
    for seed in (None, 1, None):
        sampler = build_sampler({"_target_": "optuna.samplers.GridSampler", "seed": seed}, space)
        storage = open_storage(f"journal:///{tmp_path}/a")
        study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
        asked.append(study.ask(space).params["x"])
    assert len(set(asked)) == 3
