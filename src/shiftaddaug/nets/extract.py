"""Take the target out of a supernet, save it by itself, load it, and prove that nothing changed on the way.

A saved target is a folder of two files: `model.safetensors` (operator-ready weights) and `architecture.json`
(the plan, the operator, the layers that multiply). Loading it executes nothing and needs no supernet.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.build import build_plain, plain_state
from shiftaddaug.nets.cost import select_layers
from shiftaddaug.nets.format1 import plan_of_format1
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plain import OperatorConv2d, OperatorLinear
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator

FORMAT = 2
"""Of architecture.json. Format 1, whose plans held blocks in place of nodes, is still read."""

READERS = {1: plan_of_format1, FORMAT: Plan.from_dict}
WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"


@dataclass(frozen=True)
class Target:
    """A deployable network and what it is made of."""

    net: Net
    operator: Operator
    mult_layers: tuple[str, ...]
    """Layers that multiply even so: groups or names, as `net.mult_layers`."""
    config: dict[str, Any]
    """Whatever else an evaluation needs, such as the data's normalisation."""


def extract_target(
    supernet: Supernet, operator: Operator, mult_layers: Collection[str] = (), config: dict[str, Any] | None = None
) -> Target:
    """The target of a supernet as a plain network, in evaluation mode, of the supernet's device and dtype."""
    weight = next(supernet.parameters())
    net = build_plain(supernet.plan, operator, mult_layers).to(weight.device, weight.dtype)
    net.load_state_dict(plain_state(supernet))
    return Target(net.eval(), operator, tuple(mult_layers), config or {})


def save_target(target: Target, folder: Path) -> None:
    """Write a target into a folder that does not hold one yet.

    Raises:
        FileExistsError: it does.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    if weights.exists():
        raise FileExistsError(f"{weights} exists")
    save_file({name: value.contiguous().cpu() for name, value in target.net.state_dict().items()}, weights)
    architecture = {
        "format": FORMAT,
        "plan": target.net.plan.to_dict(),
        "operator": target.operator.config(),
        "mult_layers": list(target.mult_layers),
        "config": target.config,
    }
    (folder / ARCHITECTURE).write_text(json.dumps(architecture, indent=1) + "\n")


def load_target(path: Path) -> Target:
    """Read a target from its folder, or from one of its two files; in evaluation mode, on the CPU.

    Raises:
        UserError: no target there, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = path if path.is_dir() else path.parent
    try:
        raw = json.loads((folder / ARCHITECTURE).read_text())
        if raw["format"] not in READERS:
            raise ValueError(f"format {raw['format']}, this version reads {', '.join(map(str, READERS))}")
        plan, operator = READERS[raw["format"]](raw["plan"]), operators.build(**raw["operator"])
        state = load_file(folder / WEIGHTS)
        net = build_plain(plan, operator, raw["mult_layers"]).to(state[f"{plan.layers()[0].name}.weight"].dtype)
        net.load_state_dict(state)
        target = Target(net.eval(), operator, tuple(raw["mult_layers"]), raw["config"])
    except FileNotFoundError as error:
        raise UserError(f"ckpt_path={path}: no {Path(error.filename or WEIGHTS).name} there") from None
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ckpt_path={path}: not a readable target ({type(error).__name__}: {reason})") from None
    return target


@torch.no_grad()
def max_difference(supernet: Supernet, net: Net, images: Tensor) -> float:
    """Largest |difference| of the logits of the supernet's target path and of a plain network, both evaluating.

    A correctly extracted target differs by exactly 0.
    """
    training = supernet.training
    supernet.eval()
    try:
        difference = (supernet(images) - net.eval()(images)).abs().max().item()
    finally:
        supernet.train(training)
    return float(difference)


@torch.no_grad()
def multiplicative_layers(net: Net) -> list[str]:
    """Names of the layers that multiply when they execute, exempt ones too, in forward order.

    An operator that says it is multiplication-free is not taken at its word: the stored weights have to be zeros and
    signed powers of two, so that every product is a shift; or, where they are not, they must not be factors.
    """
    modules = dict(net.named_modules())
    return [layer.name for layer in net.plan.layers() if _multiplies(modules[layer.name])]


def unexpected_multiplications(target: Target) -> list[str]:
    """Of `multiplicative_layers`, those that `mult_layers` does not exempt. Only op=mult may have any."""
    exempt = select_layers(target.net.plan, target.mult_layers)
    return [name for name in multiplicative_layers(target.net) if name not in exempt]


def _multiplies(layer: torch.nn.Module) -> bool:
    assert isinstance(layer, OperatorConv2d | OperatorLinear)
    if not layer.operator.multiplication_free:
        return True
    weight = layer.weight.detach()
    if not bool(weight.isfinite().all()):  # nothing can be shown of it
        return True
    mantissa, _ = torch.frexp(weight.float())
    if bool(((mantissa.abs() == 0.5) | (weight == 0)).all()):
        return False
    # a product with zero is zero; a distance to zero, over a whole window of weights that are not, is not
    channels, size = weight.shape[1], max(weight.shape[2:], default=1)
    if isinstance(layer, OperatorLinear):
        return not bool(layer.operator.linear(weight.new_zeros(1, channels), weight).any())
    x = weight.new_zeros(1, channels * layer.groups, size, size)
    return not bool(layer.operator.conv2d(x, weight, 1, 0, 1, layer.groups).any())
