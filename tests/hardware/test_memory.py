"""Peak SRAM and Flash beside published figures and sums by hand."""

import pytest
from tests.build import plan_of, read_yaml

from shiftaddaug import operators
from shiftaddaug.hardware.memory import flash_bytes, held_values, peak_sram
from shiftaddaug.nets.assignment import uniform
from shiftaddaug.nets.writer import IMAGE, Writer

KIB = 1024
MULT = operators.settings_from({"name": "mult"})


def test_mbv2_takes_what_mcunet_reports() -> None:
    """308 kB in MCUNet's README, whose kB fit KiB."""
    plan = plan_of(read_yaml("net", "mbv2_w035"), 1000, side=144)
    peak = peak_sram(plan)
    assert (peak.bytes, peak.layer) == (311_040, "blocks.1.depthwise.conv")
    assert peak.bytes / KIB == pytest.approx(308, rel=0.02)


def test_mcunet_lies_between_the_two_rules() -> None:
    """MCUNet's README has 293 kB for it: 12 % below the plain rule, 21 % above depthwise layers in place."""
    plan = plan_of("mcunet", 1000, side=176)
    assert [peak_sram(plan, in_place).bytes / KIB for in_place in (False, True)] == [332.75, 242.0]


def test_values_are_held_until_their_last_reader() -> None:
    writer = Writer(3, (8, 6))
    wide, thin = writer.space("wide", 8, "width"), writer.space("thin", 4, "width")
    skip = writer.conv_norm_act("a", IMAGE, out=wide, act="relu")
    y = writer.conv_norm_act("b", skip, out=thin, stride=2, kernel=3)
    y = writer.upsample("up", y, skip)
    y = writer.conv_norm_act("c", skip, y, out=thin)
    plan = writer.plan("net", {"logits": y})
    held = {each.node: dict(each.pixels) for each in held_values(plan)}
    assert held == {
        "image": {"image": 48},
        "a.conv": {"image": 48, "wide": 48},
        "b.conv": {"wide": 48, "thin": 12},
        "up": {"wide": 48, "thin": 12 + 48},
        "c.conv": {"wide": 48, "thin": 48 + 48},
    }
    assert (peak_sram(plan).bytes, peak_sram(plan).layer) == (48 * 8 + 96 * 4, "c.conv")


def test_what_is_read_for_its_size_alone_is_not_held() -> None:
    """The image, which the logits are as large as; nor takes a border anything that is not there, or goes again."""
    for size, padded in (((8, 12), 96), ((7, 9), 96)):
        writer = Writer(3, size)
        pixels, space = size[0] * size[1], writer.space("a", 5, "width")
        image = writer.pad("pad", IMAGE, 4)
        y = writer.conv_norm_act("a", image, out=space, kernel=3, stride=2)
        y = writer.crop("crop", writer.upsample("up", y, like=image), like=IMAGE)
        held = [(each.node, dict(each.pixels)) for each in held_values(writer.plan("net", {"logits": y}))]
        first = [("image", {"image": pixels})] + [("pad", {"image": pixels + padded})] * (pixels < padded)
        rest = [("a.conv", {"image": padded, "a": padded // 4}), ("up", {"a": padded // 4 + padded})]
        assert held == first + rest


def test_a_depthwise_layer_of_stride_one_overwrites_its_input_if_nobody_else_reads_it() -> None:
    writer = Writer(3, (8, 8))
    space = writer.space("a", 16, "width")
    y = writer.conv_norm_act("a", IMAGE, out=space)
    z = writer.conv_norm_act("b", y, out=space, kernel=3, depthwise=True)
    alone = writer.plan("net", {"logits": z})
    assert [peak_sram(alone, in_place).bytes for in_place in (False, True)] == [2 * 16 * 64, 19 * 64]
    added = writer.add("add", y, z)
    read_twice = writer.plan("net", {"logits": added})
    assert peak_sram(read_twice, True).bytes == 2 * 16 * 64


def test_flash_holds_weights_in_the_operators_bits_and_vectors_in_32() -> None:
    plan = plan_of("resnet20")
    weights = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    weights += 16 * 32 + 32 * 64  # shortcuts
    vectors = 2 * (7 * 16 + 7 * 32 + 7 * 64 + 7)  # a batch-norm on the logits, and no bias
    classifier = 64 * 7
    shift = operators.settings_from({"name": "shift"})
    assert flash_bytes(plan, uniform(plan, MULT, (), MULT)) == weights + classifier + 4 * vectors
    bits = 5 * (weights - 9 * 3 * 16) + 8 * (9 * 3 * 16 + classifier)
    assert flash_bytes(plan, uniform(plan, shift, ("stem", "classifier"), MULT)) == -(-bits // 8) + 4 * vectors
