"""Whether a command runs several jobs, and whether it searches: scores of jobs choose the next ones. No torch."""

from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from shiftaddaug.errors import UserError
from shiftaddaug.runs.study_storage import open_storage

if TYPE_CHECKING:
    from optuna import Trial


def is_multirun() -> bool:
    """Return whether this run is one of several jobs of a command."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_search() -> bool:
    """Return whether this run is a trial of a sweeper that looks at scores."""
    return is_multirun() and not HydraConfig.get().sweeper["_target_"].endswith(".BasicSweeper")


JOB = "job"
"""Attribute of a trial: the sweep's folder and the job's number, by which a job finds its trial."""
PRUNED = "pruned"
"""Attribute of a trial that its job has stopped: the epochs that it had trained."""


def running_trial() -> "Trial | None":
    """Return the trial that this run is, where a search stops trials that are behind; None elsewhere.

    Raises:
        UserError: the study does not know it.
    """
    if not is_search():
        return None
    hydra = HydraConfig.get()
    if hydra.sweeper.get("pruner") is None:
        return None
    import optuna

    mine, storage = [str(hydra.sweep.dir), int(hydra.job.num)], open_storage(hydra.sweeper.storage)
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if trial.user_attrs.get(JOB) == mine:
                return optuna.trial.Trial(study, trial._trial_id)
    raise UserError(f"hydra.sweeper.storage={hydra.sweeper.storage}: has no trial for job {hydra.job.num}")
