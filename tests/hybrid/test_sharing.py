"""Remapped weights in hybrid layers: what the operator reads, what is exported, and how updates come back."""

import pytest
import torch
from tests.build import REMAPS, drawn

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.reading import MULTIPLIED
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import Sharing, sharing_from_config
from shiftaddaug.hybrid.widths import Widths

SOURCE, OUT = Widths(3, 5), Widths(4, 6)


def layer(op: str, sharing: Sharing) -> HybridConv2d:
    return drawn(HybridConv2d(operators.build(op), SOURCE, OUT, 3, sharing=sharing))


@pytest.mark.parametrize("op", REMAPS)
def test_the_operator_reads_the_remapped_target_and_that_is_exported(op: str) -> None:
    made, operator = layer(op, Sharing(REMAPS[op])), operators.build(op)
    stored = made.weight[:4, :3].detach()
    wanted = operator.effective_weight({"weight": REMAPS[op](stored)})
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(made.operator_weight(), wanted)
    assert torch.equal(made(x), operator.conv2d(x, wanted, 1, 1))
    assert not torch.equal(wanted, operator.effective_weight({"weight": stored}))


@pytest.mark.parametrize("op", REMAPS)
def test_a_multiplicative_pass_reads_the_stored_weight(op: str) -> None:
    made = layer(op, Sharing(REMAPS[op]))
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(made(x, None, MULTIPLIED), torch.nn.functional.conv2d(x, made.weight[:4, :3], None, 1, 1))


def test_fresh_add_weights_have_the_priors_spread() -> None:
    made = HybridConv2d(operators.build("add"), Widths(64, 64), Widths(64, 64), 3, sharing=Sharing(REMAPS["add"]))
    made.init_target()
    assert made.operator_weight().std().item() == pytest.approx(5.5 * 2**0.5, rel=0.03)


@pytest.mark.parametrize("op", REMAPS)
@pytest.mark.parametrize("gradient", ["inverse", "chain"])
def test_updates_come_back_through_the_slope(op: str, gradient: str) -> None:
    made, operator, remap = layer(op, Sharing(REMAPS[op], gradient)), operators.build(op), REMAPS[op]  # type: ignore[arg-type]
    made(torch.randn(2, 3, 5, 5)).square().sum().backward()
    assert made.weight.grad is not None
    received = made.weight.grad[:4, :3].clone()  # as if R were the identity
    slope = remap.slope(made.weight[:4, :3])
    made.rescale_gradients()
    wanted = operator.rescale_gradient("weight", made.weight, received) / slope
    if gradient == "chain":
        wanted = operator.rescale_gradient("weight", made.weight, received * slope)
    assert torch.allclose(made.weight.grad[:4, :3], wanted, rtol=1e-6)
    assert made.weight.grad[4:].abs().sum() == 0


