"""`python src/train.py`: train a target inside its supernet, deploy it, test what was deployed. Once each."""

import time
from typing import Any

from omegaconf import DictConfig

from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands import STARTED
from shiftaddaug.commands.entry import importing_torch, run_command
from shiftaddaug.commands.memory import keep_freed_memory
from shiftaddaug.errors import UserError


def train(cfg: DictConfig) -> float:
    """Run one training; return the task's headline figure of the deployed target on validation.

    Sweeps maximise it, or minimise it, as `task.better` says. A figure in percent is a share, in [0, 1].

    Raises:
        UserError: a mistake in the configuration, before anything expensive; a loss that is no longer a number.
    """
    from shiftaddaug.commands.checkpoints import check_resumed
    from shiftaddaug.commands.checks import check_train_config
    from shiftaddaug.hybrid.remap_file import take_in_remap_file

    overrides, started = _asked_for()
    catalogue = catalogue_of(cfg.plugins)
    plan = check_train_config(cfg, overrides, catalogue)
    take_in_remap_file(cfg)
    check_resumed(cfg)

    with importing_torch():  # torch and lightning, now that the configuration is known good
        from shiftaddaug.commands.run import Run

    run = Run(cfg, plan, started, catalogue)
    try:
        run.fit()
        run.deploy()
        run.test()
        score = run.report()
    except BaseException:
        run.draw()
        run.close(exit_code=1)
        raise
    run.draw()  # last: a figure that takes for ever costs nothing
    run.close()
    return score


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
