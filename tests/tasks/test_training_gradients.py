"""What the optimiser is given: groups, rates, gradients clipped and rescaled."""

import copy
import math
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Literal

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from tests.build import widest
from tests.tasks.little import (
    LR,
    fit,
    make_batch,
    make_task,
    quiet_trainer,
)
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.tasks.evaluation import Batch
from shiftaddaug.tasks.schedule import cosine
from shiftaddaug.tasks.scheduler import ASKED, Scheduler
from shiftaddaug.tasks.training import Training

ETA = 0.8  # of the learning rate of add layers, shipped


class TestOptimizer:
    @pytest.mark.parametrize("op", ["add", "shift_ps"])
    def test_norms_and_biases_do_not_decay_and_nothing_is_left_out(self, op: str) -> None:
        widened = {} if op == "add" else {"width": 1.0, "expand": 1.0}  # shift_ps trains two tensors a layer
        task = make_task(op, **widened)
        trainer = SimpleNamespace(estimated_stepping_batches=20, max_epochs=4)
        task.trainer = trainer  # type: ignore[assignment]
        groups = task.configure_optimizers()["optimizer"].param_groups
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        assert sum(len(group["params"]) for group in groups) == len(decay) == len(list(task.net.parameters()))
        for name, parameter in task.net.named_parameters():
            exempt = ".norm." in name or name.endswith(("bias", ".shift", ".sign"))
            assert decay[id(parameter)] == (0.0 if exempt else 0.01), name

    def test_norms_and_biases_decay_if_so_wished(self) -> None:
        task = make_task("add", decay_norms=True)
        task.trainer = SimpleNamespace(estimated_stepping_batches=20, max_epochs=4)  # type: ignore[assignment]
        groups = task.configure_optimizers()["optimizer"].param_groups
        assert {id(p) for p in groups[0]["params"]} == {id(p) for p in task.net.parameters()}
        assert groups[0]["weight_decay"] == 0.01 and not groups[1]["params"]

    def test_learning_rate_of_every_step(self) -> None:
        task = make_task(scheduler=Scheduler(partial(cosine, **ASKED, min_lr=0.05), warmup_epochs=1.0))
        trainer = SimpleNamespace(estimated_stepping_batches=12, max_epochs=3)
        task.trainer = trainer  # type: ignore[assignment]
        configured = task.configure_optimizers()
        optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
        rates = []
        for _ in range(13):
            assert len({group["lr"] for group in optimizer.param_groups}) == 1
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule["scheduler"].step()
        assert schedule["interval"] == "step"
        assert rates[:5] == pytest.approx([LR / 4, LR / 2, LR * 3 / 4, LR, LR])
        assert rates[8] == pytest.approx((LR + 0.05) / 2)
        assert rates[12] == pytest.approx(0.05)


def is_add(name: str, net: Supernet) -> bool:
    layer = net.hybrid_layers().get(name.removesuffix(".weight"))
    return layer is not None and layer.operator.name == "add"


def updates(net: Supernet, gradients: dict[str, Tensor], clipped: float = 1.0) -> dict[str, Tensor]:
    """The gradients, times `clipped`, but eta sqrt(k) g / |g| in the target's slice of the add weights."""
    wanted = {name: gradient * clipped for name, gradient in gradients.items()}
    for name, gradient in wanted.items():
        if is_add(name, net):
            rows, columns = net.hybrid_layers()[name.removesuffix(".weight")].target_shape[:2]
            target = gradient[:rows, :columns]
            target.mul_(ETA * math.sqrt(target.numel()) / target.norm())
    return wanted


def step_gradients(task: Training, scale: float = 1.0, batch: Batch | None = None) -> dict[str, Tensor]:
    """Backpropagate both losses, times `scale`; the gradients by parameter name."""
    images, labels = batch or make_batch()
    images = images.to(task.net.classifier.weight.dtype)
    task.net.zero_grad()
    target, augmented = task.net(images), task.net(images, widest(task.net))
    (scale * (task.objective.loss(target, labels) + task.objective.loss(augmented, labels))).backward()
    return {name: p.grad.clone() for name, p in task.net.named_parameters() if p.grad is not None}


