"""The augmented network: hybrid layers, connected as the plan says, evaluated as a `SubnetSpec` says.

`net(x)` is the final target, `net(x, spec)` any other sub-network. No module holds an active width. Module names
equal those of `nets/plain.py`, so that a target's state dict is the supernet's, sliced (`nets/extract.py`); what
the target does not have, the extra blocks of depth augmentation, lies apart under `extras`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.hybrid.layers import HybridConv2d, HybridLinear, HybridWeight
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.activations import activate
from shiftaddaug.nets.extras import ExtraBlock
from shiftaddaug.nets.plain import OperatorOf
from shiftaddaug.nets.plan import BlockPlan, ConvPlan, LinearPlan, SqueezeExcitePlan
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.operators.mult.operator import Mult

EXTRA_NORM_WEIGHT = 0.1
"""Of the last batch-norm of an extra block, at first: its residual branch is small, and the block near the identity.

NOTE: zero (Goyal et al., arXiv 1706.02677, section 5.1) is the identity itself, but no gradient would reach the
block's other weights in the first step.
"""


class _Spaces:
    """Widths and positions of the spaces, and what all layers agree on, for building them."""

    def __init__(self, widening: Widening, sharing: Sharing, synchronised_norm: bool) -> None:
        self.sharing, self.synchronised_norm = sharing, synchronised_norm
        pairs = zip(widening.spaces, widening.max_channels(), strict=True)
        self.widths = {space.name: Widths(space.channels, widest) for space, widest in pairs}
        self.index = widening.index()


@dataclass(frozen=True)
class Pass:
    """What a forward pass is a function of, besides its input and the weights as they are stored."""

    spec: SubnetSpec
    operator_weights: Mapping[str, Tensor] = field(default_factory=dict)
    """What operators compute with, by layer; the other layers read their own weight."""
    multiplied_weights: Mapping[str, Tensor] = field(default_factory=dict)
    """What blended layers multiply with, likewise."""

    def __call__(self, layer: HybridWeight, name: str, x: Tensor, out_channels: int | None) -> Tensor:
        """The layer's result, by its operator, by multiplication, or by both as the spec says."""
        share, weight = self.spec.operator_share(name), self.operator_weights.get(name)
        if share == 1:
            y: Tensor = layer(x, out_channels, operator_weight=weight)
        elif share == 0:
            y = layer(x, out_channels, True)
        else:
            mixed = layer(x, out_channels, operator_weight=weight)
            multiplied = layer(x, out_channels, True, operator_weight=self.multiplied_weights.get(name))
            y = share * mixed + (1 - share) * multiplied
        return y


class HybridConvNormAct(nn.Module):
    """Hybrid convolution, batch-norm, activation."""

    def __init__(self, name: str, plan: ConvPlan, spaces: _Spaces, operator_of: OperatorOf) -> None:
        super().__init__()
        source, out = spaces.widths[plan.source], spaces.widths[plan.out]
        self.name, self.act, self.out_index = f"{name}.conv", plan.act, spaces.index[plan.out]
        self.conv = HybridConv2d(
            operator_of(self.name), source, out, plan.kernel, plan.stride, plan.depthwise, sharing=spaces.sharing
        )
        self.norm = HybridBatchNorm2d(out, synchronised=spaces.synchronised_norm)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        y = run(self.conv, self.name, x, run.spec.channels[self.out_index])
        return activate(self.act, self.norm(y, run.spec.augmented))


