"""Projection after a step and terms in place of decay, through whole supernets."""

from dataclasses import replace

import pytest
import torch
from tests.tasks.little import CLASSES, SIDE, TABLE

from shiftaddaug import operators
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets import own_terms, reorder
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.extract import extract_target
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net

LAYER = "blocks.0.expand.conv"


def make(sharing: Sharing = PLAIN, op: str = "shift", wide: float = 2.0) -> Supernet:
    """A supernet whose weights lie far beyond what the code holds, on both sides."""
    torch.manual_seed(0)
    plan = plan_net(TABLE, CLASSES, 1, SIDE)
    assignment = assign(plan, operators.build(op, clamp=True), ["stem"])
    net = build_supernet(plan, assignment, (1.0, wide), (1.0, wide), 2, sharing=sharing)
    with torch.no_grad():
        for layer in net.hybrid_layers().values():
            for name in layer.parameter_names:
                parameter = getattr(layer, name)
                parameter.mul_(torch.randn_like(parameter).mul(8).exp2())
    return net.eval()


def images() -> torch.Tensor:
    return torch.randn(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_it_moves_the_targets_weights_and_nothing_that_is_computed() -> None:
    net, x = make(), images()
    widest = SubnetSpec(net.widening.max_channels(), augmented=True)
    before, wider, whole = net(x), net(x, widest), net.module(LAYER).weight.detach().clone()  # type: ignore[union-attr]
    own_terms.project(net)
    layer = net.hybrid_layers()[LAYER]
    target = layer.target_weight()
    assert float(target.detach().abs().max()) == 1 and float(target.detach().abs().min()) == 2.0**-15
    around = torch.ones_like(whole, dtype=torch.bool)
    around[: target.shape[0], : target.shape[1]] = False
    assert torch.equal(layer.weight[around], whole[around]) and not torch.equal(layer.weight, whole)
    assert torch.equal(net(x), before) and torch.equal(net(x, widest), wider)
    assert torch.equal(extract_target(net).net(x), before)
    again = {name: parameter.clone() for name, parameter in net.named_parameters()}
    own_terms.project(net)
    assert all(torch.equal(parameter, again[name]) for name, parameter in net.named_parameters())


def test_a_channel_that_a_reorder_brings_in_is_clamped_with_the_next_step() -> None:
    net, x = make(), images()
    own_terms.project(net)
    reorder.apply(reorder.permutations(net), net)
    before = net(x)
    layer = net.hybrid_layers()[LAYER]
    assert layer.target_weight().detach().abs().max() > 1
    own_terms.project(net)
    assert layer.target_weight().detach().abs().max() == 1
    assert torch.equal(net(x), before)


def test_layers_that_are_no_operators_yet_and_weights_stored_for_r_are_left_alone() -> None:
    net = make()
    before = net.hybrid_layers()[LAYER].weight.detach().clone()
    for spec in (
        replace(net.target_spec, multiplied=frozenset({LAYER})),
        replace(net.target_spec, blends=((LAYER, 0.5),)),
    ):
        own_terms.project(net, spec)
        assert torch.equal(net.hybrid_layers()[LAYER].weight, before)
    remapped = make(Sharing(Remap("residual", 0.1, relative=True)))
    stored = {name: parameter.clone() for name, parameter in remapped.named_parameters()}
    own_terms.project(remapped)
    assert all(torch.equal(parameter, stored[name]) for name, parameter in remapped.named_parameters())


def test_where_the_operator_computes_all_all_is_clamped() -> None:
    net = make(Sharing(multiplicative_augmentation=False))
    own_terms.project(net)
    assert net.hybrid_layers()[LAYER].weight.detach().abs().max() == 1


def test_what_is_added_in_place_of_decay() -> None:
    net = make(op="shift_ps", wide=1.0)
    own_terms.project(net)
    layers = {name: layer for name, layer in net.hybrid_layers().items() if name != "stem.conv"}
    assert own_terms.undecayed(net) == {f"{name}.{key}" for name in layers for key in ("shift", "sign")}
    wanted = sum(0.5 * (2.0 ** layer.shift.detach().double()).square().sum() for layer in layers.values())  # type: ignore[operator, union-attr]
    found = own_terms.decay(net)
    assert found is not None and found.item() == pytest.approx(float(wanted), rel=1e-6)
    assert own_terms.decay(make()) is None
