"""The third and the fourth step of a run: deploy the target, and test what was deployed."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftaddaug.callbacks.checkpoint import BestCheckpoint, checkpoint_path
from shiftaddaug.nets.extract import load_target, save_target
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.target_files import TARGET
from shiftaddaug.runs.answers import KeepAnswers, write_kept
from shiftaddaug.runs.checkpoints import read_checkpoint
from shiftaddaug.runs.interface import interface_of
from shiftaddaug.runs.lightning_trainer import build_trainer, interruptible
from shiftaddaug.runs.prepare import Prepared
from shiftaddaug.runs.proofs import extract_checked, refuse_difference
from shiftaddaug.tasks.evaluation import Evaluation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployed:
    """A target as it was read from its folder again."""

    net: Net
    folder: Path
    weights: str
    """Whose weights it has: of the best epoch on validation, of the last one, or of the checkpoint that was given."""
    validated: bool
    """Whether there were images to validate on."""
    difference: float
    """Largest difference between its outputs and those of the supernet's target path: 0."""

    def record(self) -> dict[str, Any]:
        """Return what results.json says of it."""
        return {
            "target": str(self.folder),
            "deployed": self.weights,
            "validated": self.validated,
            "extraction_max_difference": self.difference,
        }


def deploy(run: Prepared) -> Deployed:
    """Extract the target of the checkpoint that was best on validation, save it, read it again, prove it exact.

    Where nothing is validated it is the target of the last epoch.

    Raises:
        AssertionError: the target multiplies where it may not, or computes, once read again, anything else than the
            supernet's target path.
    """
    settings, task, strategy = run.settings, run.task, run.trainer.strategy
    best, weights = checkpoint_path(run.trainer, BestCheckpoint), "last epoch"
    if not settings.top.train:
        weights = "ckpt_path"  # `runs/fit.py` has loaded them
    elif not settings.validated:
        log.info("data.val_fraction=0: nothing was validated; deploying the weights of the last epoch")
    elif best is None:
        log.warning("no best checkpoint to deploy: deploying the weights as they are now")
    else:
        task.load_state_dict(read_checkpoint(best)["state_dict"])
        weights = "best epoch on validation"
    folder = Path(strategy.broadcast(str(settings.folder / TARGET)))
    target = extract_checked(task.net, {"data": settings.config["data"], "task": settings.config["task"]})
    target = dataclasses.replace(target, interface=interface_of(task.objective, run.data, settings.plan))
    if run.trainer.is_global_zero:
        save_target(target, folder)
    strategy.barrier()
    net = load_target(folder, settings.catalogue).net.to(task.device)
    difference = refuse_difference(task.net, net, settings.plan)
    return Deployed(net, folder, weights, settings.validated, difference)


def test(run: Prepared, deployed: Deployed) -> dict[str, Any]:
    """Return test figures, and validation figures if there are, of the deployed target.

    The test set is used here and nowhere else; with `test=false` not even here.
    """
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "profiler": None}
    watching = [each for each in run.trainer.callbacks if getattr(each, "sees_target", False)]  # type: ignore[attr-defined]
    kept = KeepAnswers()
    trainer = build_trainer(run.settings.config["trainer"], [*watching, kept], sync_batchnorm=False, **options)
    module, figures = Evaluation(deployed.net, run.task.objective), dict[str, Any](tested=run.settings.top.test)
    splits = {"val": trainer.validate, "test": trainer.test}
    wanted = {"val": deployed.validated, "test": run.settings.top.test}
    for split, evaluate in splits.items():
        if not wanted[split]:
            continue
        with interruptible(trainer):
            metrics = evaluate(module, datamodule=run.data, verbose=False)[0]
        figures |= module.results(split, metrics)
    if trainer.is_global_zero and run.settings.top.test:
        write_kept(kept, run.settings.folder, run.task.objective, run.data, deployed.net.plan)
    return figures
