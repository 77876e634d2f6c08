"""Image classification: evaluation of any network, and training of a supernet's target with its surroundings."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from shiftaddaug.callbacks.checkpoint import LastCheckpoint, checkpoint_path
from shiftaddaug.errors import TrainingDiverged, UserError
from shiftaddaug.nets.recalibrate import take_from_first_process
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator
from shiftaddaug.tasks.metrics import MeanLoss
from shiftaddaug.tasks.scheduler import COSINE

Batch = tuple[Tensor, Tensor]


class ClassificationEvaluation(pl.LightningModule):
    """Loss, top-1 and top-5 of a network on batches of images (N, C, H, W) float32 and labels (N,) int64.

    Args:
        net: images to logits (N, num_classes).
        num_classes: of the data.
    """

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.net = net
        top5 = min(5, num_classes)
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top1, self.test_top1 = self.train_top1.clone(), self.train_top1.clone()
        self.val_top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro")
        self.test_top5 = self.val_top5.clone()
        self.val_loss, self.test_loss = MeanLoss(), MeanLoss()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the deployed (target) network."""
        logits: Tensor = self.net(self._prepared(images))
        return logits

    def _prepared(self, images: Tensor) -> Tensor:
        """Images in the network's own precision (data modules give float32), and in the memory layout in which
        convolutions (depthwise above all) train about twice as fast on CPU."""
        precision = next(self.net.parameters(), images).dtype
        return images.to(precision).contiguous(memory_format=torch.channels_last)

    def _evaluate(self, batch: Batch, split: str, loss: Metric, top1: Metric, top5: Metric) -> None:
        images, labels = batch
        logits = self(images)
        top1(logits, labels)
        top5(logits, labels)
        loss(F.cross_entropy(_at_least_float32(logits), labels), len(labels))
        self.log(f"{split}/loss", loss, on_epoch=True)
        self.log(f"{split}/top1", top1, on_epoch=True, prog_bar=True)
        self.log(f"{split}/top5", top5, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        """Statistics of the processes differ by an epoch's last step, unless norms are synchronised: after callbacks
        have put averages of the weights there, those that a checkpoint holds are validated everywhere."""
        take_from_first_process(self.net)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val", self.val_loss, self.val_top1, self.val_top5)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "test", self.test_loss, self.test_top1, self.test_top5)


class ClassificationTask(ClassificationEvaluation):
    """Train a supernet: L = L(target) + aug_weight . L(augmented sub-network), one optimiser step (NetAug, eq. 1).

    With distillation, L(target) grows by distill_weight T^2 KL(softmax(augmented / T) || softmax(target / T)), the
    augmented pass being the teacher and T distill_temperature (Hinton et al., arXiv 1503.02531; in place as in
    BigNAS, arXiv 2003.11142). NOTE: neither NetAug nor ShiftAddAug distils.

    Callbacks set `target_spec` and `augmented_spec` before each step; the task knows nothing of their schedules.

    Args:
        net: the supernet.
        num_classes: of the data.
        optimizer: parameter groups to optimiser.
        scheduler: optimiser, its steps in this run, and epochs, to a schedule that is advanced after every step.
        aug_weight: lambda.
        distill_weight, distill_temperature: of in-place distillation; 0 is off.
        weight_penalty: added to the loss, a function of the supernet (the baseline `sharing=kl`).
        label_smoothing: of both losses.
        mixup, cutmix: alpha of timm's mixup and cutmix; 0 is off.
        compile_backend: of `torch.compile`, for the target's training pass; None is eager. Augmented passes, whose
            widths change at every step, and targets that still multiply or are still deeper stay eager: each would
            be compiled anew. So does evaluation: the exported target has to agree bit for bit.
        config: the run's configuration as plain containers, saved in every checkpoint.
    """

    net: Supernet

    def __init__(
        self,
        net: Supernet,
        num_classes: int,
        optimizer: Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer],
        aug_weight: float = 1.0,
        distill_weight: float = 0.0,
        distill_temperature: float = 1.0,
        weight_penalty: Callable[[Supernet], Tensor] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        compile_backend: str | None = None,
        config: dict[str, Any] | None = None,
        scheduler: Callable[[torch.optim.Optimizer, int, int], Any] = COSINE,
    ) -> None:
        super().__init__(net, num_classes)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.aug_weight, self.label_smoothing = aug_weight, label_smoothing
        self.distill_weight, self.distill_temperature = distill_weight, distill_temperature
        self.weight_penalty = weight_penalty
        self.config = config or {}
        self.mix = self._timm_mixup(mixup, cutmix, num_classes) if mixup or cutmix else None
        self.compiled_target_pass = None
        if compile_backend is not None:
            self.compiled_target_pass = torch.compile(partial(net, spec=None), backend=compile_backend)
        self.target_spec = net.target_spec
        self.augmented_spec: SubnetSpec | None = None

    @staticmethod
    def _timm_mixup(mixup: float, cutmix: float, num_classes: int) -> Callable[[Tensor, Tensor], Batch]:
        from timm.data import Mixup

        # smoothing is left to the loss, which does it for mixed and unmixed labels alike
        mix: Callable[[Tensor, Tensor], Batch] = Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=num_classes)
        return mix

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy with label smoothing; `wanted` are labels (N,) or probabilities (N, num_classes)."""
        return F.cross_entropy(_at_least_float32(logits), wanted, label_smoothing=self.label_smoothing)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        wanted = labels
        if self.mix is not None and len(images) % 2 == 0:
            images, wanted = self.mix(images.clone(), labels)  # which mixes in place; callbacks see what was drawn
        images = self._prepared(images)
        target = self.target_spec
        weights = self.net.operator_weights(target.multiplied)
        logits = self._target_logits(images, target, weights)
        target_loss = loss = self.loss(logits, wanted)
        augmented = self._augmented_spec(target)
        if augmented is not None:
            aug_logits = self.net(images, augmented, weights)
            aug_loss = self.loss(aug_logits, wanted)
            loss = target_loss + self.aug_weight * aug_loss
            self._log_train("train/loss_aug", aug_loss, len(images))
            if self.distill_weight:
                distill_loss = distillation(logits, aug_logits.detach(), self.distill_temperature)
                loss = loss + self.distill_weight * distill_loss
                self._log_train("train/loss_distill", distill_loss, len(images))
        if self.weight_penalty is not None:
            loss = loss + self.weight_penalty(self.net)
        self._check_finite(loss)
        self.train_top1(logits.detach(), labels)
        self._log_train("train/loss", target_loss, len(images))
        self.log("train/top1", self.train_top1, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def _augmented_spec(self, target: SubnetSpec) -> SubnetSpec | None:
        """Return None, too, if nothing surrounds the target: while it still has every extra block, depth augmentation
        alone would compute it twice."""
        if self.augmented_spec is None:
            return None
        spec = self.augmented_spec.around(target)
        return None if replace(spec, augmented=target.augmented) == target else spec

    def _target_logits(self, images: Tensor, target: SubnetSpec, weights: dict[str, Tensor]) -> Tensor:
        compiled = self.compiled_target_pass if target == self.net.target_spec else None
        logits: Tensor = (
            self.net(images, target, weights) if compiled is None else compiled(images, operator_weights=weights)
        )
        return logits

    def _log_train(self, name: str, value: Tensor, batch_size: int) -> None:
        value = value.detach()
        self.log(name, value, on_step=False, on_epoch=True, prog_bar=True, batch_size=batch_size, sync_dist=True)

    def _check_finite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss became {loss.item()}")

    def on_train_epoch_end(self) -> None:
        """Stop before the checkpoints are written: no checkpoint of weights that are no numbers."""
        if not all(torch.isfinite(parameter).all() for parameter in self.net.parameters()):
            raise self._diverged("weights became inf or nan")

    def _diverged(self, what: str) -> TrainingDiverged:
        good = checkpoint_path(self.trainer, LastCheckpoint) or self.trainer.ckpt_path or "none yet"
        return TrainingDiverged(
            f"{what} at step {self.trainer.global_step} (epoch {self.trainer.current_epoch}); "
            f"last good checkpoint: {good}; try a smaller optim.lr or trainer.gradient_clip_val=1"
        )

    def configure_optimizers(self) -> Any:
        """The optimiser, without weight decay on norms and biases, and a schedule that advances every step.

        Raises:
            UserError: one that divides by the loss scale after the operators have normalised their gradients.
        """
        matrices = [p for p in self.net.parameters() if p.ndim > 1]
        vectors = [p for p in self.net.parameters() if p.ndim <= 1]
        optimizer = self.optimizer([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
        if getattr(optimizer, "_step_supports_amp_scaling", False) and self._normalises_scaled_gradients():
            raise UserError(
                "optim.optimizer.fused=true: divides gradients by the loss scale of trainer.precision=16-mixed once "
                "op=add has normalised them, and weights would stand still; options: fused=false, or bf16-mixed"
            )
        steps, epochs = int(self.trainer.estimated_stepping_batches), max(1, self.trainer.max_epochs or 1)
        schedule = self.scheduler(optimizer, steps, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Lightning leaves this to the task for schedulers that are not of torch."""
        scheduler.step()

    def _normalises_scaled_gradients(self) -> bool:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        operators = [type(layer.operator) for layer in self.net.hybrid_layers().values()]
        return scaler is not None and any(op.rescale_gradient is not Operator.rescale_gradient for op in operators)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, then let every operator rescale the gradient of its own weights (AdderNet's local learning rate).

        NOTE: AdderNet rescales inside backward. Here it is done once, on the accumulated and unscaled gradient:
        the same for one loss, and right for two losses, for gradient accumulation and for loss scaling.
        """
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.net.rescale_gradients(self.target_spec.multiplied)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)), batch mean, in nats; logits (N, classes)."""
    wanted = F.log_softmax(_at_least_float32(teacher) / temperature, 1)
    given = F.log_softmax(_at_least_float32(student) / temperature, 1)
    return temperature**2 * F.kl_div(given, wanted, reduction="batchmean", log_target=True)


def _at_least_float32(logits: Tensor) -> Tensor:
    """Half precision would round a loss to 8 significant bits, and a distillation loss to nothing."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