class HybridSqueezeExcite(nn.Module):
    """Hybrid gate: its narrow space is never widened, its gates follow the active channels."""

    def __init__(self, name: str, plan: SqueezeExcitePlan, spaces: _Spaces, operator_of: OperatorOf) -> None:
        super().__init__()
        self.name = name
        wide, narrow = spaces.widths[plan.channels], spaces.widths[plan.mid]
        self.reduce = HybridConv2d(operator_of(f"{name}.reduce"), wide, narrow, bias=True, sharing=spaces.sharing)
        self.expand = HybridConv2d(operator_of(f"{name}.expand"), narrow, wide, bias=True, sharing=spaces.sharing)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        y = x.mean((2, 3), keepdim=True)
        y = F.relu(run(self.reduce, f"{self.name}.reduce", y, None))
        return x * F.hardsigmoid(run(self.expand, f"{self.name}.expand", y, x.shape[1]))


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

    def forward(self, x: Tensor, run: Pass, factor: float = 1.0) -> Tensor:
        """Compute with the input's channels; `factor` is that of an identity block's residual branch."""
        y = x
        for i, conv in enumerate(self.plan.convs):
            y = getattr(self, conv.name)(y, run)
            if self.plan.squeeze_excite is not None and self.plan.squeeze_excite.after == i:
                y = getattr(self, self.plan.squeeze_excite.name)(y, run)
        if self.plan.shortcut == "identity":
            y = x + (y if factor == 1 else factor * y)
        elif self.plan.downsample is not None:
            y = getattr(self, self.plan.downsample.name)(x, run) + y
        return activate(self.plan.act, y)


