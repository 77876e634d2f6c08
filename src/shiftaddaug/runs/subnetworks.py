"""What an evaluation computes with: a deployed target, or a sub-network of a supernet's checkpoint."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import assigned_operators, supernet_from_config
from shiftaddaug.nets.cost import NetCost, net_cost
from shiftaddaug.nets.extract import DTYPES, Target, extract_target, load_target
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.recalibrate import recalibrate
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.operators.base import Operator
from shiftaddaug.runs.checkpoints import read_checkpoint
from shiftaddaug.runs.earlier import as_of_today, task_of
from shiftaddaug.runs.proofs import refuse_multiplications


@dataclass(frozen=True)
class Subnetwork:
    """A network, the plan that says its widths, its operators, its cost, its task and the data it was trained with."""

    net: nn.Module
    plan: Plan
    assignment: Assignment[Operator]
    cost: NetCost
    data_config: Any
    """The stored value: a dictionary, unless the file is damaged."""
    task_config: dict[str, Any]
    """The task's keys (configs/task), as they were stored."""
    classes: tuple[str, ...] | None = None
    """What outputs stand for, where that is stated: a target says it, a checkpoint does not."""


class _Fixed(nn.Module):
    """A supernet seen through one spec."""

    def __init__(self, supernet: Supernet, spec: SubnetSpec) -> None:
        super().__init__()
        self.supernet, self.spec = supernet, spec

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.supernet(images, self.spec)
        return outputs


def read_target(path: Path, catalogue: Catalogue = PACKAGE_ONLY) -> Target:
    """The target in a folder of its own, or of a supernet's .ckpt file.

    Raises:
        UserError: a damaged file, or one of another version.
    """
    if path.is_dir() or path.suffix != ".ckpt":
        return load_target(path, catalogue)
    config, supernet = _load_supernet(path, catalogue)
    return extract_target(supernet, {key: config[key] for key in ("data", "task") if key in config})


def read_network(path: Path, catalogue: Catalogue = PACKAGE_ONLY) -> Net:
    """Return the supernet of a .ckpt file, or the network of a target's folder, with its weights.

    Raises:
        UserError: a damaged file, or one of another version.
    """
    return load_target(path, catalogue).net if path.is_dir() else _load_supernet(path, catalogue)[1]


def load_subnetwork(
    path: Path, width_multiplier: float = 1.0, expand_multiplier: float = 1.0, catalogue: Catalogue = PACKAGE_ONLY
) -> Subnetwork:
    """Read a target's folder, or the target (or a wider sub-network) of a supernet's .ckpt file.

    NetCost.multiplication_free_macs of a widened sub-network counts the layers of the target alone.

    Raises:
        UserError: a damaged file, one of another version, or a sub-network wider than its supernet.
    """
    if width_multiplier == expand_multiplier == 1:
        target = read_target(path, catalogue)
        try:
            refuse_multiplications(target)  # a tampered or damaged one would be reported as multiplication-free
            task = task_of(target.config)
        except UserError as error:
            raise UserError(f"ckpt_path={path}: {error}") from None
        plan, assignment = target.net.plan, target.assignment
        cost, classes = net_cost(plan, assignment), target.interface.classes
        return Subnetwork(target.net, plan, assignment, cost, target.config.get("data"), task, classes)
    config, supernet = _load_supernet(path, catalogue)
    plan, assignment = supernet.plan, supernet.assignment
    widening = supernet.widening
    widest_width, widest_expand = widening.largest_multipliers()
    for key, value, widest in (
        ("width", width_multiplier, widest_width),
        ("expand", expand_multiplier, widest_expand),
    ):
        if value > widest:
            raise UserError(f"subnet.{key}_multiplier={value}: ckpt_path={path} was trained up to {widest}")
    spec = widening.uniform(width_multiplier, expand_multiplier)
    free = net_cost(plan, assignment).multiplication_free_macs
    cost = dataclasses.replace(net_cost(supernet.graph.at(spec), assignment), multiplication_free_macs=free)
    return Subnetwork(_Fixed(supernet, spec).eval(), plan, assignment, cost, config["data"], task_of(config))


def _load_supernet(path: Path, catalogue: Catalogue) -> tuple[dict[str, Any], Supernet]:
    checkpoint = read_checkpoint(path)
    try:
        return _supernet_of(as_of_today(checkpoint["config"]), checkpoint["state_dict"], catalogue)
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"ckpt_path={path}: its configuration has no {error}: written by another version") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ckpt_path={path}: damaged, or written by another version ({reason})") from error


def _supernet_of(
    config: dict[str, Any], state: dict[str, Tensor], catalogue: Catalogue
) -> tuple[dict[str, Any], Supernet]:
    data = config["data"]
    outputs = _outputs_of(config, state, catalogue)
    plan = plan_net(config["net"], outputs, data["in_channels"], data["image_size"], catalogue, config["arch"])
    dtype = state["net.stem.conv.weight"].dtype
    if dtype not in DTYPES:
        raise ValueError(f"its weights are of {dtype}")
    assignment = assigned_operators(config, plan, catalogue)
    supernet = supernet_from_config(config, plan, assignment).to(dtype)
    supernet.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
    return config, supernet


def _outputs_of(config: dict[str, Any], state: dict[str, Tensor], catalogue: Catalogue) -> int:
    """Return the number of channels of the logits: there is a bias of each, of their layer or of a batch-norm."""
    data = config["data"]
    plan = plan_net(config["net"], 1, data["in_channels"], data["image_size"], catalogue, config["arch"])
    logits = plan.by_name[plan.outputs[0][1]].space
    writers = (plan.by_name[name] for name in plan.registered if plan.by_name[name].space == logits)
    biases = [f"net.{node.name}.bias" for node in writers if node.bias or node.kind == "norm"]
    return state[biases[0]].numel()


def recalibrate_on_training_data(
    net: nn.Module, data: pl.LightningDataModule, batches: int, device: torch.device
) -> None:
    """Measure the batch-norm statistics of `net` on the first batches of an epoch, augmented as in training."""
    if not batches:
        return
    data.prepare_data()
    data.setup("fit")
    recalibrate(net.to(device), _training_images(data, batches, next(net.parameters())))


def _training_images(data: pl.LightningDataModule, batches: int, like: Tensor) -> Iterator[Tensor]:
    """Training images on the device and in the precision of `like`, as a network is fed them.

    A data module without `transform` has done with them what it does when its loader yields them.
    """
    transform = getattr(data, "transform", None)
    for batch in islice(data.train_dataloader(), batches):
        images = batch[0].to(like.device)
        yield (images if transform is None else transform(images, train=True)).to(like.dtype)
