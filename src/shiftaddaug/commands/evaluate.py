"""`python src/eval.py ckpt_path=...`: evaluate a supernet's checkpoint or an extracted target."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from shiftaddaug.commands.checkpoints import read_config
from shiftaddaug.commands.checks import check_trainer
from shiftaddaug.commands.entry import importing_torch, quieten_lightning, run_command
from shiftaddaug.data.checks import check_values
from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from shiftaddaug.nets.extract import Target

SPLITS = ("val", "test")


def evaluate(cfg: DictConfig) -> float:
    """Evaluate on a split of the data it was trained with; print a table and return top-1 in [0, 1].

    Raises:
        UserError: no such checkpoint, a damaged one, or data that does not fit it.
    """
    path = _check(cfg)

    with importing_torch():
        import lightning.pytorch as pl
        from hydra.utils import instantiate

        from shiftaddaug.report.results import RESULTS, print_result, write_json
        from shiftaddaug.tasks.classification import ClassificationEvaluation

    quieten_lightning()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    target = _load(path)
    data_config = _data_config(cfg, target)
    data = instantiate(data_config)
    trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module = ClassificationEvaluation(target.net, target.net.plan.num_classes)
    run = trainer.validate if cfg.split == "val" else trainer.test
    metrics = run(module, datamodule=data, verbose=False)[0]
    results = _results(path, cfg.split, target, metrics)
    if trainer.is_global_zero:
        write_json(Path(cfg.paths.output_dir) / RESULTS, results)
        print_result(f"{target.net.plan.name}, op={target.operator.name}, data={data_config['name']}", results)
    return float(metrics[f"{cfg.split}/top1"])


def _check(cfg: DictConfig) -> Path:
    """What is evaluated, if the configuration is sound, as far as that shows without torch."""
    if cfg.split not in SPLITS:
        raise UserError(f"split={cfg.split}: options: {', '.join(SPLITS)}")
    check_trainer(cfg.trainer)
    check_values({key: value for key, value in cfg.data.items() if value is not None})
    path = Path(cfg.ckpt_path).expanduser()
    if not path.exists():
        raise UserError(f"ckpt_path={path}: no such file; options: a .ckpt file, or a run's target folder")
    if path.suffix == ".ckpt" and not path.is_dir():
        read_config(path)
    elif (path / "target").is_dir():
        raise UserError(f"ckpt_path={path}: a run's folder; did you mean {path / 'target'}?")
    return path


def _data_config(cfg: DictConfig, target: "Target") -> dict[str, Any]:
    """The data as trained on, with what the user changes; the class count is the network's.

    Raises:
        UserError: the checkpoint names something else than a data module of this package.
    """
    stored = dict(target.config["data"])
    if not str(stored.get("_target_")).startswith("shiftaddaug.data."):
        raise UserError(f"ckpt_path={cfg.ckpt_path}: its data module is {stored.get('_target_')}, none of this package")
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    if "data_dir" in stored and (stored["data_dir"] is None or any(o.startswith("paths.data_dir=") for o in typed)):
        stored["data_dir"] = cfg.paths.data_dir
    return stored | {"num_classes": target.net.plan.num_classes} | {k: v for k, v in cfg.data.items() if v is not None}


def _load(path: Path) -> "Target":
    from shiftaddaug import operators
    from shiftaddaug.commands.checkpoints import read_checkpoint
    from shiftaddaug.nets.build import supernet_from_config
    from shiftaddaug.nets.extract import extract_target, load_target
    from shiftaddaug.nets.tables import plan_net

    if path.is_dir() or path.suffix != ".ckpt":
        return load_target(path)
    checkpoint = read_checkpoint(path)
    config, state = checkpoint["config"], checkpoint["state_dict"]
    data, net = config["data"], config["net"]
    operator = operators.from_config(config["op"])
    num_classes = data["num_classes"] or state["net.classifier.bias"].numel()
    plan = plan_net(net, num_classes, data["in_channels"], data["image_size"])
    supernet = supernet_from_config(config, plan, operator)
    weights = {name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")}
    supernet.load_state_dict(weights)
    return extract_target(supernet, operator, net["mult_layers"], {"data": data})


def _results(path: Path, split: str, target: "Target", metrics: Any) -> dict[str, Any]:
    from shiftaddaug.nets.build import target_cost

    cost = target_cost(target.net.plan, target.operator, target.mult_layers)
    return {
        "ckpt_path": str(path),
        "split": split,
        f"{split}_top1_percent": round(100 * metrics[f"{split}/top1"], 2),
        f"{split}_top5_percent": round(100 * metrics[f"{split}/top5"], 2),
        f"{split}_loss": round(metrics[f"{split}/loss"], 4),
        "params": cost.params,
        "macs": cost.macs,
        "multiplication_free_macs_percent": round(100 * cost.multiplication_free_share, 1),
    }


def main() -> None:
    run_command("eval", evaluate)


if __name__ == "__main__":
    main()
