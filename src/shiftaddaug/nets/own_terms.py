"""What operators do for their own tensors beside a gradient: a place after each step, a term in place of decay."""

import torch
from torch import Tensor

from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet


def project(net: Supernet, target: SubnetSpec | None = None) -> None:
    """Put trained tensors where their operators want them after an optimiser step.

    Args:
        net: in place.
        target: of that step, by default the final one. Layers that multiply in it, blend, or have an alternative are
            not their operator's yet.

    NOTE: in a net with alternatives no weight is moved, for several operators read it. Projection changes nothing that
    the layer's own operator computes, but all that the others do.
    """
    spec = net.target_spec if target is None else target
    others = spec.multiplied | {layer for layer, _ in (*spec.blends, *spec.operators)}
    for name, layer in net.hybrid_layers().items():
        if name not in others:
            layer.project(shared=bool(net.alternatives))


def undecayed(net: Supernet) -> set[str]:
    """Return the names of parameters that operators keep from an optimiser's weight decay."""
    return {f"{name}.{key}" for name, layer in net.hybrid_layers().items() for key in layer.operator.undecayed}


def decay(net: Supernet) -> Tensor | None:
    """Return the sum of what operators add to the loss in its place, a scalar; None if none adds anything."""
    terms = [layer.decay() for layer in net.hybrid_layers().values() if layer.operator.undecayed]
    found = [term for term in terms if term is not None]
    return torch.stack(found).sum() if found else None
