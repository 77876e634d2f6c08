"""The classification task: losses, gradients and metrics against values worked out by hand, on a little supernet."""

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.plugins import MixedPrecision
from tests.commands.running import run_little
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.report.results import read_metrics
from shiftaddaug.tasks.classification import Batch, ClassificationEvaluation, ClassificationTask

TABLE: dict[str, Any] = {
    "name": "little",
    "divisor": 2,
    "stem": {"channels": 4},
    "stages": [{"block": "inverted_bottleneck", "channels": 4, "expand": 2, "depth": 2}],
    "head": {"channels": 8},
}
CLASSES, SIDE = 6, 8
LR, ETA, SMOOTHING = 0.5, 0.8, 0.1


def make_task(
    op: str = "mult", sharing: Sharing = PLAIN, extra_blocks: int = 0, **arguments: Any
) -> ClassificationTask:
    """A supernet of twice the width and three times the hidden width; stem and classifier multiply."""
    torch.manual_seed(0)
    plan = plan_net(TABLE, CLASSES, 1, SIDE)
    multiplied, widths, expands = ["stem", "classifier"], (1.0, 2.0), (1.0, 3.0)
    net = build_supernet(
        plan, operators.build(op), multiplied, widths, expands, 2, extra_blocks=extra_blocks, sharing=sharing
    )
    sgd = partial(torch.optim.SGD, lr=LR, weight_decay=0.01)
    return ClassificationTask(net, CLASSES, **{"optimizer": sgd, **arguments})


def widest(net: Supernet) -> SubnetSpec:
    return SubnetSpec(net.widening.max_channels(), augmented=True)


def make_batch(seed: int = 1, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 1, SIDE, SIDE, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def cross_entropy(logits: Tensor, wanted: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean of -sum p log q, p the labels mixed with the uniform distribution; in float64."""
    probabilities = nn.functional.one_hot(wanted, CLASSES) if wanted.ndim == 1 else wanted
    p = (1 - smoothing) * probabilities.double() + smoothing / CLASSES
    return -(p * logits.double().log_softmax(1)).sum(1).mean()


def record(task: ClassificationTask, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task logs, without a trainer."""
    logged: dict[str, Any] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: value}))
    return logged


