"""A search with Optuna over the jobs of a multirun.

Overrides with `choice`, `range` or `interval` are searched; each job is a trial. A study lives in a database that
several commands may work on at once. Its trials are counted together: a command adds what is missing of `n_trials`.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shiftaddaug.errors import TrainingDiverged, UserError, reason_of
from shiftaddaug.runs.explain import describe
from shiftaddaug.runs.searching import JOB, PRUNED, build_pruner
from shiftaddaug.runs.study_storage import answering_storage, open_storage, shown, warn_of_password
from shiftaddaug.search.conclusion import NO_SCORE, conclude
from shiftaddaug.search.heartbeat import beat, beating, fail_the_dead, try_again
from shiftaddaug.search.naming import study_name
from shiftaddaug.search.sampling import Grid, build_sampler
from shiftaddaug.search.scores import UnknownFigure, limits_broken, refuse_unknown, values_of
from shiftaddaug.search.settings import HEADLINE, SweeperSettings, read_sweeper
from shiftaddaug.search.space import read_space

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from optuna import Study, Trial

log = logging.getLogger(__name__)

STOPS = "`Study.stop` is supposed"
"""What a sampler runs into that wants no more trials: it stops a loop that is not Optuna's here."""
ALIKE = 3
"""Trials that fail of the same, before any has succeeded, after which a search ends: so will the others."""


def sweep(
    given: Mapping[str, Any],
    arguments: Sequence[str],
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
) -> None:
    """Run trials until the study has as many as it shall have, and write what was best.

    Args:
        given: keys of `hydra.sweeper`.
        arguments: overrides of the command.
        config: of the multirun, Hydra's node included.
        hydra_context: and the next, as Hydra hands them to a sweeper.
        task_function: that runs a job.

    Raises:
        UserError: a mistake in the settings, a study of something else, or no trial with a score.
    """
    from optuna.exceptions import ExperimentalWarning

    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # names of metrics are
    launcher = Plugins.instance().instantiate_launcher(
        config=config, hydra_context=hydra_context, task_function=task_function
    )
    settings = read_sweeper(given, OmegaConf.select(config, "sweep") or {})
    search = Search(settings, arguments, config, hydra_context)
    search.run(launcher)
    with answering_storage(settings.storage):
        conclude(search.study, search.fixed, settings.constraints or {}, Path(config.hydra.sweep.dir))


