"""ShiftAddNAS' penalty against its published expression, written out in float64."""

import math

import numpy as np
import pytest
import torch

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.kl import KlPenalty, divergence, penalty_from_config
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.widths import Widths

CONFIG = {"name": "kl", "weight": 10.0, "laplace_scale": 2.0, "normal_std": 1.0, "seed": 3}
OPERATORS = {op: operators.build(op) for op in ("add", "mult", "shift")}


def layer(op: str) -> HybridConv2d:
    made = HybridConv2d(operators.build(op), Widths(3, 5), Widths(4, 6), 3)
    made.init_target()
    made.init_augmented()
    return made


def published(weight: torch.Tensor, sample: torch.Tensor) -> float:
    """Return F.kl_div(log_softmax(w, 0), softmax(s, 0), reduction="none").mean(), element by element."""
    w, s = (tensor.detach().double().numpy().ravel() for tensor in (weight, sample))
    q, p = np.exp(w - w.max()), np.exp(s - s.max())
    q, p = q / q.sum(), p / p.sum()
    return float(np.mean([pi * (math.log(pi) - math.log(qi)) for pi, qi in zip(p, q, strict=True)]))


def test_it_is_ten_times_the_sum_over_layers_of_the_target() -> None:
    torch.manual_seed(0)
    layers = {op: layer(op) for op in ("add", "mult", "shift")}
    penalty = penalty_from_config(CONFIG)
    assert penalty is not None
    count = 4 * 3 * 3 * 3
    samples = {
        "add": penalty.sample("laplace", count, 1, 7, "add"),
        "mult": penalty.sample("normal", count, 1, 7, "mult"),
    }
    wanted = 10 * sum(published(layers[name].weight[:4, :3], sample) for name, sample in samples.items())
    value = penalty(layers, OPERATORS, 1, 7)
    assert value.item() == pytest.approx(wanted, rel=1e-5)
    value.backward()
    gradient = layers["add"].weight.grad
    assert gradient is not None and layers["shift"].weight.grad is None
    assert gradient[:4, :3].abs().min() > 0 and gradient[4:].abs().sum() == 0  # what surrounds the target is left alone
    turned = 10 * published(layers["add"].weight[:4, :3], penalty.sample("normal", count, 1, 7, "add"))
    assert penalty({"add": layers["add"]}, {"add": OPERATORS["mult"]}, 1, 7).item() == pytest.approx(turned, rel=1e-5)


def test_its_gradient_is_the_difference_of_the_softmaxes() -> None:
    w = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sample = KlPenalty().sample("laplace", 40, 0, 0, "x")
    assert sample is not None
    (gradient,) = torch.autograd.grad(divergence(w, sample), w)
    torch.testing.assert_close(gradient, (w.softmax(0) - sample.double().softmax(0)).detach() / 40)


@pytest.mark.parametrize(
    ("prior", "moments"), [("laplace", (2.0, 8.0, 2.0 * math.log(2))), ("normal", (math.sqrt(2 / math.pi), 1, 0.6745))]
)
def test_samples_have_the_published_distributions(prior: str, moments: tuple[float, float, float]) -> None:
    """Mean magnitude, variance, median magnitude: of Laplace(0, 2) and of Normal(0, 1)."""
    s = KlPenalty().sample(prior, 200_000, 0, 0, "x")  # type: ignore[arg-type]
    assert s is not None and abs(s.mean()) < 0.03
    assert [s.abs().mean().item(), s.var().item(), s.abs().median().item()] == pytest.approx(list(moments), rel=0.02)


def test_samples_are_fresh_at_every_step_and_come_again_when_a_run_is_resumed() -> None:
    state = torch.random.get_rng_state()
    drawn = [KlPenalty(seed=s).sample("laplace", 9, *step) for s, step in ((0, (0, 0, "a")), (0, (0, 1, "a")))]
    drawn += [KlPenalty(seed=1).sample("laplace", 9, 0, 0, "a"), KlPenalty().sample("laplace", 9, 0, 0, "b")]
    assert len({tuple(sample.tolist()) for sample in drawn if sample is not None}) == 4
    again = KlPenalty().sample("laplace", 9, 0, 0, "a")
    assert again is not None and drawn[0] is not None and torch.equal(again, drawn[0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_has_no_prior_is_left_alone() -> None:
    layers = {op: layer(op) for op in ("mult", "shift")}
    alone = penalty_from_config(CONFIG | {"normal_std": None})
    assert alone is not None and alone(layers, OPERATORS, 0, 0).item() == 0
    assert penalty_from_config({"name": "none"}) is None


def test_half_precision_and_large_weights() -> None:
    sample = KlPenalty().sample("laplace", 30, 0, 0, "x")
    assert sample is not None
    w = 100 * torch.randn(30, generator=torch.Generator().manual_seed(0))
    assert divergence(w, sample).isfinite()
    assert torch.equal(divergence(w.half(), sample), divergence(w.half().float(), sample))


@pytest.mark.parametrize(("field", "value"), [("laplace_scale", 0), ("normal_std", math.nan), ("weight", -1)])
def test_mistakes(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"sharing\.{field}=.*: must be a .*number"):
        KlPenalty(**{field: value})
