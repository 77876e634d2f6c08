"""optim=radam trains shift_ps as DeepShift does: its RAdam, decay, penalty and clamp, written out in float64."""

import math
from types import SimpleNamespace
from typing import Any

import torch
from hydra.utils import instantiate
from tests.configs.test_configs import composed_once
from tests.tasks.little import CLASSES, SIDE, TABLE, classification, cross_entropy, make_batch, record
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.nets import own_terms
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.tasks.training import Training


class PublishedRAdam:
    """RAdam of DeepShift's code for one tensor: decay is decoupled, the first steps are those of momentum."""

    def __init__(self, lr: float, decay: float) -> None:
        self.lr, self.decay, self.steps = lr, decay, 0
        self.mean: Any = 0.0
        self.square: Any = 0.0

    def step(self, p: Tensor, g: Tensor) -> Tensor:
        self.steps += 1
        t, b1, b2 = self.steps, 0.9, 0.999
        self.mean, self.square = b1 * self.mean + (1 - b1) * g, b2 * self.square + (1 - b2) * g * g
        most = 2 / (1 - b2) - 1
        length = most - 2 * t * b2**t / (1 - b2**t)
        p = p - self.decay * self.lr * p
        if length < 5:
            return p - self.lr / (1 - b1**t) * self.mean
        factor = (1 - b2**t) * (length - 4) / (most - 4) * (length - 2) / length * most / (most - 2)
        return p - self.lr * math.sqrt(factor) / (1 - b1**t) * self.mean / (self.square.sqrt() + 1e-8)


def make() -> tuple[Training, torch.optim.Optimizer]:
    torch.manual_seed(0)
    cfg = composed_once("op=shift_ps", "aug=none")
    plan = plan_net(TABLE, CLASSES, 1, SIDE)
    operator = operators.from_config(dict(cfg.op))
    net = build_supernet(plan, assign(plan, operator, ["stem"])).double()
    task = Training(net, classification(CLASSES), instantiate(cfg.optim.optimizer), decay_norms=cfg.optim.decay_norms)
    task.trainer = SimpleNamespace(estimated_stepping_batches=20, max_epochs=4)  # type: ignore[assignment]
    optimizer: torch.optim.Optimizer = task.configure_optimizers()["optimizer"]
    task._trainer = None
    return task, optimizer


def test_ten_steps_are_the_published_ones() -> None:
    task, optimizer = make()
    parameters = dict(task.net.named_parameters())
    own = {name for name in parameters if name.endswith((".shift", ".sign"))}
    assert 4 < len(own) < len(parameters)
    theirs = {name: PublishedRAdam(0.01, 0.0 if name in own else 1e-4) for name in parameters}
    wanted = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    generator = torch.Generator().manual_seed(1)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for _ in range(10):
        for name, parameter in parameters.items():
            gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = gradient
            wanted[name] = theirs[name].step(wanted[name], gradient)
            if name.endswith(".shift"):
                wanted[name] = wanted[name].clamp(-14, 0)
        optimizer.step()
        own_terms.project(task.net)
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter.detach(), wanted[name], rtol=1e-9, atol=1e-12)


def test_the_loss_has_the_published_penalty(monkeypatch: Any) -> None:
    task, _ = make()
    record(task, monkeypatch)
    images, labels = make_batch()
    loss = task.training_step((images, labels), 0)
    shifts = [p.detach() for name, p in task.net.named_parameters() if name.endswith(".shift")]
    penalty = 1e-4 / 2 * sum(float(((2.0**shift) ** 2).sum()) for shift in shifts)
    assert penalty > 1e-4
    torch.testing.assert_close(loss.double(), cross_entropy(task.net(images.double()), labels) + penalty)
