"""Whether a command searches: its runs are scored, and the scores choose the next ones. Imports no torch."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def is_search() -> bool:
    """Return whether this run is a trial of a sweeper that looks at scores."""
    if not HydraConfig.initialized():
        return False
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and not hydra.sweeper["_target_"].endswith(".BasicSweeper")
