"""Any sub-network: it is computed and extracted as the plain network of its widths, kernels and blocks."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.build import (
    DEEPENED,
    NETS,
    REMAPS,
    ROOT,
    SHARINGS,
    WIDER,
    drawn,
    images,
    narrowed,
)
from tests.nets.subnets import flops, make, random_spec
from tests.nets.unet import images as unet_images
from tests.nets.unet import make_unet
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.reading import Blended, ByOperator, MultipliedBeside
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.hybrid.updates import active_target
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.extract import Target, extract, load_target, save_target
from shiftaddaug.nets.recalibrate import recalibrate
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet

SPECS = 3
ALL_OPERATORS = [("mbv3_w035", sharing, op) for sharing, ops in SHARINGS.items() for op in ops]
OTHER_NETS = [net for net in NETS if net != "mbv3_w035"]
"""Every operator in one net, whose layers are of all kinds; every other net with one operator."""


def at_most_target(supernet: Supernet, seed: int) -> SubnetSpec:
    return random_spec(supernet, seed, widest=0.0)


@torch.no_grad()
def assert_same(supernet: Supernet, spec: SubnetSpec, target: Target, x: Tensor) -> None:
    """Tolerance 0, and not by chance."""
    y, wanted = target.net(x), supernet(x, spec)
    assert torch.equal(y, wanted)
    assert y.isfinite().all()


class TestExtraction:
    @pytest.mark.parametrize(("net", "sharing", "op"), ALL_OPERATORS + [(net, "remapped", "add") for net in OTHER_NETS])
    def test_up_to_the_targets_width_it_is_exact_for_every_operator(self, net: str, op: str, sharing: str) -> None:
        augmentation = {"wide": 1.0} if op == "shift_ps" else {"extra_blocks": int(net in DEEPENED)}
        supernet = make(narrowed(net), op, SHARINGS[sharing][op], **augmentation)
        for seed in range(SPECS):
            spec = at_most_target(supernet, seed)
            target = extract(supernet, spec)
            assert_same(supernet, spec, target, images())
            assert target.net.plan == supernet.graph.at(spec)

    @pytest.mark.parametrize(
        ("net", "sharing", "op"),
        [case for case in ALL_OPERATORS if case[2] in ("mult", "shift")]
        + [(net, "plain", "shift") for net in OTHER_NETS],
    )
    def test_at_any_width_it_is_exact_where_layers_are_linear_in_their_weight(
        self, net: str, op: str, sharing: str
    ) -> None:
        supernet = make(narrowed(net), op, SHARINGS[sharing][op], extra_blocks=int(net in DEEPENED))
        for seed in range(SPECS):
            spec = random_spec(supernet, seed)
            target = extract(supernet, spec)
            assert_same(supernet, spec, target, images())
            widened = [layer for layer in target.net.plan.layers() if wider(supernet, spec, layer.name)]
            assert widened
            same = sharing.startswith("same")
            for layer in widened:
                computed = op if same and layer.group != "stem" else "mult"
                assert target.assignment[layer.name].name == computed, layer.name

    @pytest.mark.parametrize("sharing", ["same", "same-remapped"])
    def test_an_adder_is_a_plain_layer_at_any_width_where_it_computes_all_of_it(self, sharing: str) -> None:
        supernet = make("mbv3_w035", "add", SHARINGS[sharing]["add"], extra_blocks=1)
        for seed in range(SPECS):
            spec = random_spec(supernet, seed)
            assert_same(supernet, spec, extract(supernet, spec), images())

    @pytest.mark.parametrize("op", ["mult", "shift"])
    def test_layers_of_several_sources_are_exact(self, op: str) -> None:
        supernet = make_unet(op).eval()
        for spec in (make_spec(supernet, seed) for seed in range(SPECS) for make_spec in (random_spec, at_most_target)):
            target = extract(supernet, spec)
            for name, y in target.net.outputs(unet_images()).items():
                assert torch.equal(y, supernet.outputs(unet_images(), supernet.run(spec))[name]), name

    def test_adders_of_several_sources_are_exact_up_to_the_target(self) -> None:
        supernet = make_unet("add").eval()
        for seed in range(SPECS):
            spec = at_most_target(supernet, seed)
            assert_same(supernet, spec, extract(supernet, spec), unet_images())

    def test_a_widened_adder_is_no_plain_layer(self) -> None:
        supernet = make("mbv2_micro", "add")
        spec = SubnetSpec(supernet.widening.max_channels())
        with pytest.raises(UserError, match=r"^spec: blocks\.0\.\S+ is wider than the target, and op=add .* options: "):
            extract(supernet, spec)
        multiplied = replace(spec, multiplied=frozenset(supernet.assignment))
        target = extract(supernet, multiplied)
        assert_same(supernet, multiplied, target, images())
        assert target.assignment.title() == "mult"

    @pytest.mark.parametrize("mixed", [{"blends": (("blocks.1.expand.conv", 0.5),)}, {"fades": (("blocks.2", 0.5),)}])
    def test_what_is_computed_in_shares_is_no_plain_network(self, mixed: dict[str, Any]) -> None:
        supernet = make("mbv2_micro", "shift")
        with pytest.raises(UserError, match=r"^spec: blocks\.\d\S* is computed in shares of two"):
            extract(supernet, replace(supernet.target_spec, **mixed))

    def test_multiplied_layers_multiply(self) -> None:
        supernet = make("mbv2_micro", "add", SHARINGS["remapped"]["add"])
        turned = frozenset({"blocks.0.depthwise.conv", "blocks.3.project.conv"})
        spec = replace(supernet.target_spec, multiplied=turned)
        target = extract(supernet, spec)
        assert_same(supernet, spec, target, images())
        assert turned <= target.assignment.exempt()

    @pytest.mark.parametrize("op", ["shift", "add"])
    def test_the_example_of_docs_method(self, op: str) -> None:
        (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "method.md").read_text(), re.DOTALL)
        names: dict[str, Any] = {"net": make("mbv2_micro", op, extra_blocks=1)}
        exec(code, names)
        supernet, spec, part = names["net"], names["spec"], names["part"]
        with torch.no_grad():
            assert torch.equal(part(images()), supernet(images(), spec))
        assert part.plan == supernet.graph.at(spec)
        assert 2 * names["macs"] == flops(part, images(1)) < flops(supernet, images(1))
        assert recalibrate(part, [images(4)]) == 1

    def test_it_is_saved_and_loaded(self, tmp_path: Path) -> None:
        supernet = make("mcunet", "shift", extra_blocks=1)
        spec = random_spec(supernet, 3)
        save_target(extract(supernet, spec, {"data": {"name": "x"}}), tmp_path)
        loaded = load_target(tmp_path)
        assert_same(supernet, spec, loaded, images())
        assert loaded.net.plan == supernet.graph.at(spec)

    def test_in_training_it_is_the_plain_network_too(self) -> None:
        """Batch statistics, outputs and gradients of the active weights, of a narrower adder."""
        supernet = make("mbv2_micro", "add").train()
        spec = at_most_target(supernet, 2)
        plain = extract(supernet, spec).net.train()
        y, wanted = supernet(images(4), replace(spec, augmented=True)), plain(images(4))
        assert torch.equal(y, wanted)
        y.square().sum().backward()
        wanted.square().sum().backward()
        for name, parameter in plain.named_parameters():
            ours = supernet.get_parameter(name).grad
            assert ours is not None and parameter.grad is not None
            kernel, whole = parameter.shape[-1], ours.shape[-1]
            if parameter.dim() == 4 and kernel < whole:
                first = (whole - kernel) // 2
                ours = ours[..., first : first + kernel, first : first + kernel]
            ours = ours[tuple(slice(length) for length in parameter.shape)]
            torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-5 * float(parameter.grad.abs().max()))
            assert supernet.get_parameter(name).grad.count_nonzero() <= parameter.numel()  # type: ignore[union-attr]


def wider(supernet: Supernet, spec: SubnetSpec, layer: str) -> bool:
    node, channels = supernet.graph.by_name[layer], dict(zip(supernet.widening.index(), spec.channels, strict=True))
    targets = {space.name: space.channels for space in supernet.widening.spaces}
    spaces = (node.space,) if node.depthwise else (node.space, *supernet.graph.sources(node))
    return any(channels[space] > targets[space] for space in spaces)


class TestNarrowR:
    """Below the target's width, and at smaller kernels, R takes mean and spread of the target's whole slice."""

    @pytest.mark.parametrize("op", REMAPS)
    def test_a_narrower_sub_network_reads_a_slice_of_what_the_target_reads(self, op: str) -> None:
        supernet = make("mbv2_micro", op, Sharing(REMAPS[op]))
        whole = extract(supernet, supernet.target_spec).net.state_dict()
        for seed in range(SPECS):
            narrow = extract(supernet, at_most_target(supernet, seed)).net.state_dict()
            for name, value in narrow.items():
                wanted = whole[name] if name in whole else supernet.state_dict()[name]
                if value.dim() == 4:
                    first = (wanted.shape[-1] - value.shape[-1]) // 2
                    wanted = wanted[..., first : first + value.shape[-1], first : first + value.shape[-1]]
                if name in whole:
                    assert torch.equal(value, wanted[tuple(slice(length) for length in value.shape)]), name

    def test_by_hand(self) -> None:
        remap = Sharing(REMAPS["add"])
        layer = drawn(HybridConv2d(operators.build("add"), Widths(5, 9), Widths(6, 11), 5, sharing=remap).double())
        x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
        read = REMAPS["add"](layer.weight[:6, :5].detach())[:2, :3, 1:4, 1:4].contiguous()
        assert torch.equal(layer(x, 2, kernel=3), operators.build("add").conv2d(x, read, 1, 1))
        narrow = REMAPS["add"](layer.weight[:2, :3, 1:4, 1:4].detach())
        assert (read - narrow).abs().max() > 0.1  # its own mean and spread would be others


class TestUpdates:
    """An adder's update is as large as that of a net of its own, however little of the weight took part."""

    @pytest.mark.parametrize("kernels", [(), (("blocks.3.depthwise.conv", 1),)])
    @pytest.mark.parametrize("sharing", ["plain", "remapped"])
    def test_of_a_narrow_sub_network(self, kernels: Any, sharing: str) -> None:
        supernet = make("mbv2_micro", "add", SHARINGS[sharing]["add"]).train()
        channels = tuple(space.channels if space.kind == "fixed" else 4 for space in supernet.widening.spaces)
        spec = SubnetSpec(channels, augmented=True, kernels=kernels)
        supernet(images(8), spec).square().sum().backward()
        supernet.rescale_gradients(spec)
        for name, layer in supernet.hybrid_layers().items():
            gradient = layer.weight.grad
            if layer.operator.name == "add" and gradient is not None and gradient.abs().max() > 0:
                slope = layer.sharing.slopes([layer.target_parameters()["weight"].detach()])[0]
                ours = layer.cut([4] * len(layer.sources), 4, dict(kernels).get(name))
                active = layer.target_slice(gradient)[active_target(layer, ours)]
                if slope is not None:
                    active = active * slope[active_target(layer, ours)]
                assert float(active.square().mean().sqrt()) == pytest.approx(0.8, rel=1e-3), name  # eta

    def test_what_the_passes_used_together_counts(self) -> None:
        narrow, whole = make("mbv2_micro", "add").train(), make("mbv2_micro", "add").train()
        channels = tuple(space.channels if space.kind == "fixed" else 4 for space in narrow.widening.spaces)
        small = SubnetSpec(channels, augmented=True)
        for net in (narrow, whole):
            (net(images(8), small).square().sum() + net(images(8)).square().sum()).backward()
        narrow.rescale_gradients(small, narrow.target_spec)
        whole.rescale_gradients()
        theirs = dict(whole.named_parameters())
        for name, parameter in narrow.named_parameters():
            wanted = theirs[name].grad
            assert (parameter.grad is None) == (wanted is None)
            assert parameter.grad is None or torch.equal(parameter.grad, wanted)  # type: ignore[arg-type]