class Supernet(nn.Module):
    """The target and everything around it.

    Args:
        widening: the plan and how far it is widened and deepened; multipliers (1,) and no extra block make the plain
            network.
        sharing: how operators read the shared weights, and what the augmented part computes with.
        operator_of: the operator of each layer's target part, by the layer's name. NOTE: the extra blocks multiply,
            target part and all, as everything that is not deployed does; where the augmented part computes with the
            target's operator, they do as the block that they are built as.
        synchronised_norm: normalise over the batches of all processes while training.

    Raises:
        UserError: widening a layer whose operator cannot share its weight.
    """

    def __init__(
        self,
        widening: Widening,
        operator_of: OperatorOf,
        sharing: Sharing = PLAIN,
        synchronised_norm: bool = False,
    ) -> None:
        super().__init__()
        self.widening, self.plan, self.target_spec = widening, widening.plan, widening.target()
        self.sharing = sharing
        plan, spaces = widening.plan, _Spaces(widening, sharing, synchronised_norm)
        self.stem = HybridConvNormAct("stem", plan.stem, spaces, operator_of)
        self.blocks = nn.ModuleList(HybridBlock(block, spaces, operator_of) for block in plan.blocks)
        for conv in plan.head:
            self.add_module(conv.name, HybridConvNormAct(conv.name, conv, spaces, operator_of))
        for linear in plan.classifier:
            self.add_module(linear.name, self._linear(linear, spaces, operator_of))
        self._out_index = {linear.name: spaces.index[linear.out] for linear in plan.classifier}
        self.extras = nn.ModuleList()
        self.init_parameters()
        for extra in widening.extra_blocks:  # once the target is drawn: making a layer draws, too
            self.extras.append(HybridBlock(extra.block, spaces, self._extra_operator_of(extra, operator_of)))
        self._init_extras()

    def _extra_operator_of(self, extra: ExtraBlock, operator_of: OperatorOf) -> OperatorOf:
        if self.sharing.multiplicative_augmentation:
            return lambda name: Mult()
        return lambda name: operator_of(extra.model + name.removeprefix(extra.block.name))

    @staticmethod
    def _linear(plan: LinearPlan, spaces: _Spaces, operator_of: OperatorOf) -> HybridLinear:
        return HybridLinear(operator_of(plan.name), spaces.widths[plan.source], spaces.widths[plan.out], spaces.sharing)

    def init_parameters(self) -> None:
        """Draw the target first, all of it: under one seed it begins the same whatever surrounds it."""
        layers = self.hybrid_layers()
        for layer in layers.values():
            layer.init_target()
        for layer in layers.values():
            layer.init_augmented()

    @torch.no_grad()
    def _init_extras(self) -> None:
        for layer in self.extras.modules():
            if isinstance(layer, HybridWeight):
                layer.init_target()
                layer.init_augmented()
        for extra in self.widening.extra_blocks:
            norm = self.get_submodule(f"{extra.block.name}.{extra.block.convs[-1].name}.norm")
            assert isinstance(norm, HybridBatchNorm2d)
            norm.weight.fill_(EXTRA_NORM_WEIGHT)

    def hybrid_layers(self) -> dict[str, HybridWeight]:
        """The layers with weights, by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, HybridWeight)}

    def operator_weights(self, mult_layers: Collection[str] = ()) -> dict[str, Tensor]:
        """What the operators compute with in the target's remapped layers, by name; with gradient.

        Read anew at each call; the passes of one step may share the result. R is computed for all layers together
        (which rounds otherwise than layer by layer would: what is exported comes from here, too).

        Args:
            mult_layers: names of layers that multiply, and need none.
        """
        layers = self._remapped_layers(mult_layers)
        stored = [layer.target_parameters()["weight"] for layer in layers.values()]
        read = self.sharing.read(stored)
        return {
            name: layer.effective_weight(weight) for (name, layer), weight in zip(layers.items(), read, strict=True)
        }

    @torch.no_grad()
    def rescale_gradients(self, mult_layers: Collection[str] = ()) -> None:
        """Let every operator turn the accumulated gradient of its weights into the update direction it publishes.

        Args:
            mult_layers: names of layers that multiplied in all passes: their gradient is a convolution's, and stays.
        """
        layers = self._remapped_layers(mult_layers)
        slopes = self.sharing.slopes([layer.target_parameters()["weight"] for layer in layers.values()])
        known = dict(zip(layers, slopes, strict=True))
        for name, layer in self.hybrid_layers().items():
            if name not in mult_layers:
                layer.rescale_gradients(known.get(name))

    def _remapped_layers(self, mult_layers: Collection[str]) -> dict[str, HybridWeight]:
        if self.sharing.remap is None:
            return {}
        layers = self.hybrid_layers().items()
        return {name: layer for name, layer in layers if layer.sharing.remap is not None and name not in mult_layers}

    def pyramid(self, x: Tensor, spec: SubnetSpec | None = None) -> list[Tensor]:
        """The last feature map at each total stride, finest first: what a segmentation head reads."""
        run = self._pass(spec, None)
        maps = [self.stem(x, run)]
        for plan, block in zip(self.plan.blocks, self.blocks, strict=True):
            y = self._deepened(plan, block, maps[-1], run)
            if y.shape[-1] == maps[-1].shape[-1]:
                maps[-1] = y
            else:
                maps.append(y)
        return maps

    def _pass(self, spec: SubnetSpec | None, operator_weights: Mapping[str, Tensor] | None) -> Pass:
        spec = spec or self.target_spec
        if operator_weights is None:
            operator_weights = self.operator_weights(spec.mult_layers)
        return Pass(spec, operator_weights, self._multiplied_weights(spec))

    def _multiplied_weights(self, spec: SubnetSpec) -> dict[str, Tensor]:
        """Of blended layers whose operator reads R(W): W, its gradient divided by R' and so in the units of R(W), as
        the operator's is. `rescale_gradients` converts the sum of the two."""
        if not spec.blends:
            return {}
        layers = self._remapped_layers(spec.mult_layers)
        chosen = {name: layers[name] for name, _ in spec.blends if name in layers}
        stored = [layer.target_parameters()["weight"] for layer in chosen.values()]
        return dict(zip(chosen, self.sharing.stored(stored), strict=True))

    def _deepened(self, plan: BlockPlan, block: nn.Module, x: Tensor, run: Pass) -> Tensor:
        """The block, and the active extra blocks after it."""
        y: Tensor = block(x, run)
        for extra, module in zip(self.widening.extra_blocks, self.extras, strict=True):
            factor = run.spec.depth_factor(extra.block.name)
            if extra.after == plan.name and factor:
                y = module(y, run, factor)
        return y

    def forward(
        self, x: Tensor, spec: SubnetSpec | None = None, operator_weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Logits (N, num_classes) of images x (N, in_channels, H, W), computed by the sub-network `spec`.

        Args:
            x: the images.
            spec: the target by default.
            operator_weights: those of `operator_weights(spec.mult_layers)`, for passes of unchanged weights to share.
        """
        run = self._pass(spec, operator_weights)
        y = self.stem(x, run)
        for plan, block in zip(self.plan.blocks, self.blocks, strict=True):
            y = self._deepened(plan, block, y, run)
        for conv in self.plan.head:
            y = getattr(self, conv.name)(y, run)
        y = y.mean((2, 3))
        for linear in self.plan.classifier:
            out_channels = run.spec.channels[self._out_index[linear.name]]
            y = activate(linear.act, run(getattr(self, linear.name), linear.name, y, out_channels))
        return y
