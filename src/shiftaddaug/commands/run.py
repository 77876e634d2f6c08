"""One training run, from built objects to a tested target: what `commands/train.py` calls in order."""

import logging
import math
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.callbacks.checkpoint import AtomicCheckpointIO, BestCheckpoint, checkpoint_path
from shiftaddaug.callbacks.progress import Throughput
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.commands import STARTED
from shiftaddaug.commands.callbacks import build_callbacks, note_idle, typed_overrides
from shiftaddaug.commands.checkpoints import find_checkpoint, read_checkpoint, refuse_other_run
from shiftaddaug.commands.deploy import extract_checked, prove_before_training, refuse_difference
from shiftaddaug.commands.entry import PACKAGE, ROOT, quieten_lightning
from shiftaddaug.commands.optimizers import build_optim
from shiftaddaug.commands.trainer import build_trainer, check_limits, refuse_search_in_processes, warn_of_global_draws
from shiftaddaug.data.checks import holds_validation
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.kl import penalty_from_config
from shiftaddaug.nets.build import assign, supernet_from_config
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import load_target, save_target
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.operators.trial import try_operator
from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.harmless import harmless
from shiftaddaug.report.results import (
    RESULTS,
    RUN,
    code_hash,
    git_commit,
    print_result,
    read_history,
    shortest_path,
    write_json,
)
from shiftaddaug.tasks.evaluation import Evaluation
from shiftaddaug.tasks.training import Training

log = logging.getLogger(__name__)


