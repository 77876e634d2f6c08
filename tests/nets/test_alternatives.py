"""Operators that a pass chooses: they equal those of a supernet that was built with them, to the last bit."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import torch
from tests.build import SHARINGS, drawn, images, make_supernet, narrowed, plan_of, unsettled
from tests.nets.subnets import make, random_spec
from tests.nets.test_subnetworks import SPECS, assert_same
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.reading import ByOperator
from shiftaddaug.hybrid.sharing import PLAIN, Heterogeneous, NetSharing, Sharing
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets import own_terms
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.recalibrate import recalibrate
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.stored_scale import scale_factors
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator

ALTERNATIVES: dict[str, Operator] = {name: operators.build(name) for name in ("mult", "shift", "add")}
ALTERNATIVES["coarse"] = operators.build("shift", weight_bits=3)
MIXED: dict[str, NetSharing] = {
    "plain": PLAIN,
    "heterogeneous": Heterogeneous(),
    "chain": Heterogeneous("chain"),
    "same": Heterogeneous(multiplicative_augmentation=False),
}
CASES = [("mbv3_w035", "mult", sharing) for sharing in MIXED]
CASES += [("mbv3_w035", "add", "same"), ("resnet20", "shift", "heterogeneous"), ("mcunet", "add", "heterogeneous")]


def pair(net: str, own: str, sharing: str, **arguments: Any) -> tuple[Supernet, Supernet, tuple[tuple[str, str], ...]]:
    """A supernet that has a choice, the one that was built with this choice, and the choice: two layers have none."""
    wide = {"width_multipliers": (1.0, 1.6), "expand_multipliers": (1.0, 1.6)}
    plan = plan_of(narrowed(net))
    options = {"sharing": MIXED[sharing], **wide, **arguments}
    free = unsettled(make_supernet(plan, own, alternatives=ALTERNATIVES, **options))
    layers = [layer.name for layer in plan.layers()]
    chosen = dict(zip(layers[1:-1], cycle(["add", "coarse", "mult", "shift", "add"])))
    computed = {name: ALTERNATIVES[chosen[name]] if name in chosen else free.assignment[name] for name in layers}
    built = build_supernet(plan, Assignment(computed), **options)
    built.load_state_dict(free.state_dict())
    recalibrate(built, [images(8)])  # with others', what adders return leaves the range of the activations
    free.load_state_dict(built.state_dict())
    return free, built, tuple(chosen.items())


def specs_of(net: Supernet) -> Iterator[SubnetSpec]:
    yield net.target_spec
    for seed in range(SPECS):
        yield random_spec(net, seed)
        yield random_spec(net, seed, widest=0.0)


def gradients(net: Supernet, *specs: SubnetSpec) -> dict[str, Tensor]:
    """What an optimiser is shown after one step of these passes."""
    net.train().zero_grad()
    weights = net.operator_weights(specs[0].multiplied, specs[0].operators)
    torch.stack([net(images(4), spec, weights).square().sum() for spec in specs]).sum().backward()
    net.rescale_gradients(*specs)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("net", "own", "sharing"), CASES)
def test_a_pass_equals_that_of_a_net_which_was_built_so(net: str, own: str, sharing: str) -> None:
    multiplied_extras = net == "mbv3_w035" and sharing != "same"  # else their operators are those of other blocks
    free, built, chosen = pair(net, own, sharing, extra_blocks=int(multiplied_extras))
    free.eval(), built.eval()
    before = free(images())
    for spec in specs_of(free):
        assert torch.equal(free(images(), replace(spec, operators=chosen)), built(images(), spec))
    assert torch.equal(free(images()), before)  # a choice leaves nothing behind
    assert not torch.equal(before, built(images()))
    for target in (built.target_spec, *(random_spec(built, seed, widest=0.0) for seed in range(2))):
        around = replace(random_spec(built, 7), augmented=True).around(target)
        wanted = gradients(built, target, around)
        found = gradients(free, replace(target, operators=chosen), replace(around, operators=chosen))
        assert found.keys() == wanted.keys()
        assert [name for name, gradient in found.items() if not torch.equal(gradient, wanted[name])] == []
        own_state, theirs = free.state_dict(), built.state_dict()  # running statistics, too
        assert all(torch.equal(value, theirs[name]) for name, value in own_state.items())


@pytest.mark.parametrize("sharing", ["plain", "heterogeneous"])
def test_it_is_extracted_with_its_operators(sharing: str) -> None:
    free, built, chosen = pair("mbv3_w035", "shift", sharing)
    free.eval()
    for seed in range(SPECS):
        spec = replace(random_spec(free, seed, widest=0.0), operators=chosen)
        target = extract(free, spec)
        assert_same(free, spec, target, images())
        wanted = {name: operator for name, operator in built.assignment.layers.items() if name in target.assignment}
        assert target.assignment.layers == wanted == {n: free.operators(spec)[n] for n in wanted}
        assert recalibrate(target.net, [images(4)]) == 1
    turned = frozenset(name for name, _ in chosen[:4])
    some = replace(free.target_spec, operators=chosen[4:], multiplied=turned)
    assert {extract(free, some).assignment[name].name for name in turned} == {"mult"}
    widest = replace(free.target_spec, channels=free.widening.max_channels(), operators=chosen)
    with pytest.raises(UserError, match=r"is wider than the target, and op=add beside a multiplication"):
        extract(free, widest)


class TestTransforms:
    """A transform acts on the stored weight, and R on what it made."""

    def make(self, sharing: NetSharing) -> HybridConv2d:
        widths = Widths(4, 6)
        layer = HybridConv2d(
            operators.build("mult"), widths, widths, 7, depthwise=True, sharing=sharing, kernel_transform=True
        )
        drawn(layer)
        with torch.no_grad():
            for side in layer.transforms:
                layer.get_parameter(f"kernel_transform_{side}").add_(0.1 * torch.randn(side**2, side**2))
        return layer

    @pytest.mark.parametrize("op", ["shift", "add"])
    def test_by_hand(self, op: str) -> None:
        layer, reader = self.make(Heterogeneous()), Reader(operators.build(op), Heterogeneous().of(operators.build(op)))
        x, remap = torch.randn(2, 4, 9, 9), reader.sharing.remap
        assert remap is not None
        for kernel in (7, 5, 3, 1):
            made = layer.at_kernel(layer.weight[:4], max(kernel, 3)).detach()  # no transform makes 1 from 3
            weight = reader.effective_weight(remap(made))
            first = (made.shape[-1] - kernel) // 2
            weight = weight[..., first : first + kernel, first : first + kernel].contiguous()
            wanted = reader.operator.conv2d(x, weight, 1, kernel // 2, 1, 4)
            assert torch.equal(layer(x, kernel=kernel, reading=ByOperator(None, reader)), wanted)

    def test_they_are_constants_where_the_operator_converts_its_gradient(self) -> None:
        layer, x = self.make(PLAIN), torch.randn(2, 4, 9, 9)
        for op, learns in (("add", False), ("shift", True)):
            layer.zero_grad()
            reader = Reader(operators.build(op), PLAIN)
            layer(x, kernel=3, reading=ByOperator(None, reader)).square().sum().backward()
            assert (layer.get_parameter("kernel_transform_3").grad is not None) == learns
            layer.rescale_gradients(cut=layer.cut([4], 4, 3), alternative=reader)
            inside = layer.weight.grad[:4, :, 1:6, 1:6]  # type: ignore[index]
            assert inside.count_nonzero() == inside.numel()
            if not learns:
                assert float(inside.square().mean().sqrt()) == pytest.approx(0.8, rel=1e-4)  # eta

    def test_of_a_net(self) -> None:
        free = make("mcunet", "mult", Heterogeneous(), kernel_transform=True, alternatives=ALTERNATIVES)
        layers = [layer.name for layer in free.plan.layers()][1:-1]
        chosen = tuple(zip(layers, cycle(["add", "shift"])))
        for seed in range(SPECS):
            spec = replace(random_spec(free, seed, widest=0.0), operators=chosen)
            assert_same(free, spec, extract(free, spec), images())
        found = gradients(free, replace(spec, augmented=True))
        assert all(gradient.isfinite().all() for gradient in found.values())


class TestWhatOthersDo:
    def test_the_passes_of_a_step_agree(self) -> None:
        free, _, chosen = pair("mbv3_w035", "shift", "plain")
        target, (layer, name) = free.target_spec, chosen[0]
        with pytest.raises(ValueError, match=rf"^operators: {layer}: add and shift in the passes of one step; must be"):
            free.rescale_gradients(replace(target, operators=((layer, "add"),)), target)
        assert name == "add"
        unit = next(unit for unit in free.graph.skippable)
        inside = next(node.name for node in free.graph.layers() if node.unit == unit)
        skips = replace(target, skipped=target.skipped | {unit})
        free.rescale_gradients(replace(target, operators=((inside, "add"),)), skips)
        multiplies = replace(target, multiplied=frozenset({layer}))
        free.rescale_gradients(replace(target, operators=((layer, "add"),)), multiplies)

    def test_no_weight_of_several_operators_is_projected(self) -> None:
        arguments = {"width_multipliers": (1.0, 1.6), "kept": ["stem"]}
        for alternatives in ({}, ALTERNATIVES):
            net = make_supernet("mbv2_micro", "shift", **arguments, alternatives=alternatives)
            layer = net.hybrid_layers()["blocks.0.depthwise.conv"]
            layer.operator = operators.build("shift", clamp=True)
            torch.nn.init.constant_(layer.weight, 8.0)
            own_terms.project(net)
            assert layer.target_weight().max() == (8 if alternatives else 1)

    def test_a_scale_that_another_operator_reads_is_kept(self) -> None:
        for names, kept in (((), False), (("add",), False), (("mult", "add"), True), (("shift",), True)):
            chosen = {name: ALTERNATIVES[name] for name in names}
            net = make("mbv2_micro", "add", Heterogeneous(), alternatives=chosen)
            assert (scale_factors(net, 1e-9) == {}) == kept


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"operators": (("nothing", "add"),)}, r"^operators: nothing: no such layer in net=mbv2_micro$"),
            ({"operators": (("stem.norm", "add"),)}, r"^operators: stem.norm: no such layer in net="),
            (
                {"operators": (("head.conv", "adds"),)},
                r"^operators: head.conv: adds: no such alternative; opt",
            ),
        ],
    )
    def test_names(self, changes: dict[str, Any], message: str) -> None:
        net = make("mbv2_micro", "shift", alternatives=ALTERNATIVES)
        for attempt in (net.run, lambda spec: extract(net, spec)):
            with pytest.raises(ValueError, match=message):
                attempt(replace(net.target_spec, **changes))
        bare = make("mbv2_micro", "shift")
        with pytest.raises(ValueError, match=r"^operators: head.conv: add: no such alternative; options: none"):
            bare.run(replace(bare.target_spec, operators=(("head.conv", "add"),)))

    @pytest.mark.parametrize(
        "changes",
        [
            *({"operators": bad} for bad in ({}, [], ("a",), (("a", 1),), (("a", "add"), ("a", "mult")))),
            {"operators": (("a", "add"),), "multiplied": frozenset("a")},
            {"operators": (("a", "add"),), "blends": (("a", 0.5),)},
        ],
        ids=str,
    )
    def test_fields(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be") as caught:
            SubnetSpec(**{"channels": (8, 8), **changes})
        assert "\n" not in str(caught.value)

    def test_an_operator_of_more_than_a_weight(self) -> None:
        with pytest.raises(UserError, match=r"^alternatives: ps: op=shift_ps trains shift, sign, and a layer has") as e:
            make("mbv2_micro", "mult", alternatives={"ps": operators.build("shift_ps")})
        assert "\n" not in str(e.value)

    def test_a_layer_without_a_weight(self) -> None:
        net = make("mbv2_micro", "shift_ps", wide=1.0, alternatives=ALTERNATIVES)
        with pytest.raises(ValueError, match=r"^operators: head.conv: trains no weight that an alternative could read"):
            net.run(replace(net.target_spec, operators=(("head.conv", "add"),)))


def test_a_net_may_share_through_one_r_for_all() -> None:
    """A `Sharing` of the tests, whose R is one for all operators that turn."""
    shared = Sharing(SHARINGS["remapped"]["shift"].remap)
    net = make("mbv2_micro", "mult", shared, alternatives=ALTERNATIVES)
    spec = replace(net.target_spec, operators=(("head.conv", "shift"),))
    assert_same(net, spec, extract(net, spec), images())
