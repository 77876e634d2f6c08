"""What a job measured: its scores, and by how much it breaks limits."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from shiftaddaug import tasks
from shiftaddaug.catalogue import PACKAGE, catalogue_of
from shiftaddaug.errors import DAMAGE, Failed, TrainingDiverged, UserError
from shiftaddaug.hardware.rules import MODES
from shiftaddaug.report.results import read_json, results_of
from shiftaddaug.search.settings import HEADLINE, SweeperSettings
from shiftaddaug.settings import options_near

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

PRICES = tuple(f"{name}_{mode}" for mode in MODES for name in ("energy_mj", "latency_ms"))
"""Numbers of results.json where the hardware has an accelerator."""
NUMBERS = (
    *("seed", "params", "macs", "multiplication_free_macs_percent", "supernet_params"),
    *("peak_sram_kib", "flash_kib"),
    *("train_seconds", "seconds_to_first_step", "images_per_s", "epochs", "extraction_max_difference"),
)
"""Numbers of results.json that every training has."""
SPLITS = ("train", "val", "test")
"""Splits of the data, of which the figures of a task are measured."""


class UnknownFigure(UserError):
    """An objective, or a limit, is of something that runs do not measure: no trial can have a score."""


def refuse_unknown(settings: SweeperSettings, config: DictConfig) -> None:
    """Refuse objectives and limits that no training has, as far as that is known before one has run.

    Args:
        settings: of the sweeper.
        config: of the multirun.

    Raises:
        UnknownFigure: one that is none of results.json.
    """
    if OmegaConf.select(config, "hydra.job.config_name") != "train":
        return  # the results of other commands are theirs
    catalogue = catalogue_of(config.plugins)
    task: Any = OmegaConf.to_container(config.task, resolve=True)
    figures = tasks.settings_from(task, catalogue).measured
    prices = () if OmegaConf.select(config, "hardware.accelerator") is None else PRICES
    numbers = [*NUMBERS, *prices, *(figure.key(split) for split in SPLITS for figure in figures)]
    ours = catalogue.modules(tasks.FOLDER).get(task["name"], "").startswith(f"{PACKAGE}.")
    for name in (*(settings.objectives or []), *(settings.constraints or {})):
        details = not ours and name.startswith(tuple(f"{split}_" for split in SPLITS))  # a plugin may measure more
        if name not in (HEADLINE, *numbers) and not details:
            raise _unknown(settings, name, numbers)


def values_of(settings: SweeperSettings, job: "JobReturn") -> list[float]:
    """Return the scores of a job, one for each objective.

    Raises:
        TrainingDiverged: it has none, and other values may have.
        UserError: it has none.
        UnknownFigure: it can have none, nor can other jobs.
    """
    value = job.return_value  # raises what the job raised
    if isinstance(value, Failed):
        raise UserError(value.message) if value.by_mistake else TrainingDiverged(value.message)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"its score is {value}")
    names = settings.objectives or [HEADLINE]
    return [float(value) if name == HEADLINE else _result(settings, job, name) for name in names]


def limits_broken(settings: SweeperSettings, job: "JobReturn") -> dict[str, float]:
    """Return by how much a job is above each limit, by its name; at most 0 keeps it.

    Raises:
        UserError: it has no such number.
        UnknownFigure: it can have none, nor can other jobs.
    """
    limits = settings.constraints or {}
    return {name: _result(settings, job, name) - limit for name, limit in limits.items()}


def _result(settings: SweeperSettings, job: "JobReturn", name: str) -> float:
    path = results_of(Path(job.hydra_cfg.hydra.runtime.output_dir))  # type: ignore[union-attr]
    try:
        results = read_json(path)
    except (OSError, *DAMAGE):
        raise UserError(f"{path}: is not there") from None
    value = results.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if name in results and value is None:  # what is no number is null in a json file
        raise UserError(f"its {name} is no number")
    numbers = [key for key, each in results.items() if isinstance(each, int | float) and not isinstance(each, bool)]
    raise _unknown(settings, name, numbers)


def _unknown(settings: SweeperSettings, name: str, numbers: list[str]) -> UnknownFigure:
    key = "constraints" if name in (settings.constraints or {}) else "objectives"
    return UnknownFigure(
        f"hydra.sweeper.{key}: {name}: no number of results.json; {options_near(name, [HEADLINE, *numbers])}"
    )
