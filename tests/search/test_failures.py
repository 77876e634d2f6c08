"""Trials that fail, and what stops a search: what is told, tried again, given up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.search.sweeping import Launcher, composed, search

from shiftaddaug.errors import Failed, UserError
from shiftaddaug.search.heartbeat import fail_the_dead
from shiftaddaug.search.settings import read_sweeper
from shiftaddaug.search.sweeper import Search

MISTAKE = Failed("data: is not there", by_mistake=True)


def jobs(*values: Any) -> Any:
    """A job that returns, or raises, one value after the other."""
    left: Iterator[Any] = iter(values)

    def job(given: dict[str, str]) -> Any:
        value = next(left)
        if isinstance(value, BaseException):
            raise value
        return value

    return job


def states(found: Search) -> list[str]:
    return [trial.state.name for trial in found.study.get_trials(deepcopy=False)]


def of(folder: Path, *overrides: str) -> Search:
    """A search that has not run."""
    config = composed(folder, f"hydra.sweeper.storage=journal:///{folder}/a", *overrides)
    settings = read_sweeper({k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")})
    return Search(settings, ["x=interval(-1,1)"], config)


def test_the_same_mistake_three_times_ends_a_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 3 of this call failed: data: is not there$"):
        search(tmp_path, jobs(*[MISTAKE] * 20))


def test_divergence_and_mistakes_after_a_success_do_not(tmp_path: Path) -> None:
    diverged = Failed("the loss is no number", by_mistake=False)
    found = search(tmp_path, jobs(*[diverged] * 4, 1.0), "hydra.sweeper.n_trials=5")
    assert states(found) == ["FAIL"] * 4 + ["COMPLETE"]
    found = search(tmp_path, jobs(1.0, *[MISTAKE] * 4), "hydra.sweeper.n_trials=5")
    assert states(found) == ["COMPLETE"] + ["FAIL"] * 4


def test_what_one_job_raises_fails_its_trial_and_what_all_raise_is_raised(tmp_path: Path) -> None:
    found = search(tmp_path, jobs(RuntimeError("out of memory"), 1.0), "hydra.sweeper.n_trials=2")
    assert states(found) == ["FAIL", "COMPLETE"]
    with pytest.raises(ZeroDivisionError):
        search(tmp_path, jobs(*[ZeroDivisionError("b")] * 3))


def test_an_objective_that_is_no_number_in_one_trial_fails_that_one(tmp_path: Path) -> None:
    given = ("hydra.sweeper.objectives=[val_loss]", "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=minimize")
    found = search(tmp_path, jobs({"val_loss": None}, {"val_loss": 2.0}), *given)
    assert states(found) == ["FAIL", "COMPLETE"]


@pytest.mark.parametrize("key", ["objectives=[energy]", "constraints={energy: 1}"])
def test_a_figure_that_no_run_has_is_refused_before_the_first(key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"energy: no number of results.json; did you mean energy_mj_fair\? options"):
        search(tmp_path, jobs(), f"hydra.sweeper.{key}")


def test_energies_are_refused_of_hardware_that_has_none(tmp_path: Path) -> None:
    given = ("hydra.sweeper.objectives=[energy_mj_fair]", "hardware=stm32f412")
    with pytest.raises(UserError, match=r"energy_mj_fair: no number of results.json"):
        search(tmp_path, jobs(), *given)


class Killed(Exception):
    """Ends a launcher, as a worker does that has no memory left, for itself and the others."""


class Stopped(Launcher):
    """A launcher whose jobs are stopped."""

    error: type[BaseException] = Killed

    def launch(self, overrides: Any, initial_job_idx: int) -> list[Any]:
        raise self.error


class Interrupted(Stopped):
    """A launcher that Ctrl-C stops."""

    error = KeyboardInterrupt


class StoppedOnce(Launcher):
    """A launcher whose first jobs are stopped."""

    def launch(self, overrides: Any, initial_job_idx: int) -> list[Any]:
        if initial_job_idx == 0:
            raise Killed
        return super().launch(overrides, initial_job_idx)


def test_a_worker_that_was_killed_ends_no_search(tmp_path: Path) -> None:
    found = of(tmp_path, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2")
    found.run(StoppedOnce(tmp_path, jobs(1.0, 1.0)))
    assert states(found) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]


def tried(folder: Path, launcher: type[Stopped], calls: int) -> list[float]:
    """What calls have tried that were all stopped."""
    for _ in range(calls):
        with pytest.raises(launcher.error):
            of(folder).run(launcher(folder, jobs()))
    found = of(folder)
    assert fail_the_dead(found.study, 60, found.space) == 0  # nothing was left at work
    return [trial.params["x"] for trial in found.study.get_trials(deepcopy=False) if trial.params]


def test_what_was_stopped_is_tried_again_at_once_and_what_stops_it_not_for_ever(tmp_path: Path) -> None:
    assert len({*tried(tmp_path / "a", Interrupted, 5)}) == 1
    assert len({*tried(tmp_path / "b", Stopped, 1)}) == 1  # three attempts of one call
    first, second, third, other, *_ = tried(tmp_path / "b", Stopped, 1)
    assert first == second == third != other


def test_a_trial_that_went_on_is_never_given_up(tmp_path: Path) -> None:
    for call in range(5):
        folder = tmp_path / str(call)
        (folder / "0" / "checkpoints").mkdir(parents=True)
        (folder / "0" / "checkpoints" / "last.ckpt").touch()
        with pytest.raises(Killed):
            of(tmp_path, f"hydra.sweep.dir={folder}").run(Stopped(folder, jobs()))
    assert len({trial.params["x"] for trial in of(tmp_path).study.get_trials() if trial.params}) == 1


def test_a_trial_that_others_took_for_dead_ends_no_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = of(tmp_path, "hydra.sweeper.n_trials=2")

    def job(given: dict[str, str]) -> float:
        if len(states(found)) == 1:
            assert fail_the_dead(found.study, -1, found.space) == 1  # as another machine does
        return 1.0

    found.run(Launcher(tmp_path, job))
    assert states(found) == ["FAIL", "COMPLETE", "COMPLETE"] and "took it for dead" in caplog.text


def test_a_job_that_does_not_compose_fails_alone(tmp_path: Path) -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.types import HydraContext
    from tests.build import CONFIGS

    config = composed(tmp_path, "hydra.sweeper.n_trials=4")
    loader = ConfigLoaderImpl(create_config_search_path(str(CONFIGS)))
    settings = read_sweeper({k: v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")})
    context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]
    OmegaConf.update(config, "hydra.job.config_name", "train", force_add=True)
    OmegaConf.update(config, "hydra.sweeper.sampler._target_", "optuna.samplers.GridSampler")
    settings.sampler["_target_"] = "optuna.samplers.GridSampler"
    found = Search(settings, ["op=choice(shift,add)", "op.clamp=false"], config, context)
    launcher = Launcher(tmp_path, lambda given: 1.0)
    found.run(launcher)
    assert sorted(states(found)) == ["COMPLETE", "FAIL"]
    assert [each["op"] for each in launcher.overrides] == ["shift"]
