"""Keep the stored scale of remapped weights near that of the weights around them.

Where R is scale-free, as that of add is (`Remap.scale_free`), nothing that is computed depends on the scale in which
the target's slice is stored. Each step is a share of the weights it changes, so nothing holds them either: in eight
epochs they grew to 40 to 150 times the weights around them. A channel's importance, the l1 norm of what reads it, then
says on which side of the target's border it lies and no more, and a long run would end in inf.

Slices are multiplied by powers of two, with SGD's momentum and with averages: all that is computed, in this step and
later ones, stays the same to the last bit. Only `nets/reorder.py` sees it.
"""

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.nets.supernet import Supernet


@torch.no_grad()
def scale_factors(net: Supernet, ratio: float, multiplied: Collection[str] = ()) -> dict[str, float]:
    """Powers of two that bring the standard deviation of each stored slice within sqrt(2) of `ratio` times that of
    the weights around it, where something is around it; else of freshly drawn ones.

    Args:
        net: the supernet.
        ratio: positive.
        multiplied: names of layers whose slice is multiplied with, so that its scale matters.

    Returns:
        By layer name; layers that need no change are left out. None in a net with alternatives to which the scale means
        something.
    """
    factors = dict[str, float]()
    if not all(_is_free(net.sharing.of(operator)) for operator in net.alternatives.values()):
        return factors
    for name, layer in net.hybrid_layers().items():
        if not _is_free(layer.sharing) or name in multiplied:
            continue
        ours = layer.target_parameters()["weight"].double().std(correction=0).item()
        wanted = ratio * _spread_around(layer)
        if 0 < ours < math.inf and 0 < wanted < math.inf:
            factor = 2.0 ** -round(math.log2(ours / wanted))
            if factor != 1:
                factors[name] = factor
    return factors


def _is_free(sharing: Sharing) -> bool:
    """Return whether an operator that shares a weight so computes the same at any scale that it is stored in."""
    free = sharing.remap is not None and sharing.remap.scale_free and sharing.gradient == "inverse"
    return free and sharing.multiplicative_augmentation


def _spread_around(layer: HybridWeight) -> float:
    rows, columns = layer.target_shape[:2]
    weight = layer.weight.double()
    around = torch.cat([weight[rows:].flatten(), weight[:rows, columns:].flatten()])
    if len(around):
        return around.std(correction=0).item()
    return 1 / math.sqrt(3 * max(1, math.prod(layer.target_shape[1:])))


@torch.no_grad()
def rescale(
    factors: Mapping[str, float],
    net: Supernet,
    optimizers: Iterable[torch.optim.SGD] = (),
    copies: Iterable[Supernet] = (),
) -> None:
    """Multiply slices, in place, with everything that belongs to them.

    Args:
        factors: by layer name.
        net: the supernet.
        optimizers: SGD, of its parameters.
        copies: the same supernet with other values, such as averaged ones.
    """
    optimizers, copied = list(optimizers), [copy.hybrid_layers() for copy in copies]
    layers = net.hybrid_layers()
    for name, factor in factors.items():
        layer = layers[name]
        _slice(layer, layer.weight).mul_(factor)
        for optimizer in optimizers:
            momentum = optimizer.state.get(layer.weight, {}).get("momentum_buffer")
            if momentum is not None:
                _slice(layer, momentum).mul_(factor)
        for others in copied:
            _slice(layer, others[name].weight).mul_(factor)


def _slice(layer: HybridWeight, tensor: Tensor) -> Tensor:
    return tensor[: layer.target_shape[0], : layer.target_shape[1]]
