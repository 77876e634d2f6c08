"""The augmented network: hybrid layers, connected as the plan says, evaluated as a `SubnetSpec` says.

`net(x)` is the final target, `net(x, spec)` any other sub-network. No module holds an active width. Module names
equal those of the deployed network, so that a target's state dict is the supernet's, sliced (`nets/extract.py`); what
the target does not have, the extra blocks of depth augmentation, lies apart under `extras`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from shiftaddaug.hybrid.alternative import Reader, readers
from shiftaddaug.hybrid.layers import HybridLayer
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.reading import BY_OPERATOR, MULT, MULTIPLIED, Blended, ByOperator, MultipliedBeside, Reading
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing, Sharing
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.extras import with_extras
from shiftaddaug.nets.hybrid_factory import hybrid_factory
from shiftaddaug.nets.net import Net, Run, layer_inputs
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.units import last_norm
from shiftaddaug.nets.updates import rescale_gradients
from shiftaddaug.operators.base import Operator

EXTRA_NORM_WEIGHT = 0.1
"""Weight of an extra block's last batch-norm at first: its branch is small, and the block near the identity.

NOTE: zero (Goyal et al., arXiv 1706.02677, section 5.1) is the identity itself, but no gradient would reach the
block's other weights in the first step.
"""


@dataclass(frozen=True)
class Pass(Run):
    """What a forward pass is a function of, besides its input and the weights as they are stored."""

    spec: SubnetSpec
    index: Mapping[str, int]
    """Position of each space in `spec.channels`."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """How the weights of layers are read; of the others by their operator, from their parameters."""
    kernels: Mapping[str, int] = field(default_factory=dict)
    """Kernels of layers, where they are smaller than the plan's."""
    skipped: frozenset[str] = frozenset()
    """Units that are left out."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Factors on the second input, the residual branch, of some `add` nodes."""

    def channels(self, space: str) -> int:
        """Return the active channels of a space."""
        return self.spec.channels[self.index[space]]

    def reading(self, layer: str) -> Reading:
        """Return how a layer's weight is read."""
        return self.readings.get(layer, BY_OPERATOR)

    def __call__(self, node: Node, module: nn.Module | None, inputs: list[Tensor]) -> Tensor:
        """Return a node's value: layers compute as the spec says, batch-norms with the statistics it says."""
        if isinstance(module, HybridLayer):
            xs, layer = layer_inputs(node, inputs), node.name
            x = xs[0] if len(xs) == 1 else xs
            y: Tensor = module(x, self.channels(node.space), self.reading(layer), self.kernels.get(layer))
            return y
        if isinstance(module, HybridBatchNorm2d):
            normalised: Tensor = module(inputs[0], self.spec.augmented)
            return normalised
        if node.name in self.factors:
            inputs = [inputs[0], self.factors[node.name] * inputs[1]]
        return super().__call__(node, module, inputs)


