"""The settings of an evaluation, checked before torch is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.data.settings import ImageSize
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.nets.settings import Multiplier
from shiftaddaug.report.results import CONFIG, RESULTS
from shiftaddaug.runs.checkpoints import read_config
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.named import evaluated
from shiftaddaug.runs.no_effect_training import warn_of_evaluation
from shiftaddaug.runs.rules import say_no_effect, typed_of
from shiftaddaug.runs.searching import is_multirun
from shiftaddaug.runs.settings import PathsSettings
from shiftaddaug.runs.trainer_settings import check_processes, check_trainer
from shiftaddaug.settings import CheckpointPath, Count, PathName, PluginNames, PositiveInt, Seed, check_group, shown
from shiftaddaug.tasks.segmentation.settings import Overlap, Window

RECALIBRATE_BATCHES = 16
"""Training batches that a sub-network without statistics of its own is measured on."""

GROUPS = ("subnet", "data", "task", "paths", "trainer", "hardware")
"""Keys of the top level that hold keys."""


@dataclass(frozen=True)
class TopLevel:
    """Keys of configs/eval.yaml that are no group."""

    ckpt_path: CheckpointPath
    split: Literal["val", "test"] = "test"
    plugins: PluginNames = ()  # type: ignore[assignment]
    seed: Seed = 0
    recalibrate_batches: Count | None = None


@dataclass(frozen=True)
class SubnetSettings:
    """Keys of `subnet`: how much wider than the target."""

    width_multiplier: Multiplier = 1.0
    expand_multiplier: Multiplier = 1.0

    @property
    def is_widened(self) -> bool:
        """Whether it is another network than the target."""
        return max(self.width_multiplier, self.expand_multiplier) > 1


@dataclass(frozen=True)
class DataChanges:
    """Keys of `data`: what is read otherwise than it was trained on; null leaves it."""

    data_dir: PathName | None = None
    batch_size: PositiveInt | None = None
    verify: bool | None = None
    eval_size: ImageSize | None = None


@dataclass(frozen=True)
class TaskChanges:
    """Keys of `task`: how a mask is evaluated otherwise than it was trained; null leaves it."""

    window: Window | None = None
    window_overlap: Overlap | None = None


@dataclass(frozen=True)
class EvalSettings:
    """An evaluation."""

    top: TopLevel
    path: Path
    """What is evaluated: a target's folder, or a supernet's .ckpt file."""
    subnet: SubnetSettings
    data: DataChanges
    task: TaskChanges
    paths: PathsSettings
    trainer: Mapping[str, Any]
    """The `trainer` group, of which Hydra builds the Trainer."""
    hardware: Hardware
    """What its costs are told of."""
    catalogue: Catalogue
    typed: tuple[str, ...]
    """Overrides that the user typed."""

    @property
    def folder(self) -> Path:
        """Where the results are written."""
        return Path(self.paths.output_dir)

    @property
    def recalibrate_batches(self) -> int:
        """Training batches on which batch-norm's statistics are measured."""
        if self.top.recalibrate_batches is not None:
            return self.top.recalibrate_batches
        return RECALIBRATE_BATCHES if self.subnet.is_widened else 0

    def changed(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data as they were trained on, with what the user changes.

        Raises:
            UserError: a changed key that these data do not have.
        """
        data = dict(stored)
        folder_typed = typed_of(["paths.data_dir"], self.typed)
        if "data_dir" in data and (data["data_dir"] is None or folder_typed):
            recorded = None if folder_typed else _recorded_data_dir(self.path)
            data["data_dir"] = recorded or self.paths.data_dir
        if folder_typed and self.data.data_dir is not None:
            say_no_effect(f"data.data_dir={self.data.data_dir}", folder_typed)
        elif folder_typed and "data_dir" not in data:
            say_no_effect(f"data={data.get('name')} reads no files there", folder_typed)
        return _changed("data", data, self.data)

    def changed_task(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the task as it was trained, with what the user changes.

        Raises:
            UserError: a changed key that this task does not have.
        """
        return _changed("task", dict(stored), self.task)

    @property
    def changes_sizes(self) -> bool:
        """Whether images are evaluated at other sizes, or by other windows, than they were."""
        return self.data.eval_size is not None or self.task != TaskChanges()


def _recorded_data_dir(target: Path) -> str | None:
    """Return where the images of the run that a target lies in were, if its folder says so, and they still are there.

    A target itself names no folder of a machine.
    """
    config = target.absolute().parent / CONFIG
    try:
        recorded = OmegaConf.select(OmegaConf.load(config), "data.data_dir")
    except (OSError, YAMLError, *DAMAGE):  # no run's, or damaged
        return None
    return recorded if isinstance(recorded, str) and Path(recorded).is_dir() else None


def _changed(group: str, stored: dict[str, Any], changes: DataChanges | TaskChanges) -> dict[str, Any]:
    made = {key: value for key, value in asdict(changes).items() if value is not None}
    for key, value in made.items():
        if key not in stored:
            options = ", ".join(f"{group}.{key}" for key in asdict(changes) if key in stored) or "null"
            raise UserError(
                f"{group}.{key}={shown(value)}: {group}={stored.get('name')} has no such key; options: {options}"
            )
    return stored | made


def read_eval_settings(cfg: DictConfig, typed: Sequence[str] = ()) -> EvalSettings:
    """Return the settings of an evaluation.

    Args:
        cfg: composed from configs/eval.yaml.
        typed: what the user typed.

    Raises:
        UserError: the first mistake, by key; nothing there to evaluate; a folder that holds results already.
    """
    config = plain(cfg)
    top = check_group("", config, TopLevel, more=GROUPS)
    subnet = check_group("subnet", config["subnet"], SubnetSettings)
    data = check_group("data", config["data"], DataChanges)
    task = check_group("task", config["task"], TaskChanges)
    paths = check_group("paths", config["paths"], PathsSettings)
    check_trainer(config["trainer"])
    check_processes(config["trainer"], is_multirun())
    catalogue = catalogue_of(top.plugins)
    path = evaluated("ckpt_path", str(top.ckpt_path), Path(paths.log_dir))
    _check_subnet(subnet, top, path)
    if path.suffix == ".ckpt" and not path.is_dir():
        read_config(path)
    hardware = hardware_from(config["hardware"])
    settings = EvalSettings(top, path, subnet, data, task, paths, config["trainer"], hardware, catalogue, tuple(typed))
    if (settings.folder / RESULTS).exists():
        raise UserError(f"paths.output_dir={settings.folder}: holds results already, which are never overwritten")
    warn_of_evaluation(top.split, bool(settings.recalibrate_batches), typed)
    return settings


def _check_subnet(subnet: SubnetSettings, top: TopLevel, path: Path) -> None:
    """Refuse a widened sub-network of what holds the target alone, or with the target's statistics."""
    if not subnet.is_widened:
        return
    if path.suffix != ".ckpt" or path.is_dir():
        key = "width_multiplier" if subnet.width_multiplier > 1 else "expand_multiplier"
        best = path.parent / "checkpoints" / "best.ckpt"
        remedy = f"; options: ckpt_path={best}" if path.is_dir() and best.exists() else ""
        raise UserError(
            f"subnet.{key}={getattr(subnet, key)}: {path} is no checkpoint of a supernet (a .ckpt file){remedy}"
        )
    if top.recalibrate_batches == 0:
        raise UserError("recalibrate_batches=0: a widened sub-network has no batch-norm statistics of its own")
