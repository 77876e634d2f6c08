"""ShiftAddNAS' learned transform against its published expression, and its gradients against finite differences."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tests.build import AUGS, drawn, images, make_supernet, unsettled
from tests.nets.subnets import make, random_spec
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.affine import AffineMap
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.sharing import Sharing, sharing_from_config
from shiftaddaug.hybrid.transfer import take_layer
from shiftaddaug.hybrid.weight import is_map
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.reorder import apply, permutations
from shiftaddaug.operators.mult.operator import Mult
from shiftaddaug.operators.settings import Arithmetic

AFFINE = Sharing(affine=AffineMap(7))


@dataclass(frozen=True)
class Turning(Mult):
    """A convolution that says it multiplies nothing, so that it takes part, and whose gradient is the derivative."""

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic({"add": 1})


def layer(sharing: Sharing, op: operators.base.Operator | None = None, kernel: int = 3) -> HybridConv2d:
    made = HybridConv2d(op or Turning(), Widths(4, 6), Widths(3, 5), kernel, sharing=sharing).double()
    drawn(made)
    torch.nn.init.normal_(made.factors)
    return made


def published(weight: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the sum over pieces of w a_i [w in piece i], as ShiftAddNAS' code has it; the largest weight becomes 0."""
    low, high, count = weight.min(), weight.max(), len(factors)
    new = np.zeros_like(weight)
    for i, factor in enumerate(factors):
        first, last = (low + k * (high - low) / count for k in (i, i + 1))
        new += weight * factor * ((weight >= first) & (weight < last))
    return new


def test_it_is_the_published_map_but_for_the_largest_weight() -> None:
    torch.manual_seed(0)
    weight, factors = torch.randn(500, dtype=torch.float64), torch.randn(100, dtype=torch.float64)
    wanted = torch.from_numpy(published(weight.numpy(), factors.numpy()))
    largest = weight.argmax()
    assert wanted[largest] == 0
    wanted[largest] = weight[largest] * factors[-1]
    torch.testing.assert_close(AffineMap().read(weight, factors), wanted, rtol=1e-12, atol=0)
    equal = torch.full((3,), 0.5)
    assert torch.equal(AffineMap(4).read(equal, torch.tensor([2.0, 3.0, 4.0, 5.0])), torch.full((3,), 1.0))


@pytest.mark.parametrize("same", [False, True])
def test_the_chain_rule_is_that_of_finite_differences(same: bool) -> None:
    """Of factors and stored weights, in a pass that is wider than the target, and with the operator beside it, too."""
    made = layer(replace(AFFINE, gradient="chain", multiplicative_augmentation=not same))
    x, direction = torch.randn(2, 6, 5, 5).double(), torch.randn(2, 5, 5, 5).double()

    def loss() -> Tensor:
        return (made(x, 5) * direction).sum()

    loss().backward()
    made.rescale_gradients()
    with torch.no_grad():
        for tensor in (made.factors, made.weight):
            flat, gradient, step = tensor.view(-1), tensor.grad.view(-1), 1e-6  # type: ignore[union-attr]
            for i in range(0, len(flat), 3):
                before = flat[i].item()
                flat[i] = before + step
                more = loss()
                flat[i] = before - step
                slope = (more - loss()) / (2 * step)
                flat[i] = before
                if not _moves_pieces(made, i, tensor):
                    assert float(gradient[i]) == pytest.approx(float(slope), rel=1e-5, abs=1e-6)


def _moves_pieces(made: HybridConv2d, i: int, tensor: Tensor) -> bool:
    """Whether an element is an end of the range, whose pieces have no gradient."""
    target = made.target_weight()
    return tensor is made.weight and bool(tensor.view(-1)[i] in (target.min(), target.max()))


@pytest.mark.parametrize("gradient", ["inverse", "chain"])
def test_an_adders_update_is_of_what_it_reads(gradient: str) -> None:
    made = layer(replace(AFFINE, gradient=gradient), operators.build("add"))
    made(torch.randn(2, 4, 5, 5).double()).square().sum().backward()
    raw = made.weight.grad[:3, :4].clone()  # type: ignore[index]
    made.rescale_gradients()
    wanted = made.operator.rescale_gradient("weight", raw, raw)
    slope = AffineMap(7).slope(made.target_weight(), made.factors)
    converted = wanted * slope if gradient == "chain" else wanted / slope
    assert made.weight.grad is not None and made.factors.grad is not None
    torch.testing.assert_close(made.weight.grad[:3, :4], converted)
    assert made.weight.grad[3:].count_nonzero() == made.weight.grad[:, 4:].count_nonzero() == 0
    piece = AffineMap(7).piece(made.target_weight())
    sums = [float((made.target_weight() * wanted)[piece == i].sum()) for i in range(7)]
    assert made.factors.grad.tolist() == pytest.approx(sums)


