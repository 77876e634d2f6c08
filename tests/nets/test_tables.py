"""Architectures: published sizes, and the rules of the table decoder."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.build import NETS, plan_of, read_yaml

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.build import assign
from shiftaddaug.nets.cost import NetCost, net_cost
from shiftaddaug.nets.entry import make_divisible
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.units import ends

TODAY = ["mbv2_micro", "mbv2_tiny", "mbv2_w02", "mbv2_w035", "mbv3_w035", "mcunet", "proxyless_w035", "resnet20"]


def cost_of(plan: Plan, op: str = "mult", *exempt: str) -> NetCost:
    return net_cost(plan, assign(plan, operators.build(op), exempt))


def table(name: str, **changes: Any) -> dict[str, Any]:
    return read_yaml("net", name) | changes


def test_no_net_of_today_is_missing() -> None:
    assert set(NETS) >= set(TODAY)


# NetAug (arXiv 2110.08890) table 1, to the digits it prints; ResNet-20 from arXiv 1512.03385 plus two 1x1 shortcuts
@pytest.mark.parametrize(
    ("name", "size", "params", "macs"),
    [
        ("mcunet", 176, 0.74e6, 81.8e6),
        ("mbv2_tiny", 144, 0.75e6, 23.5e6),
        ("proxyless_w035", 160, 1.8e6, 35.7e6),
    ],
)
def test_published_sizes(name: str, size: int, params: float, macs: float) -> None:
    cost = cost_of(plan_of(name, 1000, 3, size))
    assert cost.macs == pytest.approx(macs, rel=0.01)
    # 1.8 M is 1.78 M rounded to two digits, so the rounding is allowed for
    assert cost.params == pytest.approx(params, rel=0.011)


def test_exact_sizes_do_not_drift() -> None:
    costs = {name: cost_of(plan_of(name, 1000, 3, 160)) for name in TODAY}
    assert {name: (cost.params, cost.macs) for name, cost in costs.items()} == {
        "mbv2_micro": (321144, 13422800),
        "mbv2_tiny": (750280, 27713200),
        "mbv2_w02": (321144, 37563200),
        "mbv2_w035": (1677128, 30874800),
        "mbv3_w035": (2109840, 19495688),
        "mcunet": (737408, 65863200),
        "proxyless_w035": (1781344, 35716800),
        "resnet20": (337824, 1020377600),
    }


def test_resnet20_for_cifar() -> None:
    cost = cost_of(plan_of("resnet20", 10, 3, 32))
    # 6n+2 = 20 layers, 0.27 M parameters and 40.8 M MACs (arXiv 1512.03385), and the 1x1 shortcuts' 2,752 weights
    # less the classifier's biases, plus the batch-norm on the logits
    assert cost.params == 269722 + 16 * 32 + 32 * 64 + 2 * (32 + 64) - 10 + 2 * 10
    assert cost.macs == 40551040 + 16 * 32 * 16**2 + 32 * 64 * 8**2


# MACs of ResNet-32 from AdderNet (arXiv 1912.13200), table 2; ResNet-18 and -50 are torchvision's
@pytest.mark.parametrize(
    ("name", "size", "classes", "params", "macs"),
    [
        ("resnet32", 32, 10, 466_906, 69_124_736),
        ("resnet18", 224, 1000, 11_689_512, 1_814_073_344),
        ("resnet50", 224, 1000, 25_557_032, 4_089_184_256),
    ],
)
def test_published_sizes_of_residual_nets(name: str, size: int, classes: int, params: int, macs: int) -> None:
    cost = cost_of(plan_of(table(name, classifier_norm=False), classes, 3, size))
    assert (cost.params, cost.macs) == (params, macs)
    normed = cost_of(plan_of(table(name), classes, 3, size))
    assert (normed.params, normed.macs) == (params + classes, macs)  # 2 of the batch-norm for 1 bias


def test_vgg_small() -> None:
    """Six 3x3 convolutions (arXiv 1702.00953), two for each size; AdderNet prints 0.65 G MACs."""
    plan = plan_of(table("vgg_small"), 10, 3, 32)
    widths, sides = (3, 128, 128, 256, 256, 512, 512), (32, 32, 16, 16, 8, 8)
    weights = [9 * source * out for source, out in pairwise(widths)]
    assert sum(weights) == 4_574_592
    assert cost_of(plan).params == sum(weights) + 2 * sum(widths[1:]) + 512 * 10 + 2 * 10
    macs = sum(weight * side**2 for weight, side in zip(weights, sides, strict=True)) + 512 * 10
    assert cost_of(plan).macs == macs == pytest.approx(0.65e9, rel=0.07)
    assert plan.by_name["pool"].size == (1, 1) and plan.by_name["blocks.4.pool"].size == (4, 4)


def test_a_table_without_the_key_ends_in_a_linear_layer() -> None:
    """As those of stored checkpoints do."""
    older = {key: value for key, value in table("resnet20").items() if key != "classifier_norm"}
    plan = plan_of(older, 10, 3, 32)
    assert (plan.outputs[0][1], plan.by_name["classifier"].kind) == ("classifier", "linear")
    assert cost_of(plan).params == 269722 + 16 * 32 + 32 * 64 + 2 * (32 + 64)


def test_small_images_are_not_pooled_in_the_stem() -> None:
    assert plan_of(table("resnet18"), 10, 3, 32).total_stride == 8
    assert plan_of(table("resnet18"), 10, 3, 64).total_stride == 32
    assert plan_of(table("resnet18", stem_stride=1), 10, 3, 32).total_stride == 16


@pytest.mark.parametrize("name", NETS)
def test_producers_and_consumers_share_spaces(name: str) -> None:
    plan = plan_of(name, 10, 3, 32)
    known = set(plan.channels())
    for layer in plan.layers():
        assert {*plan.sources(layer), layer.space} <= known
    for unit, nodes in plan.units().items():
        found = ends(plan, unit)
        if found is not None:
            assert all(node.stride == 1 for node in nodes)
            assert plan.by_name[found.entry].space == plan.by_name[found.exit].space


def test_stem_stride_follows_the_image() -> None:
    mcunet = table("mcunet")
    sides = {32: 1, 48: 1, 49: 2, 176: 2}
    assert {side: stem_stride(plan_of(mcunet, 10, 3, side)) for side in sides} == sides
    assert stem_stride(plan_of(mcunet | {"stem_stride": 2}, 10, 3, 32)) == 2


def test_the_larger_side_chooses_the_stems_stride() -> None:
    sizes = {(32, 48): 1, (32, 49): 2, (49, 32): 2, (180, 240): 2}
    assert {size: stem_stride(plan_of("mcunet", 10, 3, size)) for size in sizes} == sizes


def stem_stride(plan: Plan) -> int:
    return plan.by_name["stem.conv"].stride


def test_no_residual_in_a_stages_first_block() -> None:
    plan = plan_of("mbv2_w035", 10, 3, 32)
    residual = [ends(plan, unit) is not None for unit in plan.units()]
    firsts = [0, 1, 3, 6, 10, 13, 16]  # of the stages
    assert [i for i, adds in enumerate(residual) if not adds] == firsts
    assert len(residual) == 7 + 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_stride": 0}, r"net\.stem_stride=0: must be"),
        ({"width_mult": 0}, r"net\.width_mult=0\.0: must be positive"),
        ({"stages": [{"block": "bottle"}]}, r"block=bottle: no such block; options: basic, "),
        ({"stages": [{"block": "basic", "channels": 8, "kernels": 4}]}, r"kernels=4: must be odd"),
        ({"stages": [{"block": "basic", "channels": 8, "act": "gelu"}]}, r"act=gelu: no such activation; options"),
        (
            {"stages": [{"block": "inverted_bottleneck", "channels": 8, "expand": [1, 2], "kernels": [3]}]},
            r"lists of different lengths",
        ),
    ],
)
def test_bad_tables(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(table("resnet20", **change), 10, 3, 32)


def test_image_smaller_than_the_strides() -> None:
    with pytest.raises(UserError, match=r"data\.image_size=8: too small for net=mcunet, whose strides multiply to 16"):
        plan_of("mcunet", 10, 3, 8)


def test_the_smaller_side_has_to_hold_the_strides() -> None:
    with pytest.raises(UserError, match=r"data\.image_size=\[40,8\]: too small for net=mcunet, whose .* at least 16"):
        plan_of("mcunet", 10, 3, [40, 8])
    assert plan_of("mcunet", 10, 3, [16, 40]).image_size == (16, 40)


def test_multiplication_free_share() -> None:
    plan = plan_of("resnet20", 10, 3, 32)
    stem_macs = 3 * 9 * 16 * 32 * 32
    cost = cost_of(plan, "shift", "stem")
    assert cost.macs - cost.multiplication_free_macs == stem_macs
    assert cost.operations == {"add": cost.macs, "mult": stem_macs, "shift": cost.macs - stem_macs}
    assert cost_of(plan, "add", "stem").operations == {"add": 2 * cost.macs - stem_macs, "mult": stem_macs}
    assert cost_of(plan).multiplication_free_share == 0


@given(st.floats(0.1, 1e4), st.integers(1, 64))
def test_make_divisible(value: float, divisor: int) -> None:
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert rounded >= 0.9 * value
    assert rounded <= max(divisor, 1.1 * value + divisor)


@pytest.mark.parametrize("depth", [10**400, 1001, -1])
def test_a_depth_that_nobody_could_build_is_refused(depth: int) -> None:
    stages = [{"block": "basic", "channels": 8, "depth": depth}]
    with pytest.raises(UserError, match=r"net\.stages: depth=.*: must be between 0 and 1000 blocks"):
        plan_of(table("resnet20", stages=stages), 10, 3, 32)
