"""What tests are about, built in one way: plans, supernets, layers and images, and the states that tests look at.

Everything is drawn from seeds. Training modules and trainers are in `tests/tasks/little.py`, composed configurations
and whole runs in `tests/commands/running.py`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch import Tensor, nn

from shiftaddaug import operators
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


def names(group: str) -> list[str]:
    """Every option of a group of configs/; what options inherit from is none."""
    return sorted(path.stem for path in (CONFIGS / group).glob("[!_]*.yaml"))


def read_yaml(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    return content


SEARCHED = "searched"
"""The option of net, of op and of aug that reads a file (`tests/nets/searching.py` writes one)."""

NETS, OPS = ([name for name in names(group) if name != SEARCHED] for group in ("net", "op"))
SHAREABLE = [op for op in operators.available() if operators.build(op).shareable]
"""Operators whose weight what surrounds the target can multiply with."""

KINDS = ("mcunet", "mbv3_w035", "resnet20")
"""Three nets that differ most, for what all nets do alike: inverted bottlenecks with kernels of 3, 5 and 7; others with
gates, a residual depthwise block, hard-swish and a neck; basic blocks with convolutions in their shortcuts."""

SIDE, CLASSES = 16, 7
"""Of the images that nets of configs/ are built for here, in pixels, and of their labels."""

WIDER: dict[str, Any] = {"width_multipliers": (1.0, 1.6), "expand_multipliers": (1.0, 1.6)}
AUGS: dict[str, dict[str, Any]] = {
    "none": {},
    "width": {"width_multipliers": (1.0, 1.6)},
    "expand": {"expand_multipliers": (1.0, 1.6)},
    "width_expand": WIDER,
}
"""Arguments of `build_supernet`."""

REMAPS = {"add": Remap("replace", 5.5), "shift": Remap("residual", 0.1, relative=True)}
SHARINGS: dict[str, Mapping[str, Sharing]] = {
    "plain": dict.fromkeys(OPS, PLAIN),
    "remapped": {op: Sharing(remap) for op, remap in REMAPS.items()},
    "same": dict.fromkeys(SHAREABLE, Sharing(multiplicative_augmentation=False)),
    "same-remapped": {op: Sharing(remap, multiplicative_augmentation=False) for op, remap in REMAPS.items()},
}
"""By name and operator: how the target reads its slice, and whether what surrounds it has the target's operator."""


def plan_of(net: str | Mapping[str, Any], classes: int = CLASSES, channels: int = 3, side: Any = SIDE) -> Plan:
    """The plan of a net of configs/, or of a table."""
    return plan_net(read_yaml("net", net) if isinstance(net, str) else net, classes, channels, side)


DEEPENED = [net for net in NETS if plan_of(net).skippable]
"""Nets that have blocks with an identity shortcut, of which extra blocks are copies."""


def narrowed(net: str, factor: float = 0.5) -> dict[str, Any]:
    """The table of a net of configs/ at a share of its width: it has the same nodes, and is cheaper."""
    table = read_yaml("net", net)
    return table | {"width_mult": table["width_mult"] * factor, "divisor": 4}


def bottlenecks(depth: int = 2, se: bool = False, head: bool = True) -> dict[str, Any]:
    """The table of a little net: a stem and a stage of 4 channels, hidden spaces of 8, a head of 8."""
    stage = {"block": "inverted_bottleneck", "channels": 4, "expand": 2, "depth": depth, "se": se}
    made = {"name": "little", "divisor": 2, "stem": {"channels": 4}, "stages": [stage]}
    return made | {"head": {"channels": 8}} if head else made


def make_supernet(
    net: str | Mapping[str, Any] | Plan, op: str = "mult", kept: Collection[str] | None = None, **arguments: Any
) -> Supernet:
    """A supernet drawn from seed 0.

    Args:
        net: of configs/, a table, or a plan.
        op: operator.
        kept: layers that multiply, by default those that the operator's yaml names.
        arguments: of `build_supernet`.
    """
    plan = net if isinstance(net, Plan) else plan_of(net)
    exempt = read_yaml("op", op)["mult_layers"] if kept is None else kept
    torch.manual_seed(0)
    return build_supernet(plan, assign(plan, operators.build(op), exempt), **arguments)


Module = TypeVar("Module", bound=nn.Module)


def unsettled(net: Module) -> Module:
    """The net itself, norms, running statistics and biases moved off their initial state: none equals another."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return net


def drawn(layer: Module) -> Module:
    """The hybrid layer itself, its weights drawn from seed 0, its bias too."""
    made: Any = layer
    torch.manual_seed(0)
    made.init_target()
    made.init_augmented()
    if made.bias is not None:
        nn.init.normal_(made.bias)
    return layer


def images(
    batch: int = 3, channels: int = 3, size: Any = SIDE, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normal noise (batch, channels, height, width)."""
    sides = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, channels, *sides, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def widest(net: Supernet) -> SubnetSpec:
    """All channels, in an augmented pass."""
    return SubnetSpec(net.widening.max_channels(), augmented=True)


def free_layers(net: Supernet) -> list[str]:
    """Names of the target's layers that do not multiply, in forward order."""
    layers = net.hybrid_layers()
    return [layer.name for layer in net.plan.layers() if layers[layer.name].operator.multiplication_free]


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    """Fail unless all parameters and buffers are equal to the bit."""
    theirs = other.state_dict()
    assert one.state_dict().keys() == theirs.keys()
    different = [name for name, value in one.state_dict().items() if not torch.equal(value, theirs[name])]
    assert different == []
