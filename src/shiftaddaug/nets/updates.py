"""What becomes of a step's accumulated gradients before the optimiser sees them: operators' update directions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.cut import Cut
from shiftaddaug.nets.spec import SubnetSpec

if TYPE_CHECKING:
    from shiftaddaug.nets.supernet import Supernet


@torch.no_grad()
def rescale_gradients(net: "Supernet", specs: Sequence[SubnetSpec]) -> None:
    """Turn gradients into the update directions that operators publish, as `Supernet.rescale_gradients` says."""
    multiplied = frozenset.intersection(*(spec.multiplied for spec in specs))
    chosen = agreed(net, specs)
    known: dict[str, Tensor | None] = {}
    for sharing, layers in net.remapped_layers(multiplied, chosen).items():
        slopes = sharing.slopes([layer.target_parameters()["weight"] for layer in layers.values()])
        known |= dict(zip(layers, slopes, strict=True))
    cuts = _cuts(net, specs)
    for name, layer in net.hybrid_layers().items():
        if name not in multiplied:
            layer.rescale_gradients(known.get(name), cuts.get(name), chosen.get(name))


def agreed(net: "Supernet", specs: Sequence[SubnetSpec]) -> Mapping[str, Reader]:
    """Return what computed layers in place of their own operators, by name.

    A pass that skips a layer, or multiplies in it, has no say in it.

    Raises:
        ValueError: two passes computed a layer with different operators.
    """
    if not any(spec.operators for spec in specs):
        return {}
    own = {name: Reader(layer.operator, layer.sharing) for name, layer in net.hybrid_layers().items()}
    found: dict[str, Reader] = {}
    for spec in specs:
        readers = own | net.chosen(spec.operators)
        for node in net.graph.layers():
            if node.unit in spec.skipped or node.name in spec.multiplied:
                continue
            reader = readers[node.name]
            if found.setdefault(node.name, reader) != reader:
                both = " and ".join(each.operator.name for each in (found[node.name], reader))
                raise ValueError(f"operators: {node.name}: {both} in the passes of one step; must be one of them")
    for spec in specs:  # of skipped layers: R of all is computed together, as it was in the passes
        found = dict(net.chosen(spec.operators)) | found
    return {name: reader for name, reader in found.items() if reader != own[name]}


def _cuts(net: "Supernet", specs: Sequence[SubnetSpec]) -> dict[str, Cut]:
    """The widest that passes used of layers of which they used less than the target, by name."""
    widest = (max(active) for active in zip(*(spec.channels for spec in specs), strict=True))
    channels, kernels = dict(zip(net.widening.index(), widest, strict=True)), [dict(spec.kernels) for spec in specs]
    targets = {space.name: space.channels for space in net.widening.spaces}
    narrow = {space for space, width in channels.items() if width < targets[space]}
    cuts: dict[str, Cut] = {}
    if not narrow and not all(kernels):
        return cuts
    for node in net.graph.layers():
        kernel = max(each.get(node.name, node.kernel) for each in kernels)
        sources, layer = net.graph.sources(node), net.layer(node.name)
        if kernel < node.kernel or narrow & {*sources, node.space}:
            smaller = kernel if kernel < node.kernel else None
            cuts[node.name] = layer.cut([channels[space] for space in sources], channels[node.space], smaller)
    return cuts
