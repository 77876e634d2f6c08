"""The augmented network: hybrid layers, connected as the plan says, evaluated as a `SubnetSpec` says.

`net(x)` is the target, `net(x, spec)` an augmented sub-network. No module holds an active width. Module names
equal those of `nets/plain.py`, so that a target's state dict is the supernet's, sliced (`nets/extract.py`).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.hybrid.layers import HybridBatchNorm2d, HybridConv2d, HybridLinear, HybridWeight, Widths
from shiftaddaug.nets.activations import activate
from shiftaddaug.nets.plain import OperatorOf
from shiftaddaug.nets.plan import BlockPlan, ConvPlan, LinearPlan, SqueezeExcitePlan
from shiftaddaug.nets.spec import SubnetSpec, Widening


class _Spaces:
    """Widths and positions of the spaces, for building layers."""

    def __init__(self, widening: Widening) -> None:
        pairs = zip(widening.plan.spaces, widening.max_channels(), strict=True)
        self.widths = {space.name: Widths(space.channels, widest) for space, widest in pairs}
        self.index = widening.plan.index()


class HybridConvNormAct(nn.Module):
    """Hybrid convolution, batch-norm, activation."""

    def __init__(self, name: str, plan: ConvPlan, spaces: _Spaces, operator_of: OperatorOf) -> None:
        super().__init__()
        source, out = spaces.widths[plan.source], spaces.widths[plan.out]
        self.name, self.act, self.out_index = f"{name}.conv", plan.act, spaces.index[plan.out]
        self.conv = HybridConv2d(operator_of(self.name), source, out, plan.kernel, plan.stride, plan.depthwise)
        self.norm = HybridBatchNorm2d(out)

    def forward(self, x: Tensor, spec: SubnetSpec) -> Tensor:
        y = self.conv(x, spec.channels[self.out_index], self.name in spec.mult_layers)
        return activate(self.act, self.norm(y, spec.augmented))


class HybridSqueezeExcite(nn.Module):
    """Hybrid gate: its narrow space is never widened, its gates follow the active channels."""

    def __init__(self, name: str, plan: SqueezeExcitePlan, spaces: _Spaces, operator_of: OperatorOf) -> None:
        super().__init__()
        self.name = name
        wide, narrow = spaces.widths[plan.channels], spaces.widths[plan.mid]
        self.reduce = HybridConv2d(operator_of(f"{name}.reduce"), wide, narrow, bias=True)
        self.expand = HybridConv2d(operator_of(f"{name}.expand"), narrow, wide, bias=True)

    def forward(self, x: Tensor, spec: SubnetSpec) -> Tensor:
        y = x.mean((2, 3), keepdim=True)
        y = F.relu(self.reduce(y, None, f"{self.name}.reduce" in spec.mult_layers))
        return x * F.hardsigmoid(self.expand(y, x.shape[1], f"{self.name}.expand" in spec.mult_layers))


class HybridBlock(nn.Module):
    """A `BlockPlan` of hybrid layers."""

    def __init__(self, plan: BlockPlan, spaces: _Spaces, operator_of: OperatorOf) -> None:
        super().__init__()
        self.plan = plan
        for conv in (*plan.convs, *([plan.downsample] if plan.downsample else [])):
            self.add_module(conv.name, HybridConvNormAct(f"{plan.name}.{conv.name}", conv, spaces, operator_of))
        if plan.squeeze_excite is not None:
            excite = plan.squeeze_excite
            gate = HybridSqueezeExcite(f"{plan.name}.{excite.name}", excite, spaces, operator_of)
            self.add_module(excite.name, gate)

    def forward(self, x: Tensor, spec: SubnetSpec) -> Tensor:
        y = x
        for i, conv in enumerate(self.plan.convs):
            y = getattr(self, conv.name)(y, spec)
            if self.plan.squeeze_excite is not None and self.plan.squeeze_excite.after == i:
                y = getattr(self, self.plan.squeeze_excite.name)(y, spec)
        if self.plan.shortcut == "identity":
            y = x + y
        elif self.plan.downsample is not None:
            y = getattr(self, self.plan.downsample.name)(x, spec) + y
        return activate(self.plan.act, y)


class Supernet(nn.Module):
    """The target and everything around it.

    Args:
        widening: the plan and how far it is widened; multipliers (1,) make the plain network.
        operator_of: the operator of each layer's target part, by the layer's name.

    Raises:
        UserError: widening a layer whose operator cannot share its weight.
    """

    def __init__(self, widening: Widening, operator_of: OperatorOf) -> None:
        super().__init__()
        self.widening, self.plan, self.target_spec = widening, widening.plan, widening.target()
        plan, spaces = widening.plan, _Spaces(widening)
        self.stem = HybridConvNormAct("stem", plan.stem, spaces, operator_of)
        self.blocks = nn.ModuleList(HybridBlock(block, spaces, operator_of) for block in plan.blocks)
        for conv in plan.head:
            self.add_module(conv.name, HybridConvNormAct(conv.name, conv, spaces, operator_of))
        for linear in plan.classifier:
            self.add_module(linear.name, self._linear(linear, spaces, operator_of))
        self._out_index = {linear.name: spaces.index[linear.out] for linear in plan.classifier}
        self.init_parameters()

    @staticmethod
    def _linear(plan: LinearPlan, spaces: _Spaces, operator_of: OperatorOf) -> HybridLinear:
        return HybridLinear(operator_of(plan.name), spaces.widths[plan.source], spaces.widths[plan.out])

    def init_parameters(self) -> None:
        """Draw the target first, all of it: under one seed it begins the same whatever surrounds it."""
        layers = self.hybrid_layers()
        for layer in layers.values():
            layer.init_target()
        for layer in layers.values():
            layer.init_augmented()

    def hybrid_layers(self) -> dict[str, HybridWeight]:
        """The layers with weights, by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, HybridWeight)}

    def pyramid(self, x: Tensor, spec: SubnetSpec | None = None) -> list[Tensor]:
        """The last feature map at each total stride, finest first: what a segmentation head reads."""
        spec = spec or self.target_spec
        maps = [self.stem(x, spec)]
        for block in self.blocks:
            y = block(maps[-1], spec)
            if y.shape[-1] == maps[-1].shape[-1]:
                maps[-1] = y
            else:
                maps.append(y)
        return maps

    def forward(self, x: Tensor, spec: SubnetSpec | None = None) -> Tensor:
        """Logits (N, num_classes) of images x (N, in_channels, H, W), computed by the sub-network `spec`."""
        spec = spec or self.target_spec
        y = self.stem(x, spec)
        for block in self.blocks:
            y = block(y, spec)
        for conv in self.plan.head:
            y = getattr(self, conv.name)(y, spec)
        y = y.mean((2, 3))
        for linear in self.plan.classifier:
            out_channels = spec.channels[self._out_index[linear.name]]
            y = getattr(self, linear.name)(y, out_channels, linear.name in spec.mult_layers)
            y = activate(linear.act, y)
        return y
