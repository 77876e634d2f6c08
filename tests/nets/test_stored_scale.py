"""Scaling what is stored changes nothing that is computed, to the bit, and brings weights near their neighbours."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.build import AUGS, REMAPS, images, make_supernet, widest

from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.stored_scale import rescale, scale_factors
from shiftaddaug.nets.supernet import Supernet

REMAP = Remap("replace", 5.5, knots_x=(-4.0, 0.5, 3.0), knots_y=(-5.0, 0.25, 6.0))
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "plain": lambda p: torch.optim.SGD(p, lr=0.1),
}


def make(sharing: Sharing = Sharing(REMAP), op: str = "add", aug: str = "width_expand") -> Supernet:  # noqa: B008
    return make_supernet("mbv2_micro", op, ["stem"], sharing=sharing, **AUGS[aug])


def step(net: Supernet, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    weights, labels = net.operator_weights(), torch.arange(3)
    loss = sum(F.cross_entropy(net(images(), spec, weights), labels) for spec in (None, widest(net)))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    net.rescale_gradients()
    optimizer.step()
    return loss.detach()


def ratios(net: Supernet) -> dict[str, float]:
    found = {}
    for name, layer in net.hybrid_layers().items():
        rows, columns = layer.target_shape[:2]
        around = torch.cat([layer.weight[rows:].flatten(), layer.weight[:rows, columns:].flatten()]).detach()
        ours = layer.target_parameters()["weight"].detach().std(correction=0)
        if layer.sharing.remap is not None and len(around):
            found[name] = float(ours / around.std(correction=0))
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_to_the_bit_as_if_nothing_had_been_scaled(optimizer: str) -> None:
    nets = [make(), make()]
    optimizers = [OPTIMIZERS[optimizer](net.parameters()) for net in nets]
    for _ in range(2):
        assert step(nets[0], optimizers[0]) == step(nets[1], optimizers[1])
    factors = scale_factors(nets[1], 16.0)
    assert ratios(nets[1]).keys() <= factors.keys()
    rescale(factors, nets[1], [optimizers[1]])
    for _ in range(3):
        assert step(nets[0], optimizers[0]) == step(nets[1], optimizers[1])
    for name, layer in nets[0].hybrid_layers().items():
        ours = nets[1].hybrid_layers()[name].target_parameters()["weight"]
        assert torch.equal(layer.target_parameters()["weight"] * factors.get(name, 1.0), ours), name


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_scales_come_near_those_around(ratio: float) -> None:
    net = make()
    for layer in net.hybrid_layers().values():
        layer.target_parameters()["weight"].data.mul_(100.0)
    factors = scale_factors(net, ratio)
    assert all(math.frexp(factor)[0] == 0.5 for factor in factors.values())
    before = net(images())
    rescale(factors, net)
    assert all(ratio / 2**0.5 <= found * 0.9999 <= ratio * 2**0.5 for found in ratios(net).values())
    assert scale_factors(net, ratio) == {}
    assert torch.equal(net(images()), before)


def test_without_anything_around_scales_come_near_those_drawn() -> None:
    net = make(aug="none")
    fresh = {name: layer.weight.detach().std() for name, layer in net.hybrid_layers().items()}
    for layer in net.hybrid_layers().values():
        layer.weight.data.mul_(1e30)
    rescale(scale_factors(net, 1.0), net)
    for name, layer in net.hybrid_layers().items():
        if layer.sharing.remap is not None:
            assert 0.6 < layer.weight.std() / fresh[name] < 1.7, name


def test_copies_are_scaled_along() -> None:
    net = make()
    copy = deepcopy(net)
    factors = scale_factors(net, 16.0)
    rescale(factors, net, copies=[copy])
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), copy.parameters(), strict=True))


@pytest.mark.parametrize(
    ("sharing", "op"),
    [
        (PLAIN, "add"),
        (Sharing(REMAPS["shift"]), "shift"),
        (Sharing(REMAP, "chain"), "add"),  # a step of the stored weight has a length of its own
        (Sharing(REMAP, multiplicative_augmentation=False), "add"),  # R is measured over what is around, too
    ],
)
def test_where_the_scale_matters_it_stays(sharing: Sharing, op: str) -> None:
    assert scale_factors(make(sharing, op), 16.0) == {}


def test_layers_that_multiply_stay() -> None:
    net = make()
    kept = next(iter(ratios(net)))
    assert scale_factors(net, 16.0, {kept}).keys() == scale_factors(net, 16.0).keys() - {kept}


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_weights_without_a_scale_stay(value: float) -> None:
    net = make()
    name = next(iter(ratios(net)))
    net.hybrid_layers()[name].target_parameters()["weight"].data.fill_(value)
    assert name not in scale_factors(net, 16.0)


def test_a_remap_that_is_scale_free_is() -> None:
    w = torch.randn(50, 20)
    kinds: list[Any] = [REMAP, replace(REMAP, relative=True), Remap("residual", 1.0), Remap("replace", 5.5)]
    for remap in kinds:
        assert remap.scale_free == torch.equal(remap(w), remap(8 * w))