def clip(task: Training, value: float | None) -> dict[str, Tensor]:
    """The gradients after the task's hook."""
    trainer = quiet_trainer(gradient_clip_val=value, gradient_clip_algorithm=None if value is None else "norm")
    task.trainer = trainer
    optimizer = torch.optim.SGD(task.net.parameters(), lr=1.0)
    task.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
    return {name: p.grad for name, p in task.net.named_parameters() if p.grad is not None}


class TestGradients:
    @pytest.mark.parametrize("value", [None, 1e-3, 1e6])
    def test_are_clipped_and_then_rescaled_where_the_operator_adds(self, value: float | None) -> None:
        task = make_task("add")
        before = step_gradients(task)
        total = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in before.values()))
        assert 1e-3 < total < 1e6
        clipped = 1.0 if value is None or value > total else value / total
        after = clip(task, value)
        wanted = updates(task.net, before, clipped)
        assert after.keys() == wanted.keys()
        for name, gradient in after.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=2e-3, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")

    def test_of_add_weights_have_norm_eta_sqrt_k_in_the_targets_slice(self) -> None:
        task = make_task("add")
        step_gradients(task)
        after = clip(task, 1e-3)
        adding = [name for name in after if is_add(name, task.net)]
        assert len(adding) == 7  # two blocks of three, and the head
        for name in adding:
            rows, columns = task.net.hybrid_layers()[name.removesuffix(".weight")].target_shape[:2]
            target = after[name][:rows, :columns]
            assert target.norm().item() == pytest.approx(ETA * math.sqrt(target.numel()), rel=1e-5)

    @pytest.mark.parametrize("scale", [1e-4, 1000.0])
    def test_of_add_weights_do_not_depend_on_the_scale_of_the_loss(self, scale: float) -> None:
        task = make_task("add").double()  # float32 leaves few digits of the small gradients
        plain = step_gradients(task)
        for layer in task.net.hybrid_layers().values():
            layer.rescale_gradients()
        wanted = {name: p.grad.clone() for name, p in task.net.named_parameters() if p.grad is not None}
        scaled = step_gradients(task, scale)
        after = clip(task, None)
        for name, gradient in after.items():
            if is_add(name, task.net):
                rows, columns = task.net.hybrid_layers()[name.removesuffix(".weight")].target_shape[:2]
                target = wanted[name][:rows, :columns]
                torch.testing.assert_close(gradient[:rows, :columns], target, rtol=1e-6, atol=1e-9)
            else:
                assert torch.equal(gradient, scaled[name])
                torch.testing.assert_close(gradient, scale * plain[name], rtol=1e-6, atol=1e-9 * scale)

    def test_two_accumulated_batches_are_one_step_of_their_mean(self) -> None:
        """Rescaled once, after accumulation: two rescaled halves would be another direction."""
        task = make_task("add", optimizer=partial(torch.optim.SGD, lr=LR))
        task.augmented_spec = widest(task.net)
        batches = [make_batch(seed) for seed in (1, 2)]
        reference = copy.deepcopy(task)
        first, second = (step_gradients(reference, 0.5, batch) for batch in batches)
        wanted = updates(reference.net, {name: first[name] + second[name] for name in first})
        fit(task, batches, accumulate_grad_batches=2)
        for (name, after), before in zip(task.net.named_parameters(), reference.net.parameters(), strict=True):
            torch.testing.assert_close(after, before - LR * wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "fused", "precision", "refused"),
    [
        ("add", True, "16-mixed", True),
        ("add", False, "16-mixed", False),
        ("add", True, "bf16-mixed", False),
        ("shift", True, "16-mixed", False),
    ],
)
def test_a_fused_optimiser_under_loss_scaling_is_refused_where_gradients_are_normalised(
    op: str, fused: bool, precision: Literal["16-mixed", "bf16-mixed"], refused: bool
) -> None:
    """It would divide by the loss scale once nothing of the scale is left."""
    task = make_task(op, optimizer=partial(torch.optim.SGD, lr=LR, fused=fused))
    plugins = [MixedPrecision(precision, "cpu")]
    trainer = pl.Trainer(accelerator="cpu", plugins=plugins, logger=False, enable_checkpointing=False, max_steps=1)
    trainer.fit_loop.setup_data = lambda: None  # only asked how many steps there are
    task.trainer = trainer
    with pytest.raises(UserError, match=r"optim.optimizer.fused=true: divides") if refused else nullcontext():
        task.configure_optimizers()