class Search:
    """A study, and the way from its trials to jobs and back."""

    def __init__(
        self,
        settings: SweeperSettings,
        arguments: Sequence[str],
        config: DictConfig,
        hydra_context: HydraContext | None = None,
    ) -> None:
        self.settings, self.config, self.context = settings, config, hydra_context
        params = [f"{key}={value}" for key, value in (settings.params or {}).items()]
        self.space, self.fixed = read_space([*params, *arguments])
        self.suggest_more = _function(settings.custom_search_space)
        if not self.space and self.suggest_more is None:
            raise UserError("hydra/sweeper=optuna: nothing is searched; options: keys with choice, range or interval")
        self.objectives = settings.objectives or [HEADLINE]
        refuse_unknown(settings, config)
        with answering_storage(settings.storage):
            self.study = self._study()
        self.tried, self.jobs, self.succeeded, self.finished = 0, 0, 0, False
        self.failures: list[Exception] = []
        self.stops = 0

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
        self.sampler = build_sampler(settings.sampler, self.space)
        if isinstance(self.sampler, Grid) and self.suggest_more is not None:
            raise UserError("hydra/sweeper/sampler=grid: lists no custom_search_space; options: tpe, random")
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(settings.storage),
            sampler=self.sampler,
            pruner=build_pruner(settings.pruner),
            directions=directions,
            load_if_exists=True,
        )
        if [direction.name.lower() for direction in study.directions] != directions:
            raise UserError(f"hydra.sweeper.storage={shown(settings.storage)}: study {name} has other directions")
        headline = str(OmegaConf.select(self.config, "task.headline") or "score")
        study.set_metric_names([headline if name == HEADLINE else name for name in self.objectives])
        warn_of_password(settings.storage)
        log.info("study %s in %s", name, shown(settings.storage or "memory"))
        return study

    def run(self, launcher: Any) -> None:
        """Run trials until there are enough, or too many have failed.

        Raises:
            UserError: the first trials of this call all fail of the same, or what failed is known to fail again.
            Exception: what the first trials raised, if it is no mistake.
        """
        settings = self.settings
        while not self.finished:
            with answering_storage(settings.storage):
                fail_the_dead(self.study, settings.heartbeat_seconds, self.space)
                trials = [self._ask() for _ in range(self._wanted())]
                composed = [trial for trial in trials if self._composes(trial)]
            if not trials:
                break
            returns = self._launch(launcher, composed)
            with answering_storage(settings.storage):
                for trial, job in zip(composed, returns, strict=False):  # there is none if they were stopped
                    self._tell(trial, job)
            self._refuse_hopeless()
            if len(self.failures) > settings.max_failure_rate * self.tried:
                share = f"{len(self.failures)} of {self.tried} trials failed"
                log.error("%s: more than max_failure_rate=%g", share, settings.max_failure_rate)
                break
        if self.failures and not self._counted("COMPLETE"):
            self._give_up()

    def _wanted(self) -> int:
        """Return how many trials are handed out next."""
        settings = self.settings
        missing = settings.n_trials - self._counted("COMPLETE", "PRUNED", "RUNNING")
        wanted = min(settings.n_jobs, settings.n_trials - self.tried, missing)
        if isinstance(self.sampler, Grid):
            wanted = min(wanted, self.sampler.left(self.study) + self._counted("WAITING"))
        return max(0, wanted)

    def _counted(self, *states: str) -> int:
        from optuna.trial import TrialState

        kinds = tuple(TrialState[state] for state in states)
        return len(self.study.get_trials(deepcopy=False, states=kinds))

    def _ask(self) -> "Trial":
        trial = self.study.ask(self.space)
        beat(trial)
        self.tried += 1
        if self.suggest_more is not None:
            for key, line in self.fixed.items():  # where hydra-optuna-sweeper keeps them
                trial.set_user_attr(key, line.partition("=")[2])
            self.suggest_more(self.config, trial)
            if twice := trial.params.keys() & self.fixed.keys():
                raise UserError(f"hydra.sweeper.custom_search_space: suggests {min(twice)}, which is given already")
        return trial

    def _overrides(self, trial: "Trial") -> list[str]:
        return [*(f"{key}={value}" for key, value in trial.params.items()), *self.fixed.values()]

    def _composes(self, trial: "Trial") -> bool:
        """Whether Hydra makes a configuration of a trial: a launcher would give up the others, too."""
        if self.context is None:
            return True
        overrides = self._overrides(trial)
        try:
            self.context.config_loader.load_sweep_config(self.config, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            self._fail(trial, UserError(describe(error, self.config.hydra.job.config_name, overrides)))
            return False
        return True

    def _launch(self, launcher: Any, trials: "Sequence[Trial]") -> "Sequence[JobReturn]":
        """Run the jobs of some trials; return nothing if they were stopped, and put back in line what they tried.

        Raises:
            Exception: what stops a launcher again and again.
        """
        if not trials:
            return []
        first, folder = self.jobs, str(self.config.hydra.sweep.dir)
        self.jobs += len(trials)
        try:
            with answering_storage(self.settings.storage):
                for i, trial in enumerate(trials):
                    trial.set_user_attr(JOB, [folder, first + i])
            with beating(trials, self.settings.heartbeat_seconds):
                found: Sequence[JobReturn] = launcher.launch(
                    [tuple(self._overrides(trial)) for trial in trials], initial_job_idx=first
                )
        except BaseException as error:
            with answering_storage(self.settings.storage):
                for trial in trials:
                    try_again(self.study, trial.number, self.space, isinstance(error, KeyboardInterrupt))
            self.stops += 1
            if self.stops >= ALIKE or not isinstance(error, Exception) or isinstance(error, UserError):
                raise
            log.warning("jobs were stopped, and are tried again: %s", reason_of(error))  # out of memory, say
            self.tried -= len(trials)
            return []
        self.stops = 0
        return found

    def _tell(self, trial: "Trial", job: "JobReturn") -> None:
        """Tell the study what a job measured."""
        from optuna.trial import TrialState

        recorded = next(t for t in self.study.get_trials(deepcopy=False) if t.number == trial.number)
        if recorded.state != TrialState.RUNNING:
            log.warning("trial %d: another process took it for dead; it is tried again", trial.number)
            self.tried -= 1
            return
        if PRUNED in recorded.user_attrs:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.succeeded += 1
            return
        try:
            values, limits = values_of(self.settings, job), limits_broken(self.settings, job)
        except Exception as error:  # whatever a job raised
            self._fail(trial, error)
            if isinstance(error, UnknownFigure):
                raise
            return
        for name, excess in limits.items():
            trial.set_constraint(name, excess)
        try:
            self.study.tell(trial, values)
        except RuntimeError as error:
            if STOPS not in str(error):
                raise
            self.finished = True  # the sampler has no combination left
        self.succeeded += 1

    def _fail(self, trial: "Trial", error: Exception) -> None:
        from optuna.trial import TrialState

        bug = None if isinstance(error, UserError) else error
        log.warning("trial %d failed: %s", trial.number, reason_of(error) if bug else error, exc_info=bug)
        self.study.tell(trial, state=TrialState.FAIL)
        self.failures.append(error)

    def _refuse_hopeless(self) -> None:
        """End a search whose trials all fail of the same, unless other values may do better."""
        if self.succeeded or len(self.failures) < ALIKE or any(isinstance(e, TrainingDiverged) for e in self.failures):
            return
        if len({str(error) for error in self.failures[-ALIKE:]}) == 1:
            self._give_up()

    def _give_up(self) -> None:
        """Raise what the last trials of this call failed of."""
        first = self.failures[0]
        if isinstance(first, UserError):
            raise UserError(f"{NO_SCORE}: all {len(self.failures)} of this call failed: {first}") from first
        raise first


def _function(name: str | None) -> Callable[..., Any] | None:
    """Return a function by its dotted name; None for None.

    Raises:
        UserError: there is none.
    """
    try:
        return None if name is None else get_method(name)
    except Exception as error:  # whatever importing it raises
        raise UserError(f"hydra.sweeper.custom_search_space={name}: no function ({reason_of(error, 200)})") from error