def test_the_inverse_slope_makes_the_step_the_operator_wanted() -> None:
    """A small step of the stored weight moves R(W) by what the operator's own step is."""
    made, remap = layer("add", Sharing(REMAPS["add"])), REMAPS["add"]
    made(torch.randn(8, 3, 5, 5)).sum().backward()
    assert made.weight.grad is not None
    wanted = operators.build("add").rescale_gradient("weight", made.weight, made.weight.grad[:4, :3].clone())
    made.rescale_gradients()
    stored = made.weight[:4, :3].detach().double()
    mean, std = stored.mean(), stored.std(unbiased=False)
    step = 1e-6 * made.weight.grad[:4, :3].double()
    moved = remap._of_normal((stored + step - mean) / std) - remap._of_normal((stored - mean) / std)
    assert torch.allclose(moved / 1e-6, wanted.double(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("op", REMAPS)
def test_the_operator_may_compute_the_augmented_part(op: str) -> None:
    made, operator = layer(op, Sharing(multiplicative_augmentation=False)), operators.build(op)
    x = torch.randn(2, 5, 6, 6)
    y = made(x, 6)
    assert torch.equal(y, operator.conv2d(x, operator.effective_weight({"weight": made.weight}), 1, 1))
    y.square().sum().backward()
    made.rescale_gradients()
    assert made.weight.grad is not None
    if op == "add":  # every part has the root mean square that AdderNet's rule gives
        target, rest = (
            made.weight.grad[:4, :3],
            torch.cat([made.weight.grad[4:].flatten(), made.weight.grad[:4, 3:].flatten()]),
        )
        assert target.square().mean().sqrt() == pytest.approx(0.8, rel=1e-4)
        assert rest.square().mean().sqrt() == pytest.approx(0.8, rel=1e-4)


@pytest.mark.parametrize("op", REMAPS)
def test_around_the_target_r_is_the_targets(op: str) -> None:
    """Where the operator computes the augmented part: one R for the layer, its mean and spread those of the slice."""
    remap, operator = REMAPS[op], operators.build(op)
    made = layer(op, Sharing(remap, multiplicative_augmentation=False))
    stored = made.weight.detach().double()
    mean, std = stored[:4, :3].mean(), stored[:4, :3].std(correction=0)
    value = remap._of_normal((stored - mean) / std) * (std if remap.relative else 1)
    value = value + stored if remap.form == "residual" else value
    x = torch.randn(2, 5, 6, 6)
    wanted = operator.conv2d(x, operator.effective_weight({"weight": value.float()}), 1, 1)
    y = made(x, 6)
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    y.sum().backward()
    assert made.weight.grad is not None
    received = made.weight.grad.clone()
    made.rescale_gradients()
    slope = remap._slope_of_normal((stored - mean) / std) / (1 if remap.relative else std)
    slope = slope + 1 if remap.form == "residual" else slope
    rest = torch.ones_like(received, dtype=torch.bool)
    rest[:4, :3] = False
    update = operator.rescale_gradient("weight", made.weight, received[rest]) / slope[rest]
    torch.testing.assert_close(made.weight.grad[rest].double(), update.double(), rtol=1e-5, atol=1e-7)


def test_around_the_target_in_half_precision() -> None:
    made = layer("add", Sharing(REMAPS["add"], multiplicative_augmentation=False)).bfloat16()
    made(torch.randn(2, 5, 6, 6, dtype=torch.bfloat16), 6).sum().backward()
    made.rescale_gradients()
    assert made.weight.grad is not None and made.weight.grad.isfinite().all() and made.weight.grad[4:].abs().sum() > 0


class TestConfig:
    HETEROGENEOUS = {"name": "heterogeneous", "gradient": "chain", "remap_file": None}

    def test_by_operator(self) -> None:
        add, mult = operators.build("add"), operators.build("mult")
        sharing = sharing_from_config(self.HETEROGENEOUS)
        assert sharing.of(add) == Sharing(REMAPS["add"], "chain")
        assert sharing.of(operators.build("shift")) == Sharing(REMAPS["shift"], "chain")
        assert sharing.of(mult) == sharing.of(operators.build("shift_ps")) == Sharing()
        none = Sharing(multiplicative_augmentation=False)
        assert sharing_from_config({"name": "none"}, False) == none
        assert (none.of(add), none.of(mult)) == (none, Sharing())

    def test_constants_of_ones_own(self) -> None:
        constants = {"form": "residual", "laplace_scale": 0.2, "knots_x": [0, 1], "knots_y": [0, 2]}
        sharing = sharing_from_config(self.HETEROGENEOUS)
        wanted = Remap("residual", 0.2, knots_x=(0.0, 1.0), knots_y=(0.0, 2.0))
        assert sharing.of(operators.build("add", remap=constants)).remap == wanted
        assert sharing.of(operators.build("add", remap=None)).remap is None

    def test_mistakes(self) -> None:
        with pytest.raises(UserError, match=r"sharing.gradient=up: options: inverse, chain"):
            sharing_from_config(self.HETEROGENEOUS | {"gradient": "up"})
        with pytest.raises(UserError, match=r"sharing.remap_file=remap.yaml: was not read when the run began"):
            sharing_from_config(self.HETEROGENEOUS | {"remap_file": "remap.yaml"})
