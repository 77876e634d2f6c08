"""What makes the modules of a supernet: hybrid layers, and batch-norms with statistics of the target's own."""

from torch import nn

from shiftaddaug.hybrid.layers import HybridConv2d, HybridLinear
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.sharing import NetSharing
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.net import Factory
from shiftaddaug.nets.nodes import WEIGHTED, Node
from shiftaddaug.nets.spec import Widening
from shiftaddaug.operators.base import Operator


def hybrid_factory(
    widening: Widening,
    assignment: Assignment[Operator],
    sharing: NetSharing,
    synchronised_norm: bool = False,
    kernel_transform: bool = False,
) -> Factory:
    """Return what makes the modules of a supernet, its extra blocks' too.

    Args:
        widening, sharing, synchronised_norm, kernel_transform: as of `Supernet`.
        assignment: of operators to all layers, those of extra blocks too.
    """
    graph = widening.deepened()
    pairs = zip(widening.spaces, widening.max_channels(), strict=True)
    widths = {space.name: Widths(space.channels, widest) for space, widest in pairs}

    def make(node: Node) -> nn.Module | None:
        if node.kind == "norm":
            return HybridBatchNorm2d(widths[node.space], synchronised=synchronised_norm)
        if node.kind not in WEIGHTED:
            return None
        sources, out = tuple(widths[space] for space in graph.sources(node)), widths[node.space]
        operator = assignment[node.name]
        if node.kind == "linear":
            return HybridLinear(operator, sources, out, sharing)
        shape = node.kernel, node.stride, node.depthwise, node.bias
        return HybridConv2d(operator, sources, out, *shape, sharing, node.dilation, kernel_transform)

    return make
