"""Supernets of a search: what trains one, and one that was trained. Imports torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftaddaug import operators
from shiftaddaug.callbacks.checkpoint import BestCheckpoint, LastCheckpoint, checkpoint_path
from shiftaddaug.catalogue import Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import sharing_from_config
from shiftaddaug.nas.training import SupernetTraining
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult
from shiftaddaug.runs.checkpoints import read_checkpoint
from shiftaddaug.runs.longer import SUPERNET
from shiftaddaug.runs.prepare import Prepared, training_options
from shiftaddaug.runs.settings import RunSettings
from shiftaddaug.tasks.base import Objective


def supernet_training(
    settings: RunSettings, assignment: Assignment[Operator], objective: Objective
) -> SupernetTraining:
    """Return what trains the supernet of a search."""
    trained = settings.config[SUPERNET]
    alternatives = alternatives_of(trained["operators"], settings.catalogue)
    net = make_supernet(settings.config, settings.plan, alternatives)
    return SupernetTraining(
        net,
        objective,
        distill_weight=trained["distill_weight"],
        distill_temperature=trained["distill_temperature"],
        **training_options(settings),
    )


def alternatives_of(names: list[str], catalogue: Catalogue) -> dict[str, Operator]:
    """Return operators by name, each with its defaults; multiplication is every layer's own."""
    return {name: operators.from_config({"name": name}, catalogue) for name in names if name != "mult"}


def make_supernet(
    config: Mapping[str, Any],
    plan: Plan,
    alternatives: Mapping[str, Operator],
    sharing: Mapping[str, Any] | None = None,
) -> Supernet:
    """Return a supernet whose layers multiply, or compute with an alternative where a pass says so.

    Args:
        config: of its training.
        plan: of the largest network.
        alternatives: operators by name.
        sharing: how they read its weights; by default as in its training.

    Raises:
        UserError: an operator that cannot share a layer's weight with others.
    """
    try:
        return build_supernet(
            plan,
            assign(plan, Mult()),
            sharing=sharing_from_config(config["sharing"] if sharing is None else sharing),
            synchronised_norm=config["trainer"].get("sync_batchnorm", False),
            kernel_transform=config[SUPERNET]["kernel_transform"],
            alternatives=alternatives,
        )
    except UserError as error:  # of an operator whose layers have more than a weight
        raise UserError(str(error).replace("alternatives: ", "space.operators: ", 1)) from None


def load_supernet(path: Path, plan: Plan, alternatives: Mapping[str, Operator], sharing: Mapping[str, Any]) -> Supernet:
    """Return the supernet of a checkpoint.

    Raises:
        UserError: a damaged file, or one that is not of a searched supernet.
    """
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        raise UserError(str(error).replace("ckpt_path=", "supernet: ", 1)) from None
    try:
        supernet = make_supernet(checkpoint["config"], plan, alternatives, sharing)
        state = checkpoint["state_dict"]
        supernet.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"supernet: {path} is no supernet of this search ({type(error).__name__}: {reason})") from error
    return supernet


def best_weights(run: Prepared) -> Path:
    """Put the weights of the epoch that was best on validation into the network; return their checkpoint."""
    path = checkpoint_path(run.trainer, BestCheckpoint) or checkpoint_path(run.trainer, LastCheckpoint)
    if path is None:
        raise UserError("callbacks.last_checkpoint=null: a supernet without a checkpoint cannot be searched")
    run.task.load_state_dict(read_checkpoint(Path(path))["state_dict"])
    return Path(path).absolute()
