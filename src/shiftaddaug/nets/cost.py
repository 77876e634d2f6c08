"""Parameters and multiply-accumulates (or their multiplication-free counterparts) of a plan. Imports no torch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan


@dataclass(frozen=True)
class NetCost:
    """Cost of inference of one image. MACs count a layer's accumulations, whatever its operator does before them."""

    params: int
    macs: int
    multiplication_free_macs: int
    operations: Mapping[str, int] = field(default_factory=dict)
    """Operations by kind (`operators/settings.py`), for the MACs alone, sorted."""

    @property
    def multiplication_free_share(self) -> float:
        """Share of the MACs that multiply nothing, in [0, 1]."""
        return self.multiplication_free_macs / self.macs


def layer_macs(plan: Plan, layer: Node) -> int:
    """Accumulations of a layer: outputs x inputs per output. As in NetAug, bias, norm and activation do not count."""
    return layer_weights(plan, layer) * prod(layer.size)


def total_macs(plan: Plan) -> int:
    """Accumulations of all layers."""
    return sum(layer_macs(plan, layer) for layer in plan.layers())


def count_parameters(plan: Plan) -> int:
    """Parameters of a network whose layers train nothing but weights and biases."""
    return sum(layer_weights(plan, layer) for layer in plan.layers()) + _affine(plan)


def net_cost(plan: Plan, assignment: Assignment[Any]) -> NetCost:
    """Cost of a network.

    Args:
        plan: of the network.
        assignment: of operators, or of their settings, to its layers.
    """
    macs = {layer.name: layer_macs(plan, layer) for layer in plan.layers()}
    operations: Counter[str] = Counter()
    for name, count in macs.items():
        operations.update({kind: count * times for kind, times in assignment[name].arithmetic.operations.items()})
    exempt = assignment.exempt()
    free = sum(count for name, count in macs.items() if name not in exempt)
    return NetCost(count_parameters(plan), sum(macs.values()), free, dict(sorted(operations.items())))


def layer_weights(plan: Plan, layer: Node) -> int:
    """Weights of a layer, without its bias."""
    channels = plan.channels()
    inputs = 1 if layer.depthwise else sum(channels[space] for space in plan.sources(layer))
    return channels[layer.space] * inputs * layer.kernel**2


def _affine(plan: Plan) -> int:
    """Parameters besides the weights: two vectors of each batch-norm, and the biases."""
    channels = plan.channels()
    return sum(channels[node.space] * (2 if node.kind == "norm" else node.bias) for node in plan.nodes if node.space)
