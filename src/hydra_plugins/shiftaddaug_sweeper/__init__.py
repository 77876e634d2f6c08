"""`hydra/sweeper=optuna`: Hydra takes sweepers from this package alone. Imports nothing that takes time."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Search with Optuna; `shiftaddaug/search/sweeper.py` says what the keys mean."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what the search needs (Hydra's hook)."""
        self.context: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }

    def sweep(self, arguments: list[str]) -> None:
        """Search (Hydra's hook)."""
        from shiftaddaug.search.sweeper import sweep

        sweep(self.settings, arguments, **self.context)
