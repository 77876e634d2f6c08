"""`python src/eval.py ckpt_path=...`: evaluate a supernet's checkpoint or an extracted target."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug import tasks
from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.commands.check_groups import PathsSettings, check_trainer, plain
from shiftaddaug.commands.checkpoints import read_config
from shiftaddaug.commands.entry import importing_torch, quieten_lightning, run_command
from shiftaddaug.data.checks import holds_validation, read_stored
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.report.results import RESULTS, print_result, write_json
from shiftaddaug.settings import CheckpointPath, Count, PathName, PluginNames, PositiveInt, Seed, check_group

if TYPE_CHECKING:
    from shiftaddaug.commands.subnetworks import Subnetwork
    from shiftaddaug.tasks.base import Objective
    from shiftaddaug.tasks.settings import TaskSettings

RECALIBRATE_BATCHES = 16
"""Training batches that a sub-network without statistics of its own is measured on."""

GROUPS = ("subnet", "data", "paths", "trainer")
"""Keys of the top level that hold keys."""


@dataclass(frozen=True)
class EvalSettings:
    """Keys of configs/eval.yaml that are no group."""

    ckpt_path: CheckpointPath
    split: Literal["val", "test"] = "test"
    plugins: PluginNames = ()  # type: ignore[assignment]
    seed: Seed = 0
    recalibrate_batches: Count | None = None


@dataclass(frozen=True)
class SubnetSettings:
    """Keys of `subnet`: how much wider than the target."""

    width_multiplier: Annotated[float, Meta(ge=1)] = 1.0
    expand_multiplier: Annotated[float, Meta(ge=1)] = 1.0


@dataclass(frozen=True)
class DataChanges:
    """Keys of `data`: what is read otherwise than it was trained on; null leaves it."""

    data_dir: PathName | None = None
    batch_size: PositiveInt | None = None
    verify: bool | None = None


def evaluate(cfg: DictConfig) -> float:
    """Evaluate on a split of the data it was trained with; print a table and return the task's headline figure.

    Raises:
        UserError: no such checkpoint, a damaged one, or data or a sub-network that does not fit it.
    """
    catalogue = catalogue_of(cfg.plugins)
    path = _check(cfg)

    with importing_torch():
        import lightning.pytorch as pl

        from shiftaddaug.commands.subnetworks import load_subnetwork, recalibrate_on_training_data
        from shiftaddaug.commands.trainer import build_trainer, check_limits
        from shiftaddaug.data.stored import data_module_of
        from shiftaddaug.tasks.evaluation import Evaluation

    quieten_lightning()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    subnetwork = load_subnetwork(path, cfg.subnet.width_multiplier, cfg.subnet.expand_multiplier, catalogue)
    objective = _objective(cfg, subnetwork, catalogue)
    data_config = _data_config(cfg, subnetwork)
    if cfg.split == "val" and not holds_validation(data_config):
        raise UserError(f"split=val: ckpt_path={cfg.ckpt_path} held no images out (data.val_fraction=0); options: test")
    data: Any = data_module_of(data_config, catalogue)
    _check_data(cfg, subnetwork, objective.settings, data)
    trainer = build_trainer(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    data.prepare_data()
    data.setup("validate" if cfg.split == "val" else "test")
    check_limits(cfg.trainer, data, trainer.world_size, [cfg.split])
    batches = cfg.recalibrate_batches
    if batches is None:
        batches = RECALIBRATE_BATCHES if _is_widened(cfg) else 0
    recalibrate_on_training_data(subnetwork.net, data, batches, trainer.strategy.root_device)
    module = Evaluation(subnetwork.net, objective)
    run = trainer.validate if cfg.split == "val" else trainer.test
    metrics = run(module, datamodule=data, verbose=False)[0]
    results = _results(path, cfg, batches, subnetwork, module.results(cfg.split, metrics))
    if trainer.is_global_zero:
        Path(cfg.paths.output_dir).mkdir(parents=True, exist_ok=True)
        write_json(Path(cfg.paths.output_dir) / RESULTS, objective.settings.record() | results)
        print_result(f"{subnetwork.plan.name}, op={subnetwork.assignment.title()}, data={data_config['name']}", results)
    return float(metrics[f"{cfg.split}/{objective.settings.headline}"])


def _objective(cfg: DictConfig, subnetwork: "Subnetwork", catalogue: Catalogue) -> "Objective":
    try:
        return tasks.build(subnetwork.task_config, subnetwork.plan.num_classes, catalogue)
    except UserError as error:
        raise UserError(f"ckpt_path={cfg.ckpt_path}: {error}") from None


def _is_widened(cfg: DictConfig) -> bool:
    return max(cfg.subnet.width_multiplier, cfg.subnet.expand_multiplier) > 1


def _check(cfg: DictConfig) -> Path:
    """What is evaluated, if the configuration is sound, as far as that shows without torch."""
    config = plain(cfg)
    check_group("", {key: value for key, value in config.items() if key not in GROUPS}, EvalSettings)
    check_group("subnet", config["subnet"], SubnetSettings)
    check_group("data", config["data"], DataChanges)
    check_group("paths", config["paths"], PathsSettings)
    check_trainer(config["trainer"])
    path = Path(str(cfg.ckpt_path)).expanduser()
    if not path.exists():
        raise UserError(f"ckpt_path={path}: no such file; options: a .ckpt file, or a run's target folder")
    if (path / "target").is_dir():
        raise UserError(f"ckpt_path={path}: a run's folder; did you mean {path / 'target'}?")
    _check_subnet(cfg, path)
    if (Path(cfg.paths.output_dir) / RESULTS).exists():
        raise UserError(f"paths.output_dir={cfg.paths.output_dir}: holds results already, which are never overwritten")
    if path.suffix == ".ckpt" and not path.is_dir():
        read_config(path)
    return path


def _check_subnet(cfg: DictConfig, path: Path) -> None:
    """Refuse a widened sub-network of what holds the target alone, or with the target's statistics."""
    if not _is_widened(cfg):
        return
    if path.suffix != ".ckpt" or path.is_dir():
        key = "width_multiplier" if cfg.subnet.width_multiplier > 1 else "expand_multiplier"
        raise UserError(f"subnet.{key}={cfg.subnet[key]}: {path} is no checkpoint of a supernet (a .ckpt file)")
    if cfg.recalibrate_batches == 0:
        raise UserError("recalibrate_batches=0: a widened sub-network has no batch-norm statistics of its own")


