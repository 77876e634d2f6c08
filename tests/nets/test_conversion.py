"""Layers between multiplication and their operator, and the proof that a deployed net does not multiply."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.build import KINDS, OPS, REMAPS, WIDER, free_layers, images, make_supernet, widest
from torch import Tensor

from shiftaddaug.hybrid.reading import MULTIPLIED, Blended, MultipliedBeside
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.nets.extract import Target, extract_target, multiplicative_layers, unexpected_multiplications
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.timetable import Conversion
from shiftaddaug.operators.mult.operator import Mult
from shiftaddaug.operators.settings import Arithmetic


def make(net: str, op: str, **arguments: Any) -> tuple[Supernet, list[str]]:
    """A supernet, and its layers that can turn."""
    supernet = make_supernet(net, op, **arguments)
    return supernet, free_layers(supernet)


def target_of(net: str, op: str) -> Target:
    return extract_target(make_supernet(net, op))


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("op", ["shift", "add"])
def test_the_ends_of_a_blend_are_multiplication_and_operator(net: str, op: str) -> None:
    supernet, free = make(net, op)
    start = replace(supernet.target_spec, multiplied=frozenset(free))
    zero = replace(supernet.target_spec, blends=tuple((name, 0.0) for name in free))
    one = replace(supernet.target_spec, blends=tuple((name, 1.0) for name in free))
    assert torch.equal(supernet(images(), zero), supernet(images(), start))
    assert torch.equal(supernet(images(), one), supernet(images()))
    assert not torch.equal(supernet(images(), start), supernet(images()))


@pytest.mark.parametrize(("net", "op"), [("mbv3_w035", "shift"), ("resnet20", "shift"), ("mbv3_w035", "add")])
def test_a_blend_mixes_both_results_of_one_weight(net: str, op: str) -> None:
    """In every layer that can turn, squeeze-excite and classifier too: the result and the weight's gradient."""
    share, (supernet, free) = 0.3, make(net, op)
    layers, calls = supernet.hybrid_layers(), dict[str, tuple[Any, ...]]()
    hooks = [
        layers[name].register_forward_hook(lambda _, inputs, y, name=name: calls.update({name: (*inputs, y)}))
        for name in free
    ]
    supernet(images(), replace(supernet.target_spec, blends=tuple((name, share) for name in free)))
    for hook in hooks:
        hook.remove()
    assert calls.keys() == set(free)
    for name, (x, channels, reading, _, y) in calls.items():
        assert isinstance(reading, Blended) and reading.share == share
        mixed = share * layers[name](x, channels) + (1 - share) * layers[name](x, channels, MULTIPLIED)
        torch.testing.assert_close(y, mixed)
    _assert_mixed(supernet, free[0], share)


def _assert_mixed(supernet: Supernet, name: str, share: float) -> None:
    """What batch-norm gets of the one blended layer, and the gradient of its weight."""
    layer, raw = supernet.hybrid_layers()[name], list[Tensor]()
    norm = supernet.get_submodule(name.removesuffix("conv") + "norm")
    norm.register_forward_pre_hook(lambda module, inputs: raw.append(inputs[0]))
    x: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: x.append(inputs[0].detach()))
    supernet(images(), replace(supernet.target_spec, blends=((name, share),)))
    mixed = share * layer(x[0]) + (1 - share) * layer(x[0], None, MULTIPLIED)
    torch.testing.assert_close(raw[0], mixed)
    gradients = [torch.autograd.grad(y.square().sum(), layer.weight)[0] for y in (raw[0], mixed)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("op", "remap"), REMAPS.items())
