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
from shiftaddaug.nets.plain import PlainNet
from shiftaddaug.nets.plan import NetPlan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator

FORMAT = 1
WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"


@dataclass(frozen=True)
class Target:
    """A deployable network and what it is made of."""

    net: PlainNet
    operator: Operator
    mult_layers: tuple[str, ...]
    """Layers that multiply even so: groups or names, as `net.mult_layers`."""
    config: dict[str, Any]
    """Whatever else an evaluation needs, such as the data's normalisation."""


def extract_target(
    supernet: Supernet, operator: Operator, mult_layers: Collection[str] = (), config: dict[str, Any] | None = None
) -> Target:
    """The target of a supernet as a plain network, in evaluation mode, on the supernet's device."""
    net = build_plain(supernet.plan, operator, mult_layers)
    net.load_state_dict(plain_state(supernet))
    device = next(supernet.parameters()).device
    return Target(net.to(device).eval(), operator, tuple(mult_layers), config or {})


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
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}, this version reads {FORMAT}")
        plan, operator = NetPlan.from_dict(raw["plan"]), operators.build(**raw["operator"])
        net = build_plain(plan, operator, raw["mult_layers"])
        net.load_state_dict(load_file(folder / WEIGHTS))
        target = Target(net.eval(), operator, tuple(raw["mult_layers"]), raw["config"])
    except FileNotFoundError as error:
        raise UserError(f"ckpt_path={path}: no {Path(error.filename or WEIGHTS).name} there") from None
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ckpt_path={path}: not a readable target ({type(error).__name__}: {reason})") from None
    return target


@torch.no_grad()
def max_difference(supernet: Supernet, net: PlainNet, images: Tensor) -> float:
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
