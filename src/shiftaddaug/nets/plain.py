"""The deployable network: plain layers of the target's size, with operator-ready weights.

It knows nothing of the supernet. Its modules carry the plan's names, so that its state dict says what is what:
`blocks.3.depthwise.conv.weight`, `blocks.3.depthwise.norm.running_mean`, `classifier.bias`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.nets.activations import activate
from shiftaddaug.nets.plan import BlockPlan, ConvPlan, LinearPlan, NetPlan, SqueezeExcitePlan
from shiftaddaug.operators.base import Operator

OperatorOf = Callable[[str], Operator]
"""The operator of a layer, by the layer's name."""


class OperatorConv2d(nn.Module):
    """An operator's convolution with a fixed, effective weight; padding kernel // 2; x (N, C, H, W)."""

    bias: Tensor | None

    def __init__(self, operator: Operator, source: int, out: int, plan: ConvPlan, bias: bool = False) -> None:
        super().__init__()
        self.operator, self.stride, self.padding = operator, plan.stride, plan.kernel // 2
        self.groups = source if plan.depthwise else 1
        self.weight = nn.Parameter(torch.empty(out, source // self.groups, plan.kernel, plan.kernel))
        self.register_parameter("bias", nn.Parameter(torch.empty(out)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.operator.conv2d(x, self.weight, self.stride, self.padding, 1, self.groups)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)


class OperatorLinear(nn.Module):
    """An operator's linear map with a fixed, effective weight, and bias; x (N, C)."""

    def __init__(self, operator: Operator, source: int, out: int) -> None:
        super().__init__()
        self.operator = operator
        self.weight = nn.Parameter(torch.empty(out, source))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.linear(x, self.weight) + self.bias


class ConvNormAct(nn.Module):
    """Convolution, batch-norm, activation."""

    def __init__(self, name: str, plan: ConvPlan, channels: dict[str, int], operator_of: OperatorOf) -> None:
        super().__init__()
        self.conv = OperatorConv2d(operator_of(f"{name}.conv"), channels[plan.source], channels[plan.out], plan)
        self.norm = nn.BatchNorm2d(channels[plan.out])
        self.act = plan.act

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.act, self.norm(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Gate channels by their own global average, through two 1x1 layers and a hard sigmoid."""

    def __init__(self, name: str, plan: SqueezeExcitePlan, channels: dict[str, int], operator_of: OperatorOf) -> None:
        super().__init__()
        wide, narrow = channels[plan.channels], channels[plan.mid]
        point = ConvPlan("", "", "")
        self.reduce = OperatorConv2d(operator_of(f"{name}.reduce"), wide, narrow, point, bias=True)
        self.expand = OperatorConv2d(operator_of(f"{name}.expand"), narrow, wide, point, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """A `BlockPlan`: convolutions, gate, shortcut, activation."""

    def __init__(self, plan: BlockPlan, channels: dict[str, int], operator_of: OperatorOf) -> None:
        super().__init__()
        self.plan = plan
        for conv in plan.convs:
            self.add_module(conv.name, ConvNormAct(f"{plan.name}.{conv.name}", conv, channels, operator_of))
        if plan.squeeze_excite is not None:
            name = f"{plan.name}.{plan.squeeze_excite.name}"
            self.add_module(plan.squeeze_excite.name, SqueezeExcite(name, plan.squeeze_excite, channels, operator_of))
        if plan.downsample is not None:
            name = f"{plan.name}.{plan.downsample.name}"
            self.add_module(plan.downsample.name, ConvNormAct(name, plan.downsample, channels, operator_of))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, conv in enumerate(self.plan.convs):
            y = getattr(self, conv.name)(y)
            if self.plan.squeeze_excite is not None and self.plan.squeeze_excite.after == i:
                y = getattr(self, self.plan.squeeze_excite.name)(y)
        if self.plan.shortcut == "identity":
            y = x + y
        elif self.plan.downsample is not None:
            y = getattr(self, self.plan.downsample.name)(x) + y
        return activate(self.plan.act, y)


class PlainNet(nn.Module):
    """Image classifier built from a plan.

    Args:
        plan: of the network.
        operator_of: the operator of each layer, by the layer's name (`plan.layers()`).
    """

    def __init__(self, plan: NetPlan, operator_of: OperatorOf) -> None:
        super().__init__()
        self.plan = plan
        channels = plan.channels()
        self.stem = ConvNormAct("stem", plan.stem, channels, operator_of)
        self.blocks = nn.ModuleList(Block(block, channels, operator_of) for block in plan.blocks)
        for conv in plan.head:
            self.add_module(conv.name, ConvNormAct(conv.name, conv, channels, operator_of))
        for linear in plan.classifier:
            self.add_module(linear.name, self._linear(linear, channels, operator_of))

    @staticmethod
    def _linear(linear: LinearPlan, channels: dict[str, int], operator_of: OperatorOf) -> OperatorLinear:
        return OperatorLinear(operator_of(linear.name), channels[linear.source], channels[linear.out])

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The last feature map at each total stride, finest first: what a segmentation head reads."""
        maps = [self.stem(x)]
        for block in self.blocks:
            y = block(maps[-1])
            if y.shape[-1] == maps[-1].shape[-1]:
                maps[-1] = y
            else:
                maps.append(y)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images x (N, in_channels, H, W)."""
        y = self.stem(x)
        for block in self.blocks:
            y = block(y)
        for conv in self.plan.head:
            y = getattr(self, conv.name)(y)
        y = y.mean((2, 3))
        for linear in self.plan.classifier:
            y = activate(linear.act, getattr(self, linear.name)(y))
        return y
