"""Take a sub-network out of a supernet, save it by itself, load it, and prove that nothing changed on the way.

A saved target is a folder of two files: `model.safetensors` (operator-ready weights) and `architecture.json`
(the plan, the operators, the layers of each, and how the network is fed and read). Loading it executes nothing and
needs no supernet.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.files import write_whole
from shiftaddaug.hybrid.layers import HybridLayer
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.reading import Blended
from shiftaddaug.nets.assignment import Assignment, assignment_from
from shiftaddaug.nets.build import assign, build_plain
from shiftaddaug.nets.format1 import plan_of_format1
from shiftaddaug.nets.interface import UNKNOWN, Interface
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plain import OperatorConv2d, OperatorLinear, input_shapes
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Pass, Supernet
from shiftaddaug.nets.target_files import ARCHITECTURE, HASHES, INTERFACE, WEIGHTS, target_folder
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.proof import Use, why_it_multiplies

FORMAT = 2
"""The format of architecture.json. Format 1, whose plans held blocks in place of nodes, is still read."""

READERS = {1: plan_of_format1, FORMAT: Plan.from_dict}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""Types of numbers that networks compute in."""


@dataclass(frozen=True)
class Target:
    """A deployable network and what it is made of."""

    net: Net
    assignment: Assignment[Operator]
    """The operators of its layers."""
    config: dict[str, Any]
    """Whatever else an evaluation needs: the configurations of its data and its task."""
    interface: Interface = UNKNOWN
    """How it is fed and read."""


def extract(supernet: Supernet, spec: SubnetSpec, config: dict[str, Any] | None = None) -> Target:
    """Return a sub-network as a plain one, in evaluation mode, of the supernet's device and dtype.

    It computes what the supernet does with running statistics, to the last bit (NOTE: of weights in torch's ordinary
    layout; in channels_last convolutions may round otherwise): what the operators derive from a whole
    weight, such as mean and spread of R, is the target's at every width. Layers that multiply in the sub-network, by
    `spec.multiplied` or because they are wider than the target, are assigned multiplication, and those of
    `spec.operators` the alternative. Running statistics are the
    target's first ones: those of another width are measured by `nets/recalibrate.py` on what is returned here.

    Args:
        supernet: that it is a part of.
        spec: which part; `supernet.target_spec` is the target.
        config: kept beside it.

    Raises:
        ValueError: a spec that the supernet does not have; as UserError, one that is no plain network: it blends or
            fades, or widens a layer whose operator is not linear in its weight and is surrounded by multiplication.
    """
    plan, run = supernet.graph.at(spec), supernet.run(spec)
    mixed = [name for name, reading in run.readings.items() if isinstance(reading, Blended)]
    mixed = [*(name for name in mixed if name in plan.by_name), *(unit for unit, _ in spec.fades)]
    if mixed:
        raise UserError(f"spec: {mixed[0]} is computed in shares of two, and no plain network does that")
    layers: dict[str, Operator] = {}
    state: dict[str, Tensor] = {}
    for node in plan.nodes:
        module, tensors = supernet.module(node.name), dict[str, Tensor]()
        if isinstance(module, HybridLayer):
            layers[node.name], tensors = _plain_layer(module, node, plan, run)
        elif isinstance(module, HybridBatchNorm2d):
            tensors = module.state(run.channels(node.space))
        state |= {f"{node.name}.{key}": value for key, value in tensors.items()}
    assignment, weight = Assignment(layers), next(supernet.parameters())
    net = build_plain(plan, assignment).to(weight.device, weight.dtype)
    net.load_state_dict(state)
    return Target(net.eval(), assignment, config or {})


def extract_target(supernet: Supernet, config: dict[str, Any] | None = None) -> Target:
    """Return the target of a supernet as a plain network: `extract` of its `target_spec`."""
    return extract(supernet, supernet.target_spec, config)


def _plain_layer(layer: HybridLayer, node: Node, plan: Plan, run: Pass) -> tuple[Operator, dict[str, Tensor]]:
    """The operator and the state dict of a layer of a sub-network."""
    sources, kernel = [run.channels(space) for space in plan.sources(node)], run.kernels.get(node.name)
    reading = run.reading(node.name)
    assert not isinstance(reading, Blended)
    plain = layer.state(reading, layer.cut(sources, run.channels(node.space), kernel))
    if plain is None:
        raise UserError(
            f"spec: {node.name} is wider than the target, and op={reading.operator(layer).name} beside a "
            f"multiplication is no plain layer; options: channels up to the target's, or layers in `multiplied`"
        )
    operator, state = plain
    for name, shape in input_shapes(operator, tuple(state["weight"].shape)).items():
        if shape != tuple(state[name].shape):
            raise UserError(f"spec: op={operator.name} keeps {name} of {node.name} for the target's width alone")
    return plain


