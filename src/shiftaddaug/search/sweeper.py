"""A search with Optuna over the jobs of a multirun.

Overrides with `choice`, `range` or `interval` are searched; each job is a trial. A study lives in a database that
several commands may work on at once. Its trials are counted together: a command adds what is missing of `n_trials`.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.report.results import read_json, results_of
from shiftaddaug.runs.searching import JOB, PRUNED
from shiftaddaug.runs.study_storage import open_storage
from shiftaddaug.search.conclusion import VIOLATIONS, conclude
from shiftaddaug.search.heartbeat import beating, fail_the_dead
from shiftaddaug.search.naming import study_name
from shiftaddaug.search.settings import HEADLINE, SweeperSettings, UnknownFigure, no_figure, read_sweeper
from shiftaddaug.search.space import grid_of, read_space

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

STOPS = "`Study.stop` is supposed"
"""What a sampler runs into that wants no more trials: it stops a loop that is not Optuna's here."""


def sweep(
    given: Mapping[str, Any],
    arguments: Sequence[str],
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> None:
    """Run trials until the study has as many as it shall have, and write what was best.

    Args:
        given: keys of `hydra.sweeper`, whose sampler Hydra has built.
        arguments: overrides of the command.
        config: of the multirun, Hydra's node included.
        hydra_context: and the next, as Hydra hands them to a sweeper.
        task_function: that runs a job.

    Raises:
        UserError: a mistake in the settings, a study of something else, or no trial with a score.
    """
    from optuna.exceptions import ExperimentalWarning

    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # constraints and names of metrics are
    launcher = Plugins.instance().instantiate_launcher(
        config=config, hydra_context=hydra_context, task_function=task_function
    )
    settings = read_sweeper(given, OmegaConf.select(config, "sweep") or {})
    search = Search(settings, arguments, config)
    search.run(launcher)
    conclude(search.study, search.fixed, settings.constraints or {}, Path(config.hydra.sweep.dir))


class Search:
    """A study, and the way from its trials to jobs and back."""

    def __init__(self, settings: SweeperSettings, arguments: Sequence[str], config: DictConfig) -> None:
        self.settings, self.config = settings, config
        params = [f"{key}={value}" for key, value in (settings.params or {}).items()]
        self.space, self.fixed = read_space([*params, *arguments])
        if not self.space:
            raise UserError("hydra/sweeper=optuna: nothing is searched; options: keys with choice, range or interval")
        self.objectives = settings.objectives or [HEADLINE]
        self.study = self._study()
        self.jobs, self.finished = 0, False

    def _study(self) -> "Study":
        import optuna

        settings, better = self.settings, OmegaConf.select(self.config, "task.better") or "max"
        given = settings.direction or f"{better}imize"
        directions: list[Any] = [given] if isinstance(given, str) else list(given)
        if len(directions) != len(self.objectives):
            raise UserError(
                f"hydra.sweeper.direction: {len(directions)} directions for {len(self.objectives)} objectives; "
                f"give one for each"
            )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name = study_name(self.config)
        try:
            study = optuna.create_study(
                study_name=name,
                storage=open_storage(settings.storage),
                sampler=self._sampler(),
                pruner=_pruner(settings.pruner),
                directions=directions,
                load_if_exists=True,
            )
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"hydra.sweeper: study {name}: {' '.join(str(error).split())[:200]}") from error
        if [direction.name.lower() for direction in study.directions] != directions:
            raise UserError(f"hydra.sweeper.storage={settings.storage}: study {name} has other directions")
        headline = str(OmegaConf.select(self.config, "task.headline") or "score")
        study.set_metric_names([headline if name == HEADLINE else name for name in self.objectives])
        log.info("study %s in %s", name, settings.storage or "memory")
        return study

    def _sampler(self) -> Any:
        import optuna

        options = {str(key): value for key, value in self.settings.sampler.items()}
        target = str(options.pop("_target_", None))
        try:
            sampler = get_class(target)
            if sampler is optuna.samplers.GridSampler:
                options["search_space"] = grid_of(self.space)
            if self.settings.constraints:
                options["constraints_func"] = _violations
            return sampler(**options)
        except UserError:
            raise
        except Exception as error:  # whatever a sampler's author thought of
            raise UserError(f"hydra.sweeper.sampler={target}: {' '.join(str(error).split())[:200]}") from error

    def run(self, launcher: Any) -> None:
        """Run trials until there are enough, or too many have failed."""
        settings, left, failed = self.settings, self.settings.n_trials, 0
        while not self.finished:
            fail_the_dead(self.study, settings.heartbeat_seconds)
            count = min(settings.n_jobs, left, settings.n_trials - self._counted())
            if count < 1:
                break
            trials = [self.study.ask(self.space) for _ in range(count)]
            for i, trial in enumerate(trials):
                trial.set_user_attr(JOB, [str(self.config.hydra.sweep.dir), self.jobs + i])
            with beating(trials, settings.heartbeat_seconds):
                returns = launcher.launch([self._overrides(trial) for trial in trials], initial_job_idx=self.jobs)
            self.jobs += len(returns)
            left -= len(returns)
            failed += sum(not self._tell(trial, job) for trial, job in zip(trials, returns, strict=True))
            if failed / self.jobs > settings.max_failure_rate:
                log.error(
                    "%d of %d trials failed: more than max_failure_rate=%g",
                    failed,
                    self.jobs,
                    settings.max_failure_rate,
                )
                break

    def _counted(self) -> int:
        """Return how many trials are done, or being done by somebody."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return len(self.study.get_trials(deepcopy=False, states=states))

    def _overrides(self, trial: "Trial") -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, value in {**trial.params, **self.fixed}.items())

    def _tell(self, trial: "Trial", job: "JobReturn") -> bool:
        """Tell the study what a job measured; return whether the trial has not failed."""
        from optuna.trial import TrialState

        recorded = next(t for t in self.study.get_trials(deepcopy=False) if t.number == trial.number)
        if PRUNED in recorded.user_attrs:
            self.study.tell(trial, state=TrialState.PRUNED)
            return True
        try:
            values = self._values(job)
            limits = self._broken(job)
        except UserError as error:
            log.warning("trial %d failed: %s", trial.number, error)
            self.study.tell(trial, state=TrialState.FAIL)
            if isinstance(error, UnknownFigure):
                raise
            return False
        trial.set_user_attr(VIOLATIONS, limits)
        try:
            self.study.tell(trial, values)
        except RuntimeError as error:
            if STOPS not in str(error):
                raise
            self.finished = True  # the sampler has no combination left
        return True

    def _values(self, job: "JobReturn") -> list[float]:
        value = job.return_value  # raises what the job raised
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"its score is {value}")
        return [float(value) if name == HEADLINE else self._result(job, name) for name in self.objectives]

    def _broken(self, job: "JobReturn") -> list[float]:
        limits = self.settings.constraints or {}
        return [self._result(job, name) - limit for name, limit in limits.items()]

    def _result(self, job: "JobReturn", name: str) -> float:
        path = results_of(Path(job.hydra_cfg.hydra.runtime.output_dir))  # type: ignore[union-attr]
        try:
            results = read_json(path)
        except (OSError, *DAMAGE):
            raise UserError(f"{path}: is not there") from None
        if isinstance(value := results.get(name), int | float) and not isinstance(value, bool):
            return float(value)
        raise UnknownFigure(no_figure(self.settings, name, results))


def _violations(trial: "FrozenTrial") -> Sequence[float]:
    values: Sequence[float] = trial.user_attrs.get(VIOLATIONS, [])
    return values


def _pruner(name: str | None) -> Any:
    import optuna

    makers: dict[str, Any] = {"median": optuna.pruners.MedianPruner, "hyperband": optuna.pruners.HyperbandPruner}
    return makers[name]() if name is not None else optuna.pruners.NopPruner()
