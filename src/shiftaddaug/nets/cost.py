"""Parameters and multiply-accumulates (or their multiplication-free counterparts) of a plan. Imports no torch."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import prod

from shiftaddaug.errors import UserError
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.operators.settings import Arithmetic

LAYER_GROUPS = ("stem", "blocks", "se", "head", "classifier")


@dataclass(frozen=True)
class NetCost:
    """Of one inference of one image. MACs count a layer's accumulations, whatever its operator does before them."""

    params: int
    macs: int
    multiplication_free_macs: int

    @property
    def multiplication_free_share(self) -> float:
        """Of the MACs, in [0, 1]."""
        return self.multiplication_free_macs / self.macs


def layer_macs(plan: Plan, layer: Node) -> int:
    """Accumulations of a layer: outputs x inputs per output. As in NetAug, bias, norm and activation do not count."""
    return _weights(plan, layer) * prod(layer.size)


def net_cost(plan: Plan, mult_layers: Collection[str] = (), multiplication_free: bool = True) -> NetCost:
    """Cost of the target.

    Args:
        plan: of the network.
        mult_layers: names of the layers that multiply even so (see `select_layers`).
        multiplication_free: whether the operator of all other layers is.
    """
    macs = {layer.name: layer_macs(plan, layer) for layer in plan.layers()}
    free = sum(cost for name, cost in macs.items() if multiplication_free and name not in mult_layers)
    params = sum(_weights(plan, layer) for layer in plan.layers()) + _affine(plan)
    return NetCost(params, sum(macs.values()), free)


def count_operations(plan: Plan, arithmetic_of: Callable[[str], Arithmetic]) -> dict[str, int]:
    """Operations of one inference by kind (`operators/settings.py`), for the MACs alone, sorted by name.

    Args:
        plan: of the network.
        arithmetic_of: what each layer executes, by its name.
    """
    total: Counter[str] = Counter()
    for layer in plan.layers():
        macs = layer_macs(plan, layer)
        total.update({kind: macs * count for kind, count in arithmetic_of(layer.name).operations.items()})
    return dict(sorted(total.items()))


def select_layers(plan: Plan, names: Collection[str]) -> frozenset[str]:
    """The layers that `net.mult_layers` means: groups (stem, blocks, se, head, classifier), or layer names.

    Raises:
        UserError: a name that is neither.
    """
    layers = plan.layers()
    selected = set()
    for name in names:
        found = {layer.name for layer in layers if name in (layer.group, layer.name, layer.name.removesuffix(".conv"))}
        if not found and name not in LAYER_GROUPS:
            raise UserError(
                f"net.mult_layers={name}: no such layer in net={plan.name}; options: {', '.join(LAYER_GROUPS)}, "
                f"or a layer's name such as {layers[len(layers) // 2].name}"
            )
        selected |= found
    return frozenset(selected)


def _weights(plan: Plan, layer: Node) -> int:
    channels = plan.channels()
    inputs = 1 if layer.depthwise else sum(channels[space] for space in plan.sources(layer))
    return channels[layer.space] * inputs * layer.kernel**2


def _affine(plan: Plan) -> int:
    """Parameters besides the weights: two vectors of each batch-norm, and the biases."""
    channels = plan.channels()
    return sum(channels[node.space] * (2 if node.kind == "norm" else node.bias) for node in plan.nodes if node.space)