class Supernet(Net):
    """The target and everything around it.

    Args:
        widening: the plan and how far it is widened and deepened; multipliers (1,) and no extra block make the plain
            network.
        sharing: how operators read the shared weights, and what the augmented part computes with.
        assignment: of operators to the target part of the plan's layers. NOTE: the extra blocks multiply, target part
            and all, as everything that is not deployed does; where the augmented part computes with the target's
            operator, they do as the block that they are built as.
        synchronised_norm: normalise over the batches of all processes while training.
        kernel_transform: learn what smaller kernels read (`hybrid/weight.py`); else they are the centre of the largest.
        init_widest: draw the target's first weights as part of the widest layers', instead of as a plain net's.
        alternatives: operators that a pass may compute any layer's target part with, by the names that
            `SubnetSpec.operators` calls them. They read the layer's weight as if the layer were theirs.

    Raises:
        UserError: widening a layer whose operator cannot share its weight, or transforming the kernel of one whose
            weight cannot be; an alternative that computes with more than a slice of a weight.
    """

    def __init__(
        self,
        widening: Widening,
        assignment: Assignment[Operator],
        sharing: NetSharing = PLAIN,
        synchronised_norm: bool = False,
        kernel_transform: bool = False,
        init_widest: bool = False,
        alternatives: Mapping[str, Operator] | None = None,
    ) -> None:
        graph, beside = widening.deepened(), MULT if sharing.multiplicative_augmentation else None
        all_layers = with_extras(widening.plan, widening.extra_blocks, assignment, beside)
        make = hybrid_factory(widening, all_layers, sharing, synchronised_norm, kernel_transform)
        super().__init__(graph, make, [node for node in graph.nodes if node.unit not in widening.extras()])
        self.widening, self.plan, self.target_spec = widening, widening.plan, widening.target()
        self.assignment, self._index = assignment, widening.index()
        self.sharing, self.alternatives = sharing, dict(alternatives or {})
        self._widest = widening.max_channels()
        self.init_parameters(init_widest)
        # once the target is drawn: making a layer draws, too
        self.build([node for node in graph.nodes if node.unit in widening.extras()], make)
        self._init_extras()
        layers = self.hybrid_layers().items()
        self._layers = tuple(name for name, _ in layers)
        self._remapped = tuple(name for name, layer in layers if layer.sharing.remap is not None)
        self.graph.check(self.target_spec)  # what the plan keeps of itself is there before a compiler looks
        self._affine = tuple(name for name, layer in layers if layer.sharing.affine is not None)
        self._own = frozenset(name for name, layer in layers if "weight" not in layer.parameter_names)
        self._readers = readers(self.alternatives, sharing, {layer.target_shape for _, layer in layers})

    def init_parameters(self, widest: bool = False) -> None:
        """Draw the target first, all of it: under one seed it begins the same whatever surrounds it.

        Args:
            widest: then draw it anew, as part of the widest layers' weights, whose fan-in is larger.
        """
        layers = self.hybrid_layers()
        for layer in layers.values():
            layer.init_target()
        for layer in layers.values():
            layer.init_augmented(widest)

    @torch.no_grad()
    def _init_extras(self) -> None:
        extras = self.widening.extras()
        for name, layer in self.hybrid_layers().items():
            if self.graph.by_name[name].unit in extras:
                layer.init_target()
                layer.init_augmented()
        for extra in self.widening.extra_blocks:
            norm = self.module(last_norm(self.graph, extra.name))
            assert isinstance(norm, HybridBatchNorm2d)
            norm.weight.fill_(EXTRA_NORM_WEIGHT)

    def layer(self, name: str) -> HybridLayer:
        """The layer with weights of that name."""
        layer = self.module(name)
        assert isinstance(layer, HybridLayer)
        return layer

    def hybrid_layers(self) -> dict[str, HybridLayer]:
        """The layers with weights, by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, HybridLayer)}

    def operators(self, spec: SubnetSpec) -> dict[str, Operator]:
        """Return what computes the target part of each layer in a pass, by its name; in a blend, the layer's own."""
        own = {name: layer.operator for name, layer in self.hybrid_layers().items()}
        chosen = {layer: reader.operator for layer, reader in self.chosen(spec.operators).items()}
        return own | dict.fromkeys(spec.multiplied, MULT) | chosen

    def chosen(self, operators: Iterable[tuple[str, str]]) -> dict[str, Reader]:
        """Return what computes layers by `SubnetSpec.operators`, in place of their own operators.

        Raises:
            ValueError: no such alternative.
        """
        for layer, name in operators:
            if name not in self._readers:
                options = ", ".join(self._readers) or "none, the net has no alternatives"
                raise ValueError(f"operators: {layer}: {name}: no such alternative; options: {options}")
        return {layer: self._readers[name] for layer, name in operators}

    def operator_weights(
        self, multiplied: Collection[str] = (), operators: Collection[tuple[str, str]] = ()
    ) -> dict[str, Tensor]:
        """What the operators compute with in the target's layers that read R(W) or T(W), by name; with gradient.

        Read anew at each call; the passes of one step may share the result. R is computed for all layers together
        (which rounds otherwise than layer by layer would: what is exported comes from here, too).

        Args:
            multiplied: names of layers that multiply, and need none.
            operators: alternatives by layer, as of a `SubnetSpec`.
        """
        weights, chosen = {}, self.chosen(operators)
        for sharing, layers in self.remapped_layers(multiplied, chosen).items():
            read = sharing.read([layer.target_parameters()["weight"] for layer in layers.values()])
            for (name, layer), weight in zip(layers.items(), read, strict=True):
                weights[name] = layer.effective_weight(weight, chosen.get(name))
        affine = {name: self.layer(name) for name in self._affine if name not in multiplied}
        weights |= {name: layer.operator_weight() for name, layer in affine.items()}
        return weights

    def rescale_gradients(self, *specs: SubnetSpec) -> None:
        """Turn accumulated gradients into the update directions that operators publish.

        Args:
            specs: of the passes whose losses were summed; by default the target's. Layers that multiplied in all of
                them keep their gradient, which is a convolution's. Where none was as wide as the target, an operator
                is shown what the widest used.

        Raises:
            ValueError: passes that computed a layer with different operators, whose updates no sum is of.
        """
        rescale_gradients(self, specs or (self.target_spec,))

    def remapped_layers(
        self, multiplied: Collection[str], chosen: Mapping[str, Reader]
    ) -> dict[Sharing, dict[str, HybridLayer]]:
        """Layers whose stored weights are read through R, by name, those of one R together.

        Those that a pass does not read as they are stored are left out: they multiply, or R reads what transforms make.

        Args:
            multiplied: layers that multiply.
            chosen: what computes in place of layers' own operators.
        """
        remapped: dict[Sharing, dict[str, HybridLayer]] = {}
        for name in self._layers if chosen else self._remapped:
            if name in multiplied:
                continue
            layer = self.layer(name)
            sharing = chosen[name].sharing if name in chosen else layer.sharing
            if sharing.remap is not None and not layer.transforms:
                remapped.setdefault(sharing, {})[name] = layer
        return remapped

    def run(self, spec: SubnetSpec | None = None, operator_weights: Mapping[str, Tensor] | None = None) -> Pass:
        """Return how a sub-network computes; arguments as of `forward`."""
        spec = self.target_spec if spec is None else spec
        self._check(spec)
        if operator_weights is None:
            operator_weights = self.operator_weights(spec.multiplied, spec.operators)
        factors = {self.graph.skippable[unit].join: factor for unit, factor in spec.fades}
        readings = self._readings(spec, operator_weights)
        return Pass(spec, self._index, readings, dict(spec.kernels), spec.skipped, factors)

    def _check(self, spec: SubnetSpec) -> None:
        """Refuse a spec that no sub-network has, with a ValueError."""
        self.graph.check(spec)
        for space, channels, widest in zip(self._index, spec.channels, self._widest, strict=True):
            if channels > widest:
                raise ValueError(f"channels of {space}: {channels}: must be between 1 and {widest}")
        never = [layer for layer in (*spec.multiplied, *(layer for layer, _ in spec.blends)) if layer in self._own]
        if never:
            raise ValueError(f"multiplied: {never[0]}: trains no weight that it could multiply by")
        never = [layer for layer, _ in spec.blends if layer in self._affine]
        if never:
            raise ValueError(f"blends: {never[0]}: reads its weight through factors of sharing=affine; must be none")
        never = [layer for layer in self.chosen(spec.operators) if layer in self._own]
        if never:
            raise ValueError(f"operators: {never[0]}: trains no weight that an alternative could read")

    def _readings(self, spec: SubnetSpec, operator_weights: Mapping[str, Tensor]) -> dict[str, Reading]:
        """How the weights of layers are read, where it is not by their operator from their parameters."""
        readings: dict[str, Reading] = {name: ByOperator(weight) for name, weight in operator_weights.items()}
        for name, reader in self.chosen(spec.operators).items():
            readings[name] = ByOperator(operator_weights.get(name), reader)
        beside = self._multiplied_weights(spec)
        for name, share in spec.blends:
            by_operator = ByOperator(operator_weights.get(name))
            readings[name] = _blended(share, by_operator, MultipliedBeside(beside.get(name)))
        return readings | dict.fromkeys(spec.multiplied, MULTIPLIED)

    def _multiplied_weights(self, spec: SubnetSpec) -> dict[str, Tensor]:
        """Weights W of blended layers whose operator reads R(W), their gradient in the units of R(W)."""
        if not spec.blends:
            return {}
        blended, weights = {name for name, _ in spec.blends}, dict[str, Tensor]()
        for sharing, layers in self.remapped_layers(spec.multiplied, {}).items():
            chosen = {name: layer for name, layer in layers.items() if name in blended}
            stored = [layer.target_parameters()["weight"] for layer in chosen.values()]
            weights |= dict(zip(chosen, sharing.stored(stored), strict=True))
        return weights

    def forward(
        self, x: Tensor, spec: SubnetSpec | None = None, operator_weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The headline result, as of `Net`, of images x (N, in_channels, H, W), computed by the sub-network `spec`.

        Args:
            x: the images.
            spec: the target by default.
            operator_weights: those of `operator_weights(spec.multiplied, spec.operators)`, for passes of unchanged
                weights to share.
        """
        return self.headline(x, self.run(spec, operator_weights))


def _blended(share: float, by_operator: ByOperator, multiplied: MultipliedBeside) -> Reading:
    """Return a blend; where one of the two has no share, the other alone."""
    if share == 1:
        return by_operator
    return MULTIPLIED if share == 0 else Blended(share, by_operator, multiplied)