def test_a_sub_network_with_extra_blocks_is_deepened_again() -> None:
    supernet = make("mbv2_micro", "shift", extra_blocks=1)
    target = extract(supernet, replace(supernet.target_spec, skipped=frozenset()))
    again = build_supernet(target.net.plan, target.assignment, **WIDER, extra_blocks=1)
    assert not set(again.widening.extras()) & set(target.net.plan.units())
    assert again.widening.extras() <= set(again.graph.units())
    again.eval()
    assert_same(again, again.target_spec, extract(again, again.target_spec), images())
    assert again.graph.at(again.target_spec) == target.net.plan


@pytest.mark.parametrize("sharing", ["plain", "remapped"])
def test_a_blended_layer_by_itself_has_the_gradient_of_the_net(sharing: str) -> None:
    """At a smaller kernel R' is the whole slice's, in what multiplies as in what the operator reads."""
    shared = SHARINGS[sharing]["add"]
    layer = drawn(HybridConv2d(operators.build("add"), Widths(4, 6), Widths(4, 6), 5, sharing=shared).double())
    x, direction = torch.randn(2, 4, 7, 7, dtype=torch.float64), torch.randn(2, 4, 7, 7, dtype=torch.float64)
    (given,) = shared.stored([layer.target_weight()])
    gradients = [
        torch.autograd.grad((layer(x, None, reading, 3) * direction).sum(), layer.weight)[0]
        for reading in (Blended(0.3), Blended(0.3, ByOperator(), MultipliedBeside(given)))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_a_target_pass_forgets_passes_of_other_specs() -> None:
    supernet = make("mbv2_micro", "add", extra_blocks=1)
    before = supernet(images())
    supernet.train()
    for seed in range(SPECS):
        supernet(images(), replace(at_most_target(supernet, seed), augmented=True))
    supernet.eval()
    assert torch.equal(supernet(images()), before)
