"""Hybrid layers in every precision, outputs and gradients against themselves in float64 on the same values."""

from itertools import product

import pytest
import torch
from tests.build import REMAPS, drawn
from tests.precisions import PRECISIONS, ROUNDINGS, Precision
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.hybrid.layers import HybridConv2d, HybridLinear
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.hybrid.widths import Widths

SOURCE, OUT = Widths(16, 48), Widths(12, 40)
SHARINGS = {
    # a shift of a remapped weight would round to another power of two: not compared
    "mult": PLAIN,
    "shift": PLAIN,
    "add": PLAIN,
    "add, remapped": Sharing(REMAPS["add"]),
    "add, wholly": Sharing(REMAPS["add"], multiplicative_augmentation=False),
}
Layer = HybridConv2d | HybridLinear


def make(kind: str, name: str) -> Layer:
    operator, sharing = operators.build(name.partition(",")[0]), SHARINGS[name]
    if kind == "linear":
        layer: Layer = HybridLinear(operator, SOURCE, OUT, sharing)
    elif kind == "depthwise":
        layer = HybridConv2d(operator, SOURCE, SOURCE, 3, depthwise=True, sharing=sharing)
    else:
        layer = HybridConv2d(operator, SOURCE, OUT, 3, sharing=sharing)
    return drawn(layer)


def computed(layer: Layer, x: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """Output of target and augmented channels apart (their scales differ), and gradients."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = layer(x, OUT.max if x.shape[1] == SOURCE.max else OUT.target)
    y.backward(direction.to(y.dtype))
    target = layer.out.target
    others = [axis for axis in range(y.dim()) if axis != 1]
    signal = (y - y.mean(others, keepdim=True))[:, :target]  # what batch norm leaves of it: add has large means
    results = {
        "target": y[:, :target],
        "signal": signal,
        "augmented": y[:, target:],
        "input": x.grad,
        "weight": layer.weight.grad,
    }
    return {name: value.detach() for name, value in results.items() if value is not None and value.numel()}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SHARINGS)
def test_outputs_and_gradients_are_those_of_float64(name: str, precision: str) -> None:
    """Of the target and of the widest sub-network."""
    for kind, channels in product(("dense", "depthwise", "linear"), (SOURCE.target, SOURCE.max)):
        assert_near_float64(kind, name, channels, PRECISIONS[precision])


def assert_near_float64(kind: str, name: str, channels: int, given: Precision) -> None:
    layer = make(kind, name).to(given.dtype)
    x = torch.randn(4, channels, *(() if kind == "linear" else (7, 6))).to(given.dtype)
    with given.autocast():
        shape = layer(x, OUT.max if channels == SOURCE.max else OUT.target).shape
        direction = torch.randn(shape).to(given.cast or given.dtype)
        results = computed(layer, x, direction)
    wanted = computed(layer.double(), x.double(), direction.double())
    assert results.keys() == wanted.keys()
    if given.cast is None:
        del results["signal"]  # rounded next to a mean hundreds of times as large: autocast has to keep it, in float32
    for part, result in results.items():
        assert given.error(result, wanted[part]) < ROUNDINGS, (kind, channels, part)
