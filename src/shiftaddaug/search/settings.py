"""What a sweep's sweeper may say (configs/hydra/sweeper/optuna.yaml)."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.settings import Number, PositiveInt, PositiveNumber, Share, check, check_group

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
    custom_search_space: str | None = None
    objectives: Names | None = None
    constraints: dict[str, Any] | None = None
    pruner: Literal["median", "hyperband"] | None = None
    heartbeat_seconds: PositiveNumber = 60


HEADLINE = "headline"
"""Name of the objective that is the task's headline on validation, which a run returns."""


def read_sweeper(given: Mapping[str, Any], sweep: Collection[str] = ()) -> SweeperSettings:
    """Return the settings of a sweeper.

    Args:
        given: keys of `hydra.sweeper`.
        sweep: keys of `sweep`, by which some of them are set: a mistake is told by these.

    Raises:
        UserError: the first mistake, by key.
    """
    plain = {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in given.items()
    }
    try:
        return _checked(plain)
    except UserError as error:
        key = re.match(r"hydra\.sweeper\.(\w+)", str(error))
        typed = key is not None and key[1] in sweep
        raise UserError(str(error).replace("hydra.sweeper.", "sweep.") if typed else str(error)) from None


def _checked(plain: Mapping[str, Any]) -> SweeperSettings:
    settings = check_group("hydra.sweeper", plain, SweeperSettings)
    for name, limit in (settings.constraints or {}).items():
        check(f"hydra.sweeper.constraints.{name}", limit, Number)
    if settings.pruner is not None:
        if isinstance(settings.direction, list) and len(settings.direction) > 1:
            raise UserError(f"hydra.sweeper.pruner={settings.pruner}: cannot compare two objectives; options: null")
        if settings.storage is None:
            raise UserError(
                f"hydra.sweeper.pruner={settings.pruner}: jobs report to a database; options: "
                f"hydra.sweeper.storage=sqlite:///FILE, or pruner=null"
            )
    return settings
