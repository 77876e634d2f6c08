"""Layers of the deployable network: plain ones of the target's size, with operator-ready weights.

They know nothing of the supernet. Modules carry the plan's names, so that a state dict says what is what:
`blocks.3.depthwise.conv.weight`, `blocks.3.depthwise.norm.running_mean`, `classifier.bias`.
"""

import torch
from torch import Tensor, nn

from shiftaddaug.hybrid.sources import joined
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.net import Factory
from shiftaddaug.nets.nodes import WEIGHTED, Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.operators.base import Operator


class OperatorConv2d(nn.Module):
    """An operator's convolution with a fixed, effective weight; padding keeps the size; of (N, C, H, W).

    Several inputs are read as their concatenation.

    Args:
        operator: computes.
        source, out: channels of all inputs together, and of the output.
        node: kernel, stride, dilation, whether it is depthwise and has a bias.
    """

    bias: Tensor | None

    def __init__(self, operator: Operator, source: int, out: int, node: Node) -> None:
        super().__init__()
        self.operator, self.stride, self.dilation = operator, node.stride, node.dilation
        self.padding = node.dilation * (node.kernel // 2)
        self.groups = source if node.depthwise else 1
        self.weight = nn.Parameter(torch.empty(out, source // self.groups, node.kernel, node.kernel))
        self.register_parameter("bias", nn.Parameter(torch.empty(out)) if node.bias else None)
        register_input_tensors(self, operator, tuple(self.weight.shape))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return (N, out, H', W') of inputs (N, C_i, H, W)."""
        x = self.operator.prepare_input(joined(inputs), input_tensors(self, self.operator))
        y = self.operator.conv2d(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)


class OperatorLinear(nn.Module):
    """An operator's linear map with a fixed, effective weight, and bias; of (N, C)."""

    def __init__(self, operator: Operator, source: int, out: int) -> None:
        super().__init__()
        self.operator = operator
        self.weight = nn.Parameter(torch.empty(out, source))
        self.bias = nn.Parameter(torch.empty(out))
        register_input_tensors(self, operator, (out, source))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return (N, out) of inputs (N, C_i)."""
        x = self.operator.prepare_input(joined(inputs), input_tensors(self, self.operator))
        return self.operator.linear(x, self.weight) + self.bias


def register_input_tensors(layer: nn.Module, operator: Operator, shape: tuple[int, ...]) -> None:
    """Give a layer buffers for what its operator prepares inputs with, of the shapes that a weight of `shape` has."""
    for name, own in input_shapes(operator, shape).items():
        layer.register_buffer(name, torch.empty(own))


def input_shapes(operator: Operator, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what an operator prepares inputs with, by name, for a weight of a shape."""
    buffers = {name: tuple(buffer.shape) for name, buffer in operator.init_buffers(shape).items()}
    shapes = operator.parameter_shapes(shape) | buffers
    return {name: shapes[name] for name in operator.input_tensors}


def input_tensors(layer: nn.Module, operator: Operator) -> dict[str, Tensor]:
    """Return those buffers by name."""
    return {name: getattr(layer, name) for name in operator.input_tensors}


def plain_factory(plan: Plan, assignment: Assignment[Operator]) -> Factory:
    """Return what makes the modules of the deployable network.

    Args:
        plan: of the network.
        assignment: of operators to its layers.
    """
    channels = plan.channels()

    def make(node: Node) -> nn.Module | None:
        if node.kind == "norm":
            return nn.BatchNorm2d(channels[node.space])
        if node.kind not in WEIGHTED:
            return None
        source, out = sum(channels[space] for space in plan.sources(node)), channels[node.space]
        operator = assignment[node.name]
        return (
            OperatorLinear(operator, source, out)
            if node.kind == "linear"
            else OperatorConv2d(operator, source, out, node)
        )

    return make
