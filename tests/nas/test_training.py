"""The training step of a searched supernet, and the score of what inherits its weights: against values by hand."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from tests.build import assert_same_state, make_supernet, unsettled
from tests.nas.test_space import TABLE, largest, space
from tests.tasks.little import classification, fit, record
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.nas.inherited import Inherited
from shiftaddaug.nas.space import Choices
from shiftaddaug.nas.training import SupernetTraining
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.spec import SubnetSpec

PLAN = largest(space())
CHOICES = Choices(PLAN, space(), TABLE["divisor"])
CLASSES = 5


def supernet(**arguments: Any) -> Any:
    alternatives = {name: operators.build(name) for name in ("shift", "add")}
    return make_supernet(PLAN, "mult", [], alternatives=alternatives, **arguments)


def task(**arguments: Any) -> SupernetTraining:
    sgd = partial(torch.optim.SGD, lr=0.1)
    return SupernetTraining(supernet(), classification(CLASSES), **{"optimizer": sgd, **arguments})


def batch(size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 16, 16, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def specs() -> list[SubnetSpec]:
    small, middle = (replace(CHOICES.spec(point, operates=False), augmented=True) for point in (
        CHOICES.smallest(), {**CHOICES.largest(), "depth.blocks.0": 2, "kernel.blocks.1": 3},
    ))  # fmt: skip
    return [CHOICES.spec(CHOICES.largest(), operates=False), small, middle]


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    return (logits.double() / temperature).log_softmax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -log_softmax(logits).gather(1, labels[:, None]).mean()


def test_the_largest_learns_from_labels_and_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(distill_weight=0.7, distill_temperature=2.0)
    logged, made.specs = record(made, monkeypatch), specs()
    images, labels = batch()
    loss = made.training_step((images, labels), 0)
    outputs = [made.net(images, spec) for spec in made.specs]
    p = log_softmax(outputs[0].detach(), 2.0)
    taught = [4 * (p.exp() * (p - log_softmax(each, 2.0))).sum(1).mean() for each in outputs[1:]]
    assert min(map(float, taught)) > 1e-4
    wanted = cross_entropy(outputs[0], labels) + 0.7 * sum(taught)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=0)
    parameters = list(made.net.parameters())
    gradients = (torch.autograd.grad(total, parameters, allow_unused=True) for total in (loss, wanted))
    for (name, _), one, other in zip(made.net.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
    torch.testing.assert_close(logged["train/loss_subnets"].double(), 0.7 * sum(taught) / 2, rtol=1e-4, atol=0)


def test_without_distillation_all_learn_from_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    made = task()
    record(made, monkeypatch)
    made.specs = specs()
    images, labels = batch()
    wanted = sum(cross_entropy(made.net(images, spec), labels) for spec in made.specs)
    torch.testing.assert_close(made.training_step((images, labels), 0).double(), wanted, rtol=1e-5, atol=0)


def test_gradients_of_drawn_operators_are_turned_into_their_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdderNet's: the norm of an add layer's update is eta sqrt(k), whatever the loss."""
    seen: list[tuple[SubnetSpec, ...]] = []
    made = task()
    adds = replace(made.net.target_spec, operators=(("blocks.1.expand.conv", "add"),))
    made.specs = [adds, replace(adds, augmented=True)]
    monkeypatch.setattr(made.net, "rescale_gradients", lambda *passes: seen.append(passes))
    fit(made, [batch()])
    assert seen == [tuple(made.specs)]


def test_running_statistics_are_the_largest_networks_alone() -> None:
    made = task()
    made.specs = specs()
    alone = task()
    for each in (made, alone):
        fit(each, [batch()])
    statistics = (dict(each.net.named_buffers()) for each in (made, alone))
    for (name, one), other in zip(next(statistics).items(), next(statistics).values(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def inherited(net: Any, calibration: int = 2) -> Inherited:
    images = [batch(8, seed)[0] for seed in range(10, 10 + calibration)]
    return Inherited(net, classification(CLASSES), images, [batch(16, 20), batch(16, 21)])


@pytest.mark.parametrize("operator", ["mult", "shift", "add"])
def test_the_score_is_the_accuracy_with_statistics_measured_anew(operator: str) -> None:
    net = unsettled(supernet())
    point = {**CHOICES.largest(), "depth.blocks.0": 2, "kernel.blocks.0": 3, "expand.blocks.3": 2, "width.stem": 0.5}
    point |= {name: operator for name in point if name.startswith("operator.")}
    spec = CHOICES.spec(point)
    before = deepcopy(net)
    score = inherited(net)(spec)
    assert_same_state(net, before)
    assert (net.training, score) == (False, inherited(net)(spec))

    plain = extract(net, spec).net.train()
    norms = [each for each in plain.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for count, seed in enumerate((10, 11), start=1):
        for norm in norms:
            norm.momentum = 1 / count
        plain(batch(8, seed)[0])
    plain.eval()
    right = sum(int((plain(batch(16, s)[0]).argmax(1) == batch(16, s)[1]).sum()) for s in (20, 21))
    assert score == pytest.approx(right / 32)