@pytest.mark.parametrize("op", ["add", "shift"])
@pytest.mark.parametrize("widest", [False, True])
def test_it_begins_in_the_operators_own_scale_or_at_random(op: str, widest: bool) -> None:
    net = make_supernet("mbv2_micro", op, **AUGS["expand"], sharing=AFFINE, init_widest=widest)
    alone = make_supernet("mbv2_micro", op, **AUGS["expand"], init_widest=widest)
    for name, made in net.hybrid_layers().items():
        if made.sharing.converts:
            own = alone.hybrid_layers()[name].target_weight().std()
            read = made.read(made.target_weight()).std()
            assert float(read.detach()) == pytest.approx(float(own), rel=0.5 if widest else 0.25), name
    normal = make_supernet("mbv2_micro", op, sharing=Sharing(affine=AffineMap(100, "normal")))
    factors = torch.cat([p.detach() for name, p in normal.named_parameters() if is_map(name)])
    assert len(factors) > 1000 and abs(factors.mean()) < 0.1 and abs(factors.std() - 1) < 0.1


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("op", ["add", "shift"])
def test_what_is_extracted_is_exact_and_holds_no_factors(op: str, same: bool) -> None:
    sharing = replace(AFFINE, multiplicative_augmentation=not same)
    net = make("mbv3_w035", op, sharing, extra_blocks=1)
    for seed in range(3):
        spec = random_spec(net, seed, widest=float(same))
        part = extract(net, spec).net
        assert torch.equal(part(images()), net(images(), spec))
        assert not any(is_map(name) for name in part.state_dict())
    layers, turned = net.hybrid_layers(), "blocks.2.expand.conv"
    multiplied = replace(net.target_spec, multiplied=frozenset(layers))
    assert torch.equal(extract(net, multiplied).net.state_dict()[f"{turned}.weight"], layers[turned].target_weight())


def test_a_reorder_leaves_the_factors_and_moves_what_is_read() -> None:
    net = unsettled(make_supernet("mbv2_micro", "add", **AUGS["expand"], sharing=AFFINE))
    before = {name: p.clone() for name, p in net.named_parameters() if is_map(name)}
    orders = permutations(net)
    apply(orders, net)
    assert any((order != torch.arange(len(order))).any() for order in orders.values())
    assert all(torch.equal(net.get_parameter(name), value) for name, value in before.items())


def test_a_layer_takes_over_another_ones_factors() -> None:
    ours, theirs = layer(AFFINE, operators.build("add")), layer(AFFINE, operators.build("add"))
    torch.nn.init.normal_(theirs.weight)
    torch.nn.init.normal_(theirs.factors)
    take_layer(ours, theirs)
    assert torch.equal(ours.factors, theirs.factors) and torch.equal(ours.operator_weight(), theirs.operator_weight())
    plain = HybridConv2d(operators.build("add"), Widths(4, 6), Widths(3, 5), 3).double()
    take_layer(plain, theirs)
    assert torch.equal(plain.target_weight(), theirs.operator_weight())


def test_half_precision() -> None:
    made = layer(AFFINE, operators.build("add")).bfloat16()
    made(torch.randn(2, 4, 5, 5).bfloat16()).float().square().sum().backward()
    made.rescale_gradients()
    assert made.factors.grad is not None and made.factors.grad.isfinite().all()
    assert made.operator_weight().dtype == torch.bfloat16


def test_what_it_cannot_be_had_with() -> None:
    with pytest.raises(UserError, match=r"^kernel_transform=true: op=shift reads its weight through T; options: false"):
        make("mcunet", "shift", AFFINE, kernel_transform=True)
    with pytest.raises(UserError, match=r"^alternatives: add: sharing=affine trains factors .* options: sharing=none"):
        make("mbv2_micro", "shift", AFFINE, alternatives={"add": operators.build("add")})
    net = make("mbv2_micro", "add", AFFINE)
    with pytest.raises(ValueError, match=r"^blends: head.conv: reads its weight through factors of sharing=affine"):
        net.run(replace(net.target_spec, blends=(("head.conv", 0.5),)))


def test_of_a_configuration() -> None:
    config = {"name": "affine", "pieces": 9, "start": "normal", "gradient": "chain"}
    assert sharing_from_config(config) == Sharing(None, "chain", True, AffineMap(9, "normal"))