def save_target(target: Target, folder: Path) -> None:
    """Write a target into a folder that does not hold one yet.

    Raises:
        FileExistsError: it does.
        UserError: its files cannot be written.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / WEIGHTS).exists():
        raise FileExistsError(f"{folder / WEIGHTS} exists")
    weights = save({name: value.contiguous().cpu() for name, value in target.net.state_dict().items()})
    architecture = {
        "format": FORMAT,
        "plan": target.net.plan.to_dict(),
        **target.assignment.to_dict(),
        INTERFACE: target.interface.to_dict(),
        "config": target.config,
    }
    hashes = {WEIGHTS: hashlib.sha256(weights).hexdigest(), ARCHITECTURE: _hash_of(architecture)}
    write_whole(folder / WEIGHTS, weights)
    write_whole(folder / ARCHITECTURE, json.dumps(architecture | {HASHES: hashes}, indent=1) + "\n")


def _hash_of(architecture: dict[str, Any]) -> str:
    """SHA-256 of an architecture.json without its hashes, whatever its white space."""
    content = {key: value for key, value in architecture.items() if key != HASHES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_hashes(raw: dict[str, Any], weights: bytes) -> None:
    """Refuse files that are not as they were written; earlier versions wrote no hashes.

    Raises:
        ValueError: naming the file.
    """
    hashes = raw.get(HASHES, {})
    for file, found in ((ARCHITECTURE, _hash_of(raw)), (WEIGHTS, hashlib.sha256(weights).hexdigest())):
        if hashes.get(file, found) != found:
            raise ValueError(f"{file} is not as it was written: damaged, or changed")


def _check_numbers(net: Net) -> None:
    """Refuse weights that are no numbers.

    Raises:
        ValueError: naming the first tensor.
    """
    for name, tensor in net.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds inf or nan: its training diverged")


def load_target(path: Path, catalogue: Catalogue = PACKAGE_ONLY, key: str = "ckpt_path") -> Target:
    """Read a target from its folder, from one of its two files, or from its run; in evaluation mode, on the CPU.

    Args:
        path: of the folder, one of the files, or the folder of the run.
        catalogue: of the package and the plugins in use; a target never names one.
        key: under which the user named the path, for messages.

    Raises:
        UserError: no target there, or a damaged one.
    """
    from safetensors import SafetensorError

    try:
        return _read_target(target_folder(path), catalogue)
    except UserError as error:
        raise UserError(f"{key}={path}: {error}") from None
    except FileNotFoundError as error:
        raise UserError(f"{key}={path}: no {Path(error.filename or WEIGHTS).name} there") from None
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be read ({error.strerror}: {error.filename})") from None
    except (*DAMAGE, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{key}={path}: not a readable target ({type(error).__name__}: {reason})") from None


def _read_target(folder: Path, catalogue: Catalogue) -> Target:
    from safetensors.torch import load

    raw = json.loads((folder / ARCHITECTURE).read_text())
    if raw["format"] not in READERS:
        raise ValueError(f"format {raw['format']}, this version reads {', '.join(map(str, READERS))}")
    if not isinstance(raw["config"], dict):
        raise ValueError(f"config {raw['config']!r} holds no configuration")
    plan = READERS[raw["format"]](raw["plan"])
    assignment = _assignment_of(raw, plan, catalogue)
    weights = (folder / WEIGHTS).read_bytes()
    _check_hashes(raw, weights)
    state = load(weights)
    dtype = state[f"{plan.layers()[0].name}.weight"].dtype
    if dtype not in DTYPES:
        raise ValueError(f"its weights are of {dtype}, not of {', '.join(map(str, DTYPES))}")
    net = build_plain(plan, assignment).to(dtype)
    net.load_state_dict(state)
    _check_numbers(net)
    interface = Interface.from_dict(raw[INTERFACE]) if INTERFACE in raw else UNKNOWN
    interface.check_outputs(plan.num_classes, plan.in_channels)
    return Target(net.eval(), assignment, raw["config"], interface)


def _assignment_of(raw: dict[str, Any], plan: Plan, catalogue: Catalogue) -> Assignment[Operator]:
    def make(config: Any) -> Operator:
        return operators.from_config(config, catalogue)

    if raw["format"] == 1:
        return assign(plan, make(raw["operator"]), raw["mult_layers"])
    return assignment_from(raw, plan, make)


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


def multiplicative_layers(net: Net) -> dict[str, str]:
    """Layers that multiply when they execute, exempt ones too, in forward order: by name, with the reason.

    An operator that says it is multiplication-free is not taken at its word (`operators/proof.py`).
    """
    modules, found = dict(net.named_modules()), {}
    for layer in net.plan.layers():
        reason = _why_it_multiplies(modules[layer.name], net.plan.is_normalised(layer))
        if reason is not None:
            found[layer.name] = reason
    return found


def unexpected_multiplications(target: Target) -> dict[str, str]:
    """The `multiplicative_layers` whose operator says that it multiplies nothing."""
    exempt = target.assignment.exempt()
    return {name: reason for name, reason in multiplicative_layers(target.net).items() if name not in exempt}


def _why_it_multiplies(layer: torch.nn.Module, normalised: bool) -> str | None:
    assert isinstance(layer, OperatorConv2d | OperatorLinear)
    tensors = {name: tensor.detach() for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    use = Use(normalised=normalised)
    if isinstance(layer, OperatorConv2d):
        use = Use(layer.stride, layer.padding, layer.dilation, layer.groups, normalised)
    return why_it_multiplies(layer.operator, tensors, use)
