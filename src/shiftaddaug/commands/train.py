"""`python src/train.py`: train a target inside its supernet, deploy it, test what was deployed. Once each."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands import STARTED
from shiftaddaug.commands.entry import run_command
from shiftaddaug.commands.freed_memory import keep_freed_memory
from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from shiftaddaug.runs.settings import RunSettings


def train(cfg: DictConfig) -> float:
    """Run one training; return the task's headline figure of the deployed target on validation.

    Sweeps maximise it, or minimise it, as `task.better` says. A figure in percent is a share, in [0, 1].

    Raises:
        UserError: a mistake in the configuration, before anything expensive; a loss that is no longer a number.
    """
    from shiftaddaug.report.config_tree import print_tree
    from shiftaddaug.runs.checkpoints import check_resumed
    from shiftaddaug.runs.places import refuse_begun_run
    from shiftaddaug.runs.repeated import found, going_on
    from shiftaddaug.runs.settings import read_settings

    typed, started = _asked_for()
    settings = read_settings(cfg, typed, catalogue_of(cfg.plugins), started)
    refuse_begun_run(settings.folder)
    if settings.top.print_config:
        print_tree(settings.config)
    with ExitStack() as held:
        settings, score = going_on(settings, held)
        if score is not None:
            return score
        settings = found(settings, held)
        check_resumed(settings)
        return _train(settings, held)


def _train(settings: "RunSettings", held: ExitStack) -> float:
    """Train what is known to be sound; until `held` is left others see that the run is at work."""
    from shiftaddaug.runs.held import hold
    from shiftaddaug.runs.importing import importing_torch
    from shiftaddaug.runs.processes import leading

    with importing_torch():  # torch and lightning, now that the configuration is known good
        from shiftaddaug.runs.finishing import finishing
        from shiftaddaug.runs.fit import adopt, fit
        from shiftaddaug.runs.prepare import prepare
        from shiftaddaug.runs.record import begin, report
        from shiftaddaug.runs.target import deploy, test

    run = prepare(settings)
    record = begin(run)
    if run.trainer.is_global_zero:
        hold(settings.folder, held)
    last = settings.folder / "checkpoints" / "last.ckpt"
    with finishing(run) as ending, leading(run.trainer.strategy.launcher, last, run.ckpt_path):
        trained = fit(run) if settings.top.train else adopt(run)
        ending.trained = True
        deployed = deploy(run)
        tested = test(run, deployed)
        return report(run, deployed, record | trained | deployed.record() | tested)


def _asked_for() -> tuple[list[str], float]:
    """What the user typed, and when: the later jobs of a multirun begin when their turn comes.

    Raises:
        UserError: a sweep that would not sweep.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    if not HydraConfig.initialized():
        return [], time.time()
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    sweep = [override for override in overrides if override.startswith("sweep=")]
    if sweep and hydra.mode != RunMode.MULTIRUN:
        raise UserError(f"{sweep[0]}: a sweep needs -m; python src/train.py -m {sweep[0]}")
    first = OmegaConf.is_missing(hydra.job, "num") or hydra.job.num == 0
    return overrides, STARTED if first else time.time()


def main() -> Any:
    """Run the command."""
    keep_freed_memory()
    run_command("train", train)


if __name__ == "__main__":
    main()
