"""The one training step: its losses against values worked out by hand, on a little supernet."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.build import REMAPS, widest
from tests.tasks.little import CLASSES, LR, SMOOTHING, assert_loss, cross_entropy, make_batch, make_task, record

from shiftaddaug.hybrid.kl import KlPenalty
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.nets.spec import SubnetSpec


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_loss_is_the_targets_plus_the_weighted_augmented_one(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(op, aug_weight=0.3, settings={"label_smoothing": SMOOTHING})
    task.augmented_spec = widest(task.net)
    logged = record(task, monkeypatch)
    images, labels = make_batch()
    loss = task.training_step((images, labels), 0)
    target = cross_entropy(task.net(images), labels, SMOOTHING)
    augmented = cross_entropy(task.net(images, task.augmented_spec), labels, SMOOTHING)
    assert abs(target.item() - augmented.item()) > 1e-3  # or a mistaken sum could pass
    assert_loss(loss, target + 0.3 * augmented)
    assert_loss(logged["train/loss"], target)
    assert_loss(logged["train/loss_aug"], augmented)
    assert not logged["train/loss"].requires_grad


def test_the_augmented_pass_teaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """+ w T^2 KL(softmax(augmented / T) || softmax(target / T)), the teacher without gradient."""
    task = make_task("shift", aug_weight=0.3, distill_weight=0.7, distill_temperature=2.0)
    task.augmented_spec = widest(task.net)
    logged = record(task, monkeypatch)
    images, labels = make_batch()
    loss = task.training_step((images, labels), 0)
    student, teacher = task.net(images), task.net(images, task.augmented_spec)
    p, q = (logits.double().div(2).softmax(1) for logits in (teacher.detach(), student))
    divergence = 4 * (p * (p.log() - q.log())).sum(1).mean()
    assert divergence > 1e-4
    wanted = cross_entropy(student, labels) + 0.3 * cross_entropy(teacher, labels) + 0.7 * divergence
    assert_loss(loss, wanted)
    parameters = list(task.net.parameters())
    gradients = (torch.autograd.grad(total, parameters) for total in (loss, wanted))
    for (name, _), one, other in zip(task.net.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
    torch.testing.assert_close(logged["train/loss_distill"].double(), divergence, rtol=1e-4, atol=0)


def test_a_penalty_of_the_layers_whose_operator_is_a_choice_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task("add", weight_penalty=KlPenalty(seed=5))
    logged = record(task, monkeypatch)
    images, labels = make_batch()
    loss = task.training_step((images, labels), 3)
    layers = task.net.hybrid_layers()
    assert {"stem.conv", "classifier"} < layers.keys()
    chosen = {name: layer for name, layer in layers.items() if name not in ("stem.conv", "classifier")}
    penalty = KlPenalty(seed=5)(chosen, task.net.operators(task.net.target_spec), 0, 3)
    assert penalty > 0.01
    assert_loss(loss, cross_entropy(task.net(images), labels) + penalty.double())
    assert_loss(logged["train/loss_penalty"], penalty.double())


def test_what_nothing_surrounds_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth augmentation alone, while the target still has all extra blocks: the augmented pass is the target's."""
    task = make_task("shift", extra_blocks=1)
    logged = record(task, monkeypatch)
    net, (images, labels) = task.net, make_batch()
    deep = replace(net.target_spec, skipped=frozenset())
    task.augmented_spec = replace(deep, augmented=True)
    task.target_spec = deep
    assert_loss(task.training_step((images, labels), 0), cross_entropy(net(images, deep), labels))
    assert "train/loss_aug" not in logged
    task.target_spec = net.target_spec
    wanted = cross_entropy(net(images), labels) + cross_entropy(net(images, deep), labels)
    assert_loss(task.training_step((images, labels), 0), wanted)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
