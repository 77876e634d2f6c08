"""All that the comparison asks of the package itself. It runs on older checkouts and on this one.

Whoever moves one of these adds the new place, and keeps the old one while older checkouts are compared.
"""

from importlib import import_module
from typing import Any

from compare_names import SPACES, is_left_out, new_name


def compose(overrides: list[str]) -> Any:
    """Compose a training run's configuration."""
    for place in ("runs.explain", "runs.compose", "commands.entry"):
        try:
            compose_config = import_module(f"shiftaddaug.{place}").compose_config
        except (ModuleNotFoundError, AttributeError):
            continue
        return compose_config("train", overrides)
    raise ImportError("this checkout has no compose_config that is known here")


def train(cfg: Any) -> None:
    """Run one training, as the command does."""
    from shiftaddaug.commands.train import train

    train(cfg)


def spaces(task: Any, old: bool) -> list[list[Any]]:
    """Name, target channels and most channels of every space, in order."""
    widening = task.net.widening
    pairs = zip(widening.spaces, widening.max_channels(), strict=True)
    named = [[new_name(SPACES, space.name) if old else space.name, space.channels, most] for space, most in pairs]
    return [row for row in named if not is_left_out(SPACES, row[0])]


def is_refusal(error: BaseException) -> bool:
    """Whether a mistake of the user's was answered, by the package or by Hydra."""
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InstantiationException):
        return error.__cause__ is not None and is_refusal(error.__cause__)
    by_package = any(kind.__name__ == "UserError" for kind in type(error).__mro__)
    return by_package or isinstance(error, HydraException | OmegaConfBaseException)
