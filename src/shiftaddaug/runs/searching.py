"""Whether a command runs several jobs, and whether it searches: scores of jobs choose the next ones. No torch."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def is_multirun() -> bool:
    """Return whether this run is one of several jobs of a command."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_search() -> bool:
    """Return whether this run is a trial of a sweeper that looks at scores."""
    return is_multirun() and not HydraConfig.get().sweeper["_target_"].endswith(".BasicSweeper")
