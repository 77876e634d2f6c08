"""The writer: what follows from what, and what it refuses."""

from collections.abc import Callable

import pytest

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.writer import Writer


def writer(size: tuple[int, int] = (24, 40), output_stride: int | None = None) -> Writer:
    """An image, a stem of stride 2 (`x`, in space a), and a value of another space and stride (`y`, in b)."""
    made = Writer(3, size, output_stride)
    made.space("a", 4, "width")
    made.space("b", 6, "width")
    made.conv("x", "image", out="a", kernel=3, stride=2)
    made.conv("y", "x", out="b", stride=2)
    return made


def test_sizes_and_strides_follow() -> None:
    made = writer((23, 41))
    sizes = {name: node.size for name, node in made.nodes.items()}
    assert sizes == {"image": (23, 41), "x": (12, 21), "y": (6, 11)}
    assert [made.stride(name) for name in ("image", "x", "y")] == [1, 2, 4]
    made.upsample("up", "y", "x")
    made.pool("pooled", "y")
    assert (made.nodes["up"].size, made.stride("up"), made.nodes["up"].space) == ((12, 21), 2, "b")
    assert (made.nodes["pooled"].size, made.stride("pooled")) == ((1, 1), 0)
    made.pad("wide", "x", 8)
    made.crop("narrow", "wide", "y")
    assert (made.nodes["wide"].size, made.stride("wide"), made.nodes["wide"].space) == ((16, 24), 2, "a")
    assert (made.nodes["narrow"].size, made.stride("narrow")) == ((6, 11), 2)


def test_a_decoder_is_not_dilated_by_the_encoders_output_stride() -> None:
    made = writer(output_stride=2)
    made.conv("before", "y", out="b", kernel=3, dilation=3)
    made.end_encoder()
    made.conv("after", "y", out="b", kernel=3, stride=2, dilation=5)
    nodes = [made.nodes[name] for name in ("before", "after")]
    assert [(node.stride, node.dilation) for node in nodes] == [(1, 6), (2, 5)]


def test_parts_label_what_is_written_inside() -> None:
    made = writer()
    with made.part("head", "unit"):
        made.norm("n", "x")
        with made.part("other"):
            made.norm("o", "x")
        made.norm("p", "x")
    made.norm("q", "x")
    labels = [(made.nodes[name].group, made.nodes[name].unit) for name in "nopq"]
    assert labels == [("head", "unit"), ("other", ""), ("head", "unit"), ("", "")]


def test_a_concatenation_is_read_by_its_parts() -> None:
    made = writer()
    made.upsample("up", "y", "x")
    both = made.concat("both", "x", "up")
    assert (made.parts(both), made.width(both), made.space_of(both)) == (("x", "up"), 10, "a")
    made.conv("join", both, "x", out="b")
    assert made.nodes["join"].inputs == ("x", "up", "x")
    assert made.nodes[made.concat("more", both, "x")].inputs == ("x", "up", "x")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda made: made.norm("n", "both"), "reads the concatenation both"),
        (lambda made: made.add("n", "both", "both"), "reads the concatenation both"),
        (lambda made: made.act("n", "both", "relu"), "reads the concatenation both"),
        (lambda made: made.pool("n", "both"), "reads the concatenation both"),
        (lambda made: made.conv("n", "both", out="a", depthwise=True), "reads a, and writes a"),
        (lambda made: made.conv("n", "x", out="nobody"), "no such space: nobody"),
        (lambda made: made.conv("n", "x", "y", out="b"), "differ in size"),
        (lambda made: made.conv("n", "x", out="b", depthwise=True), "reads a, and writes b"),
        (lambda made: made.conv("n", "x", out="b", kernel=4), "kernel=4: must be odd"),
        (lambda made: made.conv("n", "x", out="b", stride=0), "stride=0: must be positive"),
        (lambda made: made.conv("x", "x", out="b"), "x: a name that is taken"),
        (lambda made: made.add("n", "x", "up"), "differ in space: a, b"),
        (lambda made: made.add("n", "up", "y"), "differ in size"),
        (lambda made: made.gate("n", "x", "x"), "differ in size"),
        (lambda made: made.crop("n", "y", "x"), "differ in size"),
        (lambda made: made.pad("n", "x", 0), "multiple=0: must be positive"),
        (lambda made: made.upsample("n", "y", "x", mode="cubic"), "mode=cubic: no such mode of kind upsample"),
        (lambda made: made.conv("n", "x", out="b", kernel=3, dilation=0), "dilation=0: must be positive"),
        (lambda made: made.linear("n", "x", out="b"), "reads pooled values"),
        (lambda made: made.act("n", "x", "gelu"), "no such activation"),
        (lambda made: made.space("a", 3, "width"), "a: a name that is taken"),
        (lambda made: made.space("c", 0, "width"), "must be positive"),
        (lambda made: made.space("c", 3, "hidden", "nobody"), "no such space before it: nobody"),
    ],
)
def test_what_does_not_fit_is_refused(write: Callable[[Writer], object], message: str) -> None:
    made = writer()
    made.upsample("up", "y", "x")
    made.concat("both", "x", "up")
    with pytest.raises(ValueError, match=message):
        write(made)


def test_an_output_stride_is_a_positive_number() -> None:
    with pytest.raises(ValueError, match="output_stride=0: must be positive"):
        Writer(3, (8, 8), output_stride=0)


def test_a_value_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(KeyError, match="nobody"):
        writer().norm("n", "nobody")


def bottlenecks(size: tuple[int, int], output_stride: int | None) -> Plan:
    """ResNet-50's spatial layers: a stem of stride 4, stages of 3, 4, 6 and 3 blocks."""
    made = Writer(3, size, output_stride)
    made.space("a", 4, "width")
    value = made.conv("pool", made.conv("stem", "image", out="a", kernel=7, stride=2), out="a", kernel=3, stride=2)
    for stage, depth in enumerate((3, 4, 6, 3)):
        for i in range(depth):
            name, stride = f"layer{stage + 1}.{i}", 2 if i == 0 and stage else 1
            y = made.conv(f"{name}.conv1", value, out="a")
            y = made.conv(f"{name}.conv3", made.conv(f"{name}.conv2", y, out="a", kernel=3, stride=stride), out="a")
            shortcut = value
            if i == 0:
                shortcut = made.conv(f"{name}.downsample.0", value, out="a", stride=stride)
            value = made.level(made.add(f"{name}.add", shortcut, y))
    return made.plan("resnet50", {"features": value})


@pytest.mark.parametrize(
    ("output_stride", "replaced"), [(None, [False] * 3), (16, [False, False, True]), (8, [False, True, True])]
)
def test_output_stride_gives_torchvisions_dilations(output_stride: int | None, replaced: list[bool]) -> None:
    from torch import nn
    from torchvision.models import resnet50

    theirs = {
        name: (module.stride[0], module.dilation[0])
        for name, module in resnet50(replace_stride_with_dilation=replaced).named_modules()
        if isinstance(module, nn.Conv2d) and name.startswith("layer")
    }
    plan = bottlenecks((64, 96), output_stride)
    ours = {node.name: (node.stride, node.dilation) for node in plan.layers() if node.name.startswith("layer")}
    assert ours == theirs
    assert plan.total_stride == (output_stride or 32)
    side = 64 // plan.total_stride
    assert plan.by_name[plan.outputs[0][1]].size == (side, side * 3 // 2)
    assert [level.stride for level in plan.levels] == [s for s in (4, 8, 16, 32) if s <= plan.total_stride]
    assert plan.levels[-1].node == "layer4.2.add"