def test_gradients_of_a_remapped_blend_have_the_operators_units(op: str, remap: Remap) -> None:
    """The weight trained is R(W): d(1 - a) L(mult(x, W)) / dR(W) = (1 - a) dL/dW / R'."""
    share = 0.3
    supernet, free = make("mbv2_micro", op, sharing=Sharing(remap))
    name = free[0]
    spec = replace(supernet.target_spec, blends=((name, share),))
    layer = supernet.hybrid_layers()[name]
    x, calls = list[Tensor](), list[Tensor]()
    layer.register_forward_pre_hook(lambda module, inputs: x.append(inputs[0].detach()))
    norm = supernet.get_submodule(name.removesuffix("conv") + "norm")
    norm.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0]))
    weights = supernet.operator_weights()
    supernet(images(), spec, weights)
    direction = torch.randn_like(calls[0])
    (together,) = torch.autograd.grad((calls[0] * direction).sum(), layer.weight, retain_graph=True)
    (by_operator,) = torch.autograd.grad((layer(x[0]) * direction).sum(), layer.weight)
    (by_product,) = torch.autograd.grad((layer(x[0], None, MULTIPLIED) * direction).sum(), layer.weight)
    wanted = share * by_operator + (1 - share) * by_product / remap.slope(layer.weight)
    torch.testing.assert_close(together, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert (1 - share) * by_product.norm() > 0.01 * wanted.norm()


@pytest.mark.parametrize(("op", "remap"), REMAPS.items())
def test_so_they_have_where_what_surrounds_the_target_is_blended_with_it(op: str, remap: Remap) -> None:
    """One operator computes a widened layer: R takes mean and spread of the target's slice all over."""
    supernet, free = make(
        "mbv2_micro", op, expand_multipliers=(1.0, 2.0), sharing=Sharing(remap, multiplicative_augmentation=False)
    )
    layer = supernet.hybrid_layers()[free[0]]
    rows, columns = layer.target_shape[:2]
    x = torch.randn(2, columns, 4, 4, generator=torch.Generator().manual_seed(2))
    (divided,) = layer.sharing.stored([layer.target_parameters()["weight"]])
    wide = layer.out.max
    assert wide > rows
    mixed, alone = (layer(x, wide, reading) for reading in (MultipliedBeside(divided), MULTIPLIED))
    assert torch.equal(mixed, alone)
    direction = torch.randn_like(alone)
    of_stored, plain = (torch.autograd.grad((y * direction).sum(), layer.weight)[0] for y in (mixed, alone))
    slope = layer.sharing.slopes([layer.weight], [layer.target_parameters()["weight"]])[0]
    torch.testing.assert_close(of_stored * slope, plain, rtol=1e-5, atol=1e-6)
    assert (of_stored - plain).norm() > 0.1 * plain.norm()


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("op", ["shift", "add"])
def test_gradients_reach_everything_at_every_stage_of_a_conversion(net: str, op: str) -> None:
    supernet, free = make(net, op, **WIDER)
    conversion = Conversion(0.0, 1.0, granularity="block", blend=True)
    exempt = [layer.name for layer in supernet.plan.layers() if layer.name not in free]
    for progress in (0.0, 0.47):
        multiplied, blends = conversion.schedule(supernet.plan, exempt, progress)
        target = replace(supernet.target_spec, multiplied=multiplied, blends=blends)
        supernet.zero_grad()
        loss = (
            supernet(images(), target).square().sum()
            + supernet(images(), widest(supernet).around(target)).square().sum()
        )
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in supernet.parameters())
    supernet.eval()
    multiplied, blends = conversion.schedule(supernet.plan, exempt, 1.0)
    end = replace(supernet.target_spec, multiplied=multiplied, blends=blends)
    assert end == supernet.target_spec