def assert_loss(loss: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_loss_is_the_targets_plus_the_weighted_augmented_one(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(op, aug_weight=0.3, label_smoothing=SMOOTHING)
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
    p, q = (logits.double().div(2).softmax(1) for logits in (teacher, student))
    divergence = 4 * (p * (p.log() - q.log())).sum(1).mean()
    assert divergence > 1e-4
    wanted = cross_entropy(student, labels) + 0.3 * cross_entropy(teacher, labels) + 0.7 * divergence
    assert_loss(loss, wanted)
    torch.testing.assert_close(logged["train/loss_distill"].double(), divergence, rtol=1e-4, atol=0)


def test_what_nothing_surrounds_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth augmentation alone, while the target still has all extra blocks: the augmented pass is the target's."""
    task = make_task("shift", extra_blocks=1)
    logged = record(task, monkeypatch)
    net, (images, labels) = task.net, make_batch()
    deep = replace(net.target_spec, depth=net.widening.full_depth())
    task.augmented_spec = replace(deep, augmented=True)
    task.target_spec = deep
    assert_loss(task.training_step((images, labels), 0), cross_entropy(net(images, deep), labels))
    assert "train/loss_aug" not in logged
    task.target_spec = net.target_spec
    wanted = cross_entropy(net(images), labels) + cross_entropy(net(images, deep), labels)
    assert_loss(task.training_step((images, labels), 0), wanted)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
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
    compiled: list[SubnetSpec | None] = []
    wanted = torch.randn(4, CLASSES)
    monkeypatch.setattr(task, "compiled_target_pass", lambda *_, **__: compiled.append(task.target_spec) or wanted)
    record(task, monkeypatch)
    final = task.net.target_spec
    for task.target_spec in (replace(final, mult_layers=frozenset({"blocks.0.expand.conv"})), final, None):
        task.augmented_spec = widest(task.net)
        task.training_step(make_batch(), 0)
    assert compiled == [final, None]


def test_remapped_weights_and_slopes_are_computed_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    task, calls = make_task("add", sharing=Sharing(Remap("replace", 5.5))), list[str]()
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
    task = make_task(op, aug_weight=0.3, label_smoothing=SMOOTHING)
    logged = record(task, monkeypatch)
    images, labels = make_batch()
    assert_loss(task.training_step((images, labels), 0), cross_entropy(task.net(images), labels, SMOOTHING))
    assert "train/loss_aug" not in logged


def test_the_target_is_trained_as_target_spec_says(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task("add")
    record(task, monkeypatch)
    images, labels = make_batch()
    task.target_spec = replace(task.net.target_spec, mult_layers=frozenset(task.net.hybrid_layers()))
    wanted = cross_entropy(task.net(images, task.target_spec), labels)
    assert abs(wanted.item() - cross_entropy(task.net(images), labels).item()) > 1e-3
    assert_loss(task.training_step((images, labels), 0), wanted)


class TestMixup:
    def test_is_off_by_default(self) -> None:
        assert make_task().mix is None

    @pytest.mark.parametrize("on", [{"mixup": 0.4}, {"cutmix": 1.0}])
    def test_both_losses_are_of_mixed_images_and_labels(
        self, on: dict[str, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from timm.data import Mixup

        task = make_task(aug_weight=0.3, label_smoothing=SMOOTHING, **on)
        task.augmented_spec = widest(task.net)
        record(task, monkeypatch)
        images, labels = make_batch()
        np.random.seed(5)  # noqa: NPY002 (timm draws from the legacy generator)
        loss = task.training_step((images.clone(), labels), 0)
        np.random.seed(5)  # noqa: NPY002
        mix = Mixup(on.get("mixup", 0.0), on.get("cutmix", 0.0), label_smoothing=0.0, num_classes=CLASSES)
        mixed, wanted = mix(images.clone(), labels)
        assert not torch.equal(mixed, images)
        target = cross_entropy(task.net(mixed), wanted, SMOOTHING)
        augmented = cross_entropy(task.net(mixed, task.augmented_spec), wanted, SMOOTHING)
        assert_loss(loss, target + 0.3 * augmented)

    def test_leaves_an_odd_batch_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = make_task(mixup=0.4)
        record(task, monkeypatch)
        images, labels = make_batch(size=3)
        assert_loss(task.training_step((images, labels), 0), cross_entropy(task.net(images), labels))


class TestOptimizer:
    @pytest.mark.parametrize("op", ["add", "shift_ps"])
    def test_norms_and_biases_do_not_decay_and_nothing_is_left_out(self, op: str) -> None:
        if op == "shift_ps":  # trains two tensors a layer, and cannot be widened
            net = build_supernet(plan_net(TABLE, CLASSES, 1, SIDE), operators.build(op), ["stem"])
            task = ClassificationTask(net, CLASSES, partial(torch.optim.SGD, lr=LR, weight_decay=0.01))
        else:
            task = make_task(op)
        trainer = SimpleNamespace(estimated_stepping_batches=20, max_epochs=4)
        task.trainer = trainer  # type: ignore[assignment]
        groups = task.configure_optimizers()["optimizer"].param_groups
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        assert sum(len(group["params"]) for group in groups) == len(decay) == len(list(task.net.parameters()))
        for name, parameter in task.net.named_parameters():
            exempt = ".norm." in name or name.endswith("bias")
            assert decay[id(parameter)] == (0.0 if exempt else 0.01), name

    def test_learning_rate_of_every_step(self) -> None:
        task = make_task(warmup_epochs=1.0, min_lr=0.05)
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


def step_gradients(task: ClassificationTask, scale: float = 1.0, batch: Batch | None = None) -> dict[str, Tensor]:
    """Backpropagate both losses, times `scale`; the gradients by parameter name."""
    images, labels = batch or make_batch()
    images = images.to(task.net.classifier.weight.dtype)
    task.net.zero_grad()
    target, augmented = task.net(images), task.net(images, widest(task.net))
    (scale * (task.loss(target, labels) + task.loss(augmented, labels))).backward()
    return {name: p.grad.clone() for name, p in task.net.named_parameters() if p.grad is not None}


def quiet_trainer(**arguments: Any) -> pl.Trainer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **arguments,
        )


def clip(task: ClassificationTask, value: float | None) -> dict[str, Tensor]:
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

    @settings(max_examples=15, deadline=None)
    @given(st.floats(-4, 4).map(lambda exponent: 10**exponent))
    def test_of_add_weights_do_not_depend_on_the_scale_of_the_loss(self, scale: float) -> None:
        self.assert_scale_does_not_matter(scale)

    def test_of_add_weights_are_the_same_for_1000_times_the_loss(self) -> None:
        self.assert_scale_does_not_matter(1000.0)

    @staticmethod
    def assert_scale_does_not_matter(scale: float) -> None:
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


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(task: ClassificationTask, batches: list[Batch], **arguments: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet_trainer(max_epochs=1, **arguments).fit(task, loader(batches))


class _LogitsAreTheImage(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def scored(ranks: list[int], classes: int) -> Batch:
    """Logits, as images (N, classes, 1, 1), in which the right class i has the `ranks[i]`-th highest."""
    labels = torch.arange(len(ranks)) % classes
    images = torch.empty(len(ranks), classes)
    for i, rank in enumerate(ranks):
        others = [c for c in range(classes) if c != labels[i]]
        order = [*others[: rank - 1], int(labels[i]), *others[rank - 1 :]]
        images[i, order] = -torch.arange(float(classes))
    return images.view(len(ranks), classes, 1, 1), labels


@pytest.fixture
def evaluated() -> Iterator[Any]:
    def evaluate(batches: list[Batch], classes: int, split: str = "validate") -> dict[str, float]:
        module = ClassificationEvaluation(_LogitsAreTheImage(), classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics = getattr(quiet_trainer(), split)(module, loader(batches), verbose=False)
        return dict(metrics[0])

    return evaluate


class TestEvaluation:
    @pytest.mark.parametrize(("method", "split"), [("validate", "val"), ("test", "test")])
    def test_counts_over_unequal_batches(self, evaluated: Any, method: str, split: str) -> None:
        ranks = [[1, 5, 6, 2], [1, 7, 1]]  # top-1: 3 of 7, top-5: 5 of 7
        batches = [scored(batch, 7) for batch in ranks]
        metrics = evaluated(batches, 7, method)
        assert metrics[f"{split}/top1"] == pytest.approx(3 / 7)
        assert metrics[f"{split}/top5"] == pytest.approx(5 / 7)
        partition = math.log(sum(math.exp(-i) for i in range(7)))
        mean = sum(rank - 1 + partition for batch in ranks for rank in batch) / 7  # over images, not over batches
        assert metrics[f"{split}/loss"] == pytest.approx(mean, rel=1e-5)

    def test_top5_of_three_classes_is_top3(self, evaluated: Any) -> None:
        metrics = evaluated([scored([1, 2, 3, 3], 3)], 3)
        assert (metrics["val/top1"], metrics["val/top5"]) == (0.25, 1.0)


def test_golden_losses(tmp_path: Path) -> None:
    """Three steps, each an epoch of its own; after the second, width augmentation is over.

    A change of these numbers changes what every run computes: explain it in the change that makes it. Instruction
    sets round differently, and these small maps amplify it a thousandfold a step: hence the growing tolerance.
    """
    three = ("trainer.limit_train_batches=1", "trainer.max_epochs=3", "optim.lr=0.0005")
    run_little(tmp_path / "run", "op=shift", "aug=width_expand", *three)
    metrics = read_metrics(tmp_path / "run" / "metrics.csv")
    for golden, name in ((GOLDEN_LOSS, "train/loss"), (GOLDEN_AUGMENTED_LOSS, "train/loss_aug")):
        for wanted, tolerance, loss in zip(golden, GOLDEN_TOLERANCE, metrics[name].values(), strict=True):
            assert loss == pytest.approx(wanted, rel=tolerance)


GOLDEN_TOLERANCE = [1e-4, 1e-3, 1e-2]
GOLDEN_LOSS = [2.37102, 2.29602, 2.35266]
GOLDEN_AUGMENTED_LOSS = [2.39059, 2.44829, 2.39078]


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
