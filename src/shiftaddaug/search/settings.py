"""What a sweep's sweeper may say (configs/hydra/sweeper/optuna.yaml)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.settings import PositiveInt, PositiveNumber, Share, check_group

Direction = Literal["minimize", "maximize"]
Names = Annotated[list[str], Meta(min_length=1, title="a list of keys of results.json, or null")]


@dataclass(frozen=True)
class SweeperSettings:
    """Keys of configs/hydra/sweeper/optuna.yaml."""

    sampler: dict[str, Any]
    direction: Direction | list[Direction] | None = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: PositiveInt = 20
    n_jobs: PositiveInt = 1
    max_failure_rate: Share = 1.0
    params: dict[str, Any] | None = None
    objectives: Names | None = None
    constraints: dict[str, float] | None = None
    pruner: Literal["median", "hyperband"] | None = None
    heartbeat_seconds: PositiveNumber = 60


def read_sweeper(given: Mapping[str, Any]) -> SweeperSettings:
    """Return the settings of a sweeper.

    Raises:
        UserError: the first mistake, by key.
    """
    plain = {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in given.items()
    }
    settings = check_group("hydra.sweeper", plain, SweeperSettings)
    if settings.pruner is not None:
        if isinstance(settings.direction, list) and len(settings.direction) > 1:
            raise UserError(f"hydra.sweeper.pruner={settings.pruner}: cannot compare two objectives; options: null")
        if settings.storage is None:
            raise UserError(
                f"hydra.sweeper.pruner={settings.pruner}: jobs report to a database; options: "
                f"hydra.sweeper.storage=sqlite:///FILE, or pruner=null"
            )
    return settings
