"""Activations by the names that plans use."""

import torch.nn.functional as F
from torch import Tensor


def activate(name: str, x: Tensor) -> Tensor:
    """Apply `name`: none, relu, relu6 or h_swish (arXiv 1905.02244, eq. 1: x relu6(x + 3) / 6)."""
    if name == "none":
        return x
    if name == "relu":
        return F.relu(x)
    if name == "relu6":
        return F.relu6(x)
    assert name == "h_swish", name
    return F.hardswish(x)