class Run:
    """Everything a run needs, built in an order that meets mistakes before expensive work.

    Args:
        cfg: composed from configs/train.yaml, checked.
        plan: of the target network.
        started: when the user's command (or this job of it) began, seconds since the epoch.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: a mistake that only shows when things are built.
    """

    def __init__(
        self, cfg: DictConfig, plan: Plan, started: float = STARTED, catalogue: Catalogue = PACKAGE_ONLY
    ) -> None:
        quieten_lightning()
        self.cfg, self.plan, self.started, self.catalogue = cfg, plan, started, catalogue
        self.folder = Path(cfg.paths.output_dir)
        self.config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        self.results: dict[str, Any] = {}
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        operator = operators.from_config(self.config["op"], catalogue)
        try_operator(operator)
        self.assignment = assign(plan, operator, list(cfg.net.mult_layers))
        self.objective = tasks.build(self.config["task"], plan.num_classes, catalogue)
        self.task = self._training()
        prove_before_training(self.task.net)
        self.ckpt_path = self._resumed_checkpoint()
        self.data: pl.LightningDataModule = instantiate(cfg.data)
        self.objective.settings.refuse_other_data(cfg.data.name, getattr(self.data, "task", None))
        self.trainer = self._trainer()
        self.data.prepare_data()
        self.data.setup("fit")
        warn_of_global_draws(self.data, self.cfg.data.name)
        check_limits(cfg.trainer, self.data, self.trainer.world_size)
        refuse_search_in_processes(self.trainer.world_size)
        # Lightning does so once a checkpoint has been read into it: float64 weights would come back rounded
        self.trainer.precision_plugin.convert_module(self.task)
        self._record_start()

    def _training(self) -> Training:
        cfg = self.cfg
        aug = cfg.aug
        net = supernet_from_config(self.config, self.plan, self.assignment)
        optimizer, scheduler = build_optim(cfg.optim, cfg.trainer.max_epochs)
        return Training(
            net,
            self.objective,
            optimizer=optimizer,
            scheduler=scheduler,
            aug_weight=aug.weight,
            distill_weight=aug.distill_weight,
            distill_temperature=aug.distill_temperature,
            weight_penalty=penalty_from_config(self.config["sharing"]),
            compile_backend=self.objective.settings.compile,
            config=self.config,
            decay_norms=cfg.optim.get("decay_norms", False),
            validated=holds_validation(self.config["data"]),
        )

    def _resumed_checkpoint(self) -> Path | None:
        if self.cfg.ckpt_path is None:
            return None
        path = find_checkpoint(str(self.cfg.ckpt_path), Path(self.cfg.paths.log_dir))
        refuse_other_run(path, read_checkpoint(path), self.config)
        log.info("resuming %s", path)
        return path

    def _trainer(self) -> pl.Trainer:
        cfg = self.cfg
        self.throughput = Throughput()
        callbacks = build_callbacks(cfg.callbacks)
        loggers: list[Logger] = [CSVLogger(str(self.folder), name="", version="")]
        loggers += [instantiate(logger) for logger in (cfg.get("logger") or {}).values()]
        none = {} if self.task.validated else {"limit_val_batches": 0}
        trainer = build_trainer(
            cfg.trainer, [*callbacks.values(), self.throughput], logger=loggers, plugins=[AtomicCheckpointIO()], **none
        )
        self.idle = note_idle(callbacks, trainer, self.task, typed_overrides())
        return trainer

    def _record_start(self) -> None:
        cost = net_cost(self.plan, self.assignment)
        self.results |= {
            "net": self.plan.name,
            "op": self.cfg.op.name,
            "aug": self.cfg.aug.name,
            "data": self.cfg.data.name,
            **self.objective.settings.record(),
            "seed": self.cfg.seed,
            "params": cost.params,
            "macs": cost.macs,
            "multiplication_free_macs_percent": round(100 * cost.multiplication_free_share, 1),
            "operations": dict(cost.operations),
            "supernet_params": sum(p.numel() for p in self.task.net.parameters()),
            "git_commit": git_commit(ROOT),
            "code": code_hash(PACKAGE),
            "torch": torch.__version__,
            "command": " ".join(sys.argv),
            "folder": str(self.folder),
            "idle": self.idle,
            "resumed_from": None if self.ckpt_path is None else str(self.ckpt_path.absolute()),
        }
        log.info(
            "net=%s op=%s aug=%s: target %.4g M params, %.4g M MACs at %s px, %.1f %% of them multiplication-free; "
            "supernet %.4g M params",
            self.plan.name,
            self.cfg.op.name,
            self.cfg.aug.name,
            cost.params / 1e6,
            cost.macs / 1e6,
            shown_size(self.plan.image_size),
            100 * cost.multiplication_free_share,
            self.results["supernet_params"] / 1e6,
        )
        for operator in self.assignment.operators():
            described = operator.describe(self.trainer.strategy.root_device.type)
            if described is not None:
                log.info(described)
        if self.trainer.is_global_zero:
            if (self.folder / RUN).exists():
                raise UserError(f"paths.output_dir={self.folder}: holds a run already, which is never overwritten")
            self.folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.cfg, self.folder / "config.yaml", resolve=True)
            write_json(self.folder / RUN, self.results)
        for logger in self._other_loggers():
            logger.log_hyperparams(self._hyperparameters())

    def _hyperparameters(self) -> dict[str, Any]:
        """What distinguishes runs: the configuration, less where they lie, and the code."""
        return {k: v for k, v in self.config.items() if k != "paths"} | {
            k: self.results[k] for k in ("git_commit", "code")
        }

    def _other_loggers(self) -> list[Logger]:
        """All loggers but metrics.csv, which is for what changes: config.yaml and results.json lie beside it."""
        return [logger for logger in self.trainer.loggers if not isinstance(logger, CSVLogger)]

    def fit(self) -> None:
        """Train."""
        try:
            self.trainer.fit(self.task, datamodule=self.data, ckpt_path=self.ckpt_path)
        except SystemExit:
            if self.trainer.interrupted:  # Lightning's answer to Ctrl-C; the command has its own
                raise KeyboardInterrupt(*self._how_to_resume()) from None
            raise
        first, seconds = self.throughput.first_step_time, self.throughput.seconds
        self.results |= {
            "train_seconds": None if seconds is None else round(seconds, 1),
            "seconds_to_first_step": None if first is None else round(first - self.started, 2),
            "images_per_s": None if self.throughput.images_per_s is None else round(self.throughput.images_per_s),
            "epochs": self.trainer.current_epoch,
            **self._last_training_figures(),
        }

    def draw(self) -> None:
        """Draw all figures of what the run has recorded so far."""
        if self.trainer.is_global_zero:
            draw_figures(self.folder, self.catalogue, self._other_loggers(), self.trainer.global_step)

    def _how_to_resume(self) -> list[str]:
        last = self.folder / "checkpoints" / "last.ckpt"
        path = last if last.exists() else self.ckpt_path
        return [] if path is None else [f"ckpt_path={path} resumes from the last finished epoch"]

    def _last_training_figures(self) -> dict[str, float | None]:
        """Training figures of the last epoch; an earlier run trained it if this one had only its deployment left."""
        history, found = read_history(self.folder), dict[str, float | None]()
        for figure in (figure for figure in self.objective.settings.figures if figure.training):
            curve = history.get(f"train/{figure.name}", {})
            found[figure.key("train")] = figure.recorded(curve[max(curve)]) if curve else None
        return found

    def deploy(self) -> None:
        """Extract the target of the best checkpoint on validation, save it, reload it, prove it exact.

        Where nothing is validated it is that of the last epoch.

        Raises:
            AssertionError: the target multiplies where it may not, or computes, once reloaded, anything else than the
                supernet's target path.
        """
        best = checkpoint_path(self.trainer, BestCheckpoint)
        if not self.task.validated:
            log.info("data.val_fraction=0: nothing was validated; deploying the weights of the last epoch")
        elif best is None:
            log.warning("no best checkpoint to deploy: deploying the weights as they are now")
        else:
            self.task.load_state_dict(read_checkpoint(best)["state_dict"])
        self.target_folder = Path(self.trainer.strategy.broadcast(str(self.folder / "target")))
        target = extract_checked(self.task.net, {"data": self.config["data"], "task": self.config["task"]})
        if self.trainer.is_global_zero:
            save_target(target, self.target_folder)
        self.trainer.strategy.barrier()
        reloaded = load_target(self.target_folder, self.catalogue).net.to(self.task.device)
        difference = refuse_difference(self.task.net, reloaded, self.plan)
        self.results |= {
            "target": str(self.target_folder),
            "deployed": "last epoch" if best is None else "best epoch on validation",
            "validated": self.task.validated,
            "extraction_max_difference": difference,
        }
        self.deployed = Evaluation(reloaded, self.objective)

    def test(self) -> None:
        """Validation and test figures of the deployed target itself; the test set is used here and nowhere else."""
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = build_trainer(self.cfg.trainer, callbacks=[], sync_batchnorm=False, **options)
        splits = {"val": trainer.validate, "test": trainer.test}
        if not self.task.validated:
            del splits["val"]
        for split, evaluate in splits.items():
            metrics = evaluate(self.deployed, datamodule=self.data, verbose=False)[0]
            self.results |= self.deployed.results(split, metrics)

    def report(self) -> float:
        """Write results.json, print the table; return the headline figure on validation, as it was measured.

        A figure that is no number counts as the worst there is: a search cannot be told of it. Where nothing was
        validated there is none to return: nan, which no search ever sees.
        """
        r, headline = self.results, self.objective.settings.headline_figure
        if self.trainer.is_global_zero:
            write_json(self.folder / RESULTS, r)
            final = {f"final/{name}": value for name, value in r.items() if isinstance(value, int | float)}
            for logger in self._other_loggers():
                with harmless(f"the results could not be handed to {type(logger).__name__}"):
                    logger.log_metrics(final)
                    if isinstance(logger, TensorBoardLogger):  # whose table of runs is written with results alone
                        logger.log_hyperparams(self._hyperparameters(), final)
            print_result(
                f"target of {r['net']}, op={r['op']}, aug={r['aug']}, data={r['data']}, seed={r['seed']}",
                {
                    f"{headline.title} (test)": headline.written(r[headline.key("test")]),
                    f"{headline.title} (validation)": (
                        headline.written(r[headline.key("val")])
                        if r["validated"]
                        else "none: data.val_fraction=0, the last epoch is deployed"
                    ),
                    "params": f"{r['params']:,}",
                    "MACs": f"{r['macs']:,} ({r['multiplication_free_macs_percent']} % multiplication-free)",
                    "target": shortest_path(self.target_folder),
                },
            )
        if not r["validated"]:
            return math.nan
        value = headline.measured(r[headline.key("val")])
        if not math.isnan(value):
            return value
        log.warning("task=%s: its headline %s is no number on validation", self.objective.settings.name, headline.name)
        return headline.worst

    def close(self, exit_code: int = 0) -> None:
        """Let the next job of a multirun start afresh; W&B calls a run failed whose exit code is not 0."""
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(exit_code=exit_code)