def _data_config(cfg: DictConfig, subnetwork: "Subnetwork") -> dict[str, Any]:
    """The data as trained on, with what the user changes.

    Raises:
        UserError: the checkpoint says nothing of its data, or a key is not one of them.
    """
    if not isinstance(subnetwork.data_config, dict):
        raise UserError(f"ckpt_path={cfg.ckpt_path}: says nothing of the data it was trained on")
    stored = read_stored(subnetwork.data_config)
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    if "data_dir" in stored and (stored["data_dir"] is None or any(o.startswith("paths.data_dir=") for o in typed)):
        stored["data_dir"] = cfg.paths.data_dir
    changed = {key: value for key, value in cfg.data.items() if value is not None}
    for key, value in changed.items():
        if key not in stored:
            options = ", ".join(f"data.{key}" for key in cfg.data if key in stored)
            raise UserError(f"data.{key}={value}: data={stored.get('name')} has no such key; options: {options}")
    return stored | changed


def _check_data(cfg: DictConfig, subnetwork: "Subnetwork", task: "TaskSettings", data: Any) -> None:
    """Check that the data are made for the task, and need as many outputs as the network has.

    Raises:
        UserError: they are not, or do not.
    """
    name = str(subnetwork.data_config.get("name"))
    task.refuse_other_data(name, getattr(data, "task", None))
    held = {"num_classes": data.num_classes} if hasattr(data, "num_classes") else {}
    try:
        needed = task.outputs(subnetwork.data_config | held)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"ckpt_path={cfg.ckpt_path}: its data have not what task={task.name} reads ({reason})"
        ) from error
    if needed != subnetwork.plan.num_classes:
        raise UserError(
            f"data={name}: need a network of {needed} outputs, and ckpt_path={cfg.ckpt_path} has "
            f"{subnetwork.plan.num_classes}"
        )


def _results(
    path: Path, cfg: DictConfig, batches: int, subnetwork: "Subnetwork", measured: dict[str, Any]
) -> dict[str, Any]:
    cost = subnetwork.cost
    subnet = {f"subnet_{key}": value for key, value in cfg.subnet.items()} if _is_widened(cfg) else {}
    return {
        "ckpt_path": str(path),
        "split": cfg.split,
        **subnet,
        **({"recalibrate_batches": batches} if batches else {}),
        **measured,
        "params": cost.params,
        "macs": cost.macs,
        "multiplication_free_macs_percent": round(100 * cost.multiplication_free_share, 1),
    }


def main() -> None:
    """Run the command."""
    run_command("eval", evaluate)


if __name__ == "__main__":
    main()
