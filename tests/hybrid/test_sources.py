"""Layers of several sources: they compute what the layer of the concatenation computes."""

import pytest
import torch
from tests.build import REMAPS, drawn
from torch import Tensor

from shiftaddaug.hybrid.layers import HybridConv2d, HybridLinear
from shiftaddaug.hybrid.reading import BY_OPERATOR, MULTIPLIED, Reading
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.hybrid.sources import active_columns, active_part, natural_order, positions, total
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators.base import Operator

TOLERANCE = 1e-12  # float64, relative to the largest value

SOURCES, OUT = (Widths(5, 9), Widths(3, 8)), Widths(4, 7)
WIDTHS = [(5, 3), (7, 3), (5, 4), (7, 4), (9, 8), (9, 3)]

SHARINGS = {
    "plain": PLAIN,
    "remapped": Sharing(REMAPS["add"]),
    "chain": Sharing(REMAPS["shift"], gradient="chain"),
    "same": Sharing(multiplicative_augmentation=False),
    "same-remapped": Sharing(REMAPS["add"], multiplicative_augmentation=False),
}


def pair(operator: Operator, sharing: Sharing, kernel: int, stride: int) -> tuple[HybridConv2d, HybridConv2d]:
    """A layer of two sources, and one of their concatenation in the layout's order, with the same weight."""
    two, one = (
        HybridConv2d(operator, source, OUT, kernel, stride, bias=True, sharing=sharing).double()
        for source in (SOURCES, total(SOURCES))
    )
    one.load_state_dict(drawn(two).state_dict())
    return two, one


def inputs(widths: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, width, 7, 5) for width in widths)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def laid_out(xs: list[Tensor]) -> Tensor:
    """[t1 t2 | a1 a2], by plain slices."""
    targets = [x[:, : source.target] for x, source in zip(xs, SOURCES, strict=True)]
    return torch.cat([*targets, *(x[:, source.target :] for x, source in zip(xs, SOURCES, strict=True))], 1)


def columns(widths: tuple[int, ...]) -> list[int]:
    """Of the whole weight, those that read the active channels, in the layout's order; by hand."""
    first, second = widths
    return [*range(8), *range(8, 8 + first - 5), *range(12, 12 + second - 3)]


def close(ours: Tensor, wanted: Tensor) -> None:
    scale = float(wanted.detach().abs().max()) or 1.0
    torch.testing.assert_close(ours, wanted, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_two_sources_equal_the_layer_on_their_concatenation(
    operator: Operator, sharing: str, kernel: int, stride: int
) -> None:
    """In every sub-network: the target's channels, some more of one source or of both, or all."""
    for widths, out_channels in zip(WIDTHS, (4, 6, 7, 4, 7, 6), strict=True):
        assert_two_equal_one(operator, SHARINGS[sharing], kernel, stride, widths, out_channels)


def assert_two_equal_one(
    operator: Operator, sharing: Sharing, kernel: int, stride: int, widths: tuple[int, int], out_channels: int
) -> None:
    """Outputs, gradients of inputs and weight, and the update that the operator publishes."""
    two, one = pair(operator, sharing, kernel, stride)
    with torch.no_grad():  # the other layer holds the active columns, and others that it must not read, behind
        chosen = columns(widths)
        rest = [i for i in range(17) if i not in chosen]
        one.weight.copy_(two.weight[:, chosen + rest])
    xs, others = inputs(widths), inputs(widths)
    y, wanted = two(xs, out_channels), one(laid_out(others), out_channels)
    close(y, wanted)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (y * weights).sum().backward()
    (wanted * weights).sum().backward()
    for x, other in zip(xs, others, strict=True):
        assert x.grad is not None and other.grad is not None
        close(x.grad, other.grad)
    for _ in range(2):  # as backward left them, then as the operator publishes them
        ours, theirs = two.weight.grad, one.weight.grad
        assert ours is not None and theirs is not None
        close(ours[:, chosen + rest], theirs)
        two.rescale_gradients()
        one.rescale_gradients()


@pytest.mark.parametrize("reading", [BY_OPERATOR, MULTIPLIED], ids=["by_operator", "multiplied"])
def test_one_source_in_a_list_is_the_layer_to_the_bit(operator: Operator, reading: Reading) -> None:
    for width in (5, 7, 9):
        one, other = (HybridConv2d(operator, source, OUT, 3) for source in (SOURCES[:1], SOURCES[0]))
        other.load_state_dict(drawn(one).state_dict())
        x = torch.randn(2, width, 7, 5)
        outputs = [one([x], 6, reading), other(x, 6, reading)]
        assert torch.equal(*outputs)
        for y in outputs:
            y.square().sum().backward()
        assert torch.equal(one.weight.grad, other.weight.grad)


@torch.no_grad()
def test_multiplied_it_is_the_convolution_in_the_order_of_the_concatenation(operator: Operator) -> None:
    """To the bit, so that an extracted sub-network of linear layers is exact."""
    two, _ = pair(operator, PLAIN, 3, 1)
    two.weight.copy_(two.weight.abs().log2().round().exp2())
    for widths in WIDTHS:
        xs = inputs(widths)
        natural = [positions(SOURCES, i)[:width] for i, width in enumerate(widths)]
        weight = two.weight[:7, torch.cat(natural)].contiguous()
        wanted = torch.nn.functional.conv2d(torch.cat(xs, 1), weight, None, 1, 1) + two.bias.view(1, -1, 1, 1)
        assert torch.equal(two(xs, 7, MULTIPLIED), wanted), widths


def test_linear_layers_take_several_sources(operator: Operator) -> None:
    two, one = (HybridLinear(operator, source, OUT).double() for source in (SOURCES, total(SOURCES)))
    one.load_state_dict(drawn(two).state_dict())
    xs = [x.mean((2, 3)) for x in inputs((9, 8))]
    close(two(xs, 6), one(laid_out(xs), 6))


@pytest.mark.parametrize(("dilation", "depthwise"), [(1, False), (2, True), (3, False)])
def test_dilated_layers_keep_the_size(operator: Operator, dilation: int, depthwise: bool) -> None:
    layer = drawn(HybridConv2d(operator, SOURCES[0], SOURCES[0], 3, depthwise=depthwise, dilation=dilation))
    x = torch.randn(2, 5, 9, 8)
    effective = operator.effective_weight({"weight": layer.weight[:5, :5].contiguous()})
    wanted = operator.conv2d(x, effective, 1, dilation, dilation, 5 if depthwise else 1)
    assert wanted.shape == x.shape
    assert torch.equal(layer(x), wanted)


def test_where_the_columns_of_each_source_lie() -> None:
    assert positions(SOURCES, 0).tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert positions(SOURCES, 1).tolist() == [5, 6, 7, 12, 13, 14, 15, 16]
    assert total(SOURCES) == Widths(8, 17)


def test_targets_alone_copy_no_weight() -> None:
    weight, active = torch.randn(7, 17), [active_part(source, source.target) for source in SOURCES]
    assert active_columns(weight, SOURCES, active) is weight
    assert natural_order(active) is None