class TestSpec:
    def test_it_is_a_value(self) -> None:
        specs = [
            SubnetSpec((8,), blends=(("a", 0.5),), kernels=(("a", 3),), skipped=frozenset({"extras.0"})),
            SubnetSpec((8,), blends=(("a", 0.5),), kernels=(("a", 3),), skipped=frozenset({"extras.0"})),
            SubnetSpec((8,), blends=(("a", 0.6),), kernels=(("a", 3),), skipped=frozenset({"extras.0"})),
            SubnetSpec((8,), blends=(("a", 0.5),), kernels=(("a", 5),), skipped=frozenset({"extras.0"})),
        ]
        assert len(set(specs)) == 3
        assert hash(specs[0]) == hash(specs[1])

    def test_around_a_target(self) -> None:
        target = SubnetSpec(
            (8,), multiplied=frozenset("a"), blends=(("b", 0.5),), skipped=frozenset({"e.1"}), fades=(("e.0", 0.5),)
        )
        drawn = SubnetSpec((16,), augmented=True, skipped=frozenset({"e.0", "e.1"}))
        assert drawn.around(target) == replace(target, channels=(16,), augmented=True)
        deep = SubnetSpec((16,), augmented=True, kernels=(("a", 3),))
        wanted = replace(deep, multiplied=target.multiplied, blends=target.blends)
        assert deep.around(target) == wanted
        assert drawn.around(SubnetSpec((8,), skipped=drawn.skipped)) == drawn

    def test_at_depth(self) -> None:
        """Some blocks active, others not; those that are not named stay as they are."""
        spec = SubnetSpec((8,), skipped=frozenset({"b", "e.0"}), fades=(("e.2", 0.3), ("c", 0.5)))
        extras = ("e.0", "e.1", "e.2")
        made = spec.at_depth(extras, [("e.0", 1.0), ("e.1", 0.25)])
        assert made == SubnetSpec((8,), skipped=frozenset({"b", "e.2"}), fades=(("c", 0.5), ("e.1", 0.25)))
        assert spec.at_depth(extras, []).skipped == {"b", *extras}
        assert spec.at_depth(extras, [("e.1", 0.0)]).skipped == {"b", *extras}

    @pytest.mark.parametrize(
        "settings",
        [
            {"blends": (("a", 1.1),)},
            {"fades": (("extras.0", -0.1),)},
            {"fades": (("extras.0", 0.0),)},
            {"fades": (("extras.0", 1.0),)},
            {"fades": (("extras.0", 0.5),), "skipped": frozenset({"extras.0"})},
            {"multiplied": frozenset("a"), "blends": (("a", 0.5),)},
        ],
    )
    def test_contradictions_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be"):
            SubnetSpec((8,), **settings)


@dataclass(frozen=True)
class Liar(Mult):
    """Says that it does not multiply."""

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic({"add": 1})


class TestDeployed:
    @pytest.mark.parametrize("net", KINDS)
    @pytest.mark.parametrize("op", OPS)
    def test_what_multiplies_is_what_was_exempted(self, net: str, op: str) -> None:
        supernet, free = make(net, op)
        target = extract_target(supernet)
        exempt = [layer.name for layer in target.net.plan.layers() if layer.name not in free]
        assert list(multiplicative_layers(target.net)) == exempt
        assert unexpected_multiplications(target) == {}

    @pytest.mark.parametrize(
        ("layer", "value"),
        [
            ("blocks.1.project.conv", 0.3),
            ("blocks.3.depthwise.conv", 3 * 2.0**-4),
            ("classifier", float("nan")),
            ("classifier", float("inf")),
        ],
    )
    def test_one_weight_that_is_no_power_of_two_is_a_multiplication(self, layer: str, value: float) -> None:
        target = target_of("mbv2_micro", "shift")
        weight = target.net.get_submodule(layer).weight
        weight.data.view(-1)[5] = value  # type: ignore[union-attr,operator]
        assert list(unexpected_multiplications(target)) == [layer]

    @pytest.mark.parametrize("value", [0.0, -(2.0**-14), 1.0])
    def test_zeros_and_signed_powers_of_two_are_shifts(self, value: float) -> None:
        target = target_of("mbv2_micro", "shift")
        target.net.get_submodule("classifier").weight.data.fill_(value)  # type: ignore[union-attr,operator]
        assert unexpected_multiplications(target) == {}

    def test_an_operator_is_not_taken_at_its_word(self) -> None:
        target = target_of("mbv3_w035", "mult")
        free = [layer.name for layer in target.net.plan.layers() if layer.group != "stem"]
        for name in free:
            target.net.get_submodule(name).operator = Liar()  # type: ignore[assignment]
            torch.nn.init.normal_(target.net.get_submodule(name).weight)  # type: ignore[arg-type]
        assert list(multiplicative_layers(target.net)) == ["stem.conv", *free]
