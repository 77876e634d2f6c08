"""`python src/train.py`: train a target inside its supernet, deploy it, test what was deployed. Once each."""

import logging
from typing import Any

from omegaconf import DictConfig

from shiftaddaug.commands.entry import run_command

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float:
    """Run one training; return the deployed target's validation top-1, in [0, 1] (what sweeps maximise).

    Raises:
        UserError: a mistake in the configuration, before anything expensive; a loss that is no longer a number.
    """
    from hydra.core.hydra_config import HydraConfig

    from shiftaddaug.commands.checks import check_train_config

    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    plan = check_train_config(cfg, overrides)

    from shiftaddaug.commands.run import Run  # imports torch and lightning, now that the configuration is known good

    run = Run(cfg, plan)
    try:
        run.fit()
        run.deploy()
        run.test()
        return run.report()
    finally:
        run.close()


def main() -> Any:
    run_command("train", train)


if __name__ == "__main__":
    main()