@pytest.mark.slow
def test_a_compiled_target_pass_computes_the_same(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    tasks = [make_task(op, compile_backend=backend) for backend in (None, "aot_eager")]
    for task in tasks:
        record(task, monkeypatch)
        task.augmented_spec = widest(task.net)
        for seed in (1, 2):
            task.training_step(make_batch(seed), 0).backward()
    eager, compiled = tasks
    for (name, parameter), other in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None
        torch.testing.assert_close(other.grad, parameter.grad, rtol=0, atol=0, msg=name)
    for (name, buffer), other in zip(eager.named_buffers(), compiled.buffers(), strict=True):
        assert torch.equal(other, buffer), name


def test_only_the_final_targets_pass_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule's targets, and what is drawn around them, would be compiled again and again."""
    task = make_task("add", compile_backend="aot_eager")
    compiled: list[SubnetSpec] = []
    wanted = torch.randn(4, CLASSES, requires_grad=True)
    monkeypatch.setattr(task, "compiled_target_pass", lambda *_, **__: compiled.append(task.target_spec) or wanted)
    record(task, monkeypatch)
    final = task.net.target_spec
    for task.target_spec in (replace(final, multiplied=frozenset({"blocks.0.expand.conv"})), final):
        task.augmented_spec = widest(task.net)
        task.training_step(make_batch(), 0)
    assert compiled == [final]


def test_remapped_weights_and_slopes_are_computed_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    task, calls = make_task("add", sharing=Sharing(REMAPS["add"])), list[str]()
    values, slopes = Remap.values, Remap.slopes
    monkeypatch.setattr(Remap, "values", lambda *inputs: calls.append("values") or values(*inputs))
    monkeypatch.setattr(Remap, "slopes", lambda *inputs: calls.append("slopes") or slopes(*inputs))
    monkeypatch.setattr(task, "clip_gradients", lambda *_: None)
    record(task, monkeypatch)
    task.augmented_spec = widest(task.net)
    task.training_step(make_batch(), 0).backward()
    task.configure_gradient_clipping(SimpleNamespace())  # type: ignore[arg-type]
    assert calls == ["values", "slopes"]


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_without_augmented_spec_the_loss_is_the_targets_alone(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(op, aug_weight=0.3, settings={"label_smoothing": SMOOTHING})
    logged = record(task, monkeypatch)
    images, labels = make_batch()
    assert_loss(task.training_step((images, labels), 0), cross_entropy(task.net(images), labels, SMOOTHING))
    assert "train/loss_aug" not in logged


def test_the_target_is_trained_as_target_spec_says(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task("add")
    record(task, monkeypatch)
    images, labels = make_batch()
    task.target_spec = replace(task.net.target_spec, multiplied=frozenset(task.net.hybrid_layers()))
    wanted = cross_entropy(task.net(images, task.target_spec), labels)
    assert abs(wanted.item() - cross_entropy(task.net(images), labels).item()) > 1e-3
    assert_loss(task.training_step((images, labels), 0), wanted)


class TestMixup:
    @pytest.mark.parametrize("on", [{"mixup": 0.4}, {"cutmix": 1.0}])
    def test_both_losses_are_of_mixed_images_and_labels(
        self, on: dict[str, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from timm.data import Mixup

        task = make_task(aug_weight=0.3, settings={"label_smoothing": SMOOTHING, **on})
        task.augmented_spec = widest(task.net)
        record(task, monkeypatch)
        images, labels = make_batch()
        np.random.seed(5)  # noqa: NPY002 (timm draws from the legacy generator)
        loss = task.training_step((images, labels), 0)
        np.random.seed(5)  # noqa: NPY002
        mix = Mixup(on.get("mixup", 0.0), on.get("cutmix", 0.0), label_smoothing=0.0, num_classes=CLASSES)
        mixed, wanted = mix(images.clone(), labels)
        assert torch.equal(images, make_batch()[0])
        assert not torch.equal(mixed, images)
        target = cross_entropy(task.net(mixed), wanted, SMOOTHING)
        augmented = cross_entropy(task.net(mixed, task.augmented_spec), wanted, SMOOTHING)
        assert_loss(loss, target + 0.3 * augmented)

    def test_leaves_an_odd_batch_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = make_task(settings={"mixup": 0.4})
        record(task, monkeypatch)
        images, labels = make_batch(size=3)
        assert_loss(task.training_step((images, labels), 0), cross_entropy(task.net(images), labels))


def test_the_encoder_has_a_learning_rate_of_its_own() -> None:
    task, plain = make_task(encoder_lr_mult=0.1), make_task()
    names = {id(parameter): name for name, parameter in task.net.named_parameters()}
    groups = task.new_optimizer().param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (LR, 0.01), (LR, 0), (pytest.approx(0.1 * LR), 0.01), (pytest.approx(0.1 * LR), 0)
    ]  # fmt: skip
    parts = [{names[id(parameter)].split(".")[0] for parameter in group["params"]} for group in groups]
    assert parts == [{"head", "classifier"}, {"head", "classifier"}, {"stem", "blocks"}, {"stem", "blocks"}]
    assert [group["lr"] for group in plain.new_optimizer().param_groups] == [LR, LR]


def test_what_is_frozen_is_in_no_group() -> None:
    task = make_task()
    task.net.module("stem.conv").requires_grad_(False)
    held = {id(p) for group in task.new_optimizer().param_groups for p in group["params"]}
    assert held == {id(p) for name, p in task.net.named_parameters() if name != "stem.conv.weight"}
