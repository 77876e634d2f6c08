"""Sub-networks drawn at random, for tests."""

import random
from typing import Any

import torch
from tests.build import make_supernet, unsettled
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.units import ends


def make(
    net: str | dict[str, Any], op: str, sharing: NetSharing = PLAIN, wide: float = 1.6, **arguments: Any
) -> Supernet:
    """An evaluating supernet whose norms, of all channels, have been moved off their initial state."""
    widths = {"width_multipliers": (1.0, wide), "expand_multipliers": (1.0, wide)}
    return unsettled(make_supernet(net, op, **widths, sharing=sharing, **arguments)).eval()


def random_spec(supernet: Supernet, seed: int, widest: float = 1.0) -> SubnetSpec:
    """Widths from one channel to a share of the way from the target's to the widest; kernels and blocks at random.

    Args:
        supernet: of which it is a part.
        seed: all randomness comes from it.
        widest: share in [0, 1]; 0 is no wider than the target.
    """
    generator, widening, graph = random.Random(seed), supernet.widening, supernet.graph
    channels = []
    for space, most in zip(widening.spaces, widening.max_channels(), strict=True):
        top = space.channels + round(widest * (most - space.channels))
        fixed = space.name in ("image", "classes")
        channels.append(space.channels if fixed else generator.choice((1, generator.randint(1, top), top)))
    convolutions = [node for node in graph.nodes if node.kind == "conv" and node.kernel > 1]
    kernels = {n.name: generator.choice(range(1, n.kernel + 1, 2)) for n in convolutions if generator.random() < 0.5}
    free = [unit for unit in graph.units() if ends(graph, unit) is not None]
    skipped = frozenset(unit for unit in free if generator.random() < 0.4)
    return SubnetSpec(tuple(channels), kernels=tuple(kernels.items()), skipped=skipped)


def flops(net: Any, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()
