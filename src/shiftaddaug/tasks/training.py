"""The one training step: a supernet's target with its surroundings, by the objective of any task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shiftaddaug.callbacks.checkpoint import LastCheckpoint, checkpoint_path
from shiftaddaug.errors import TrainingDiverged, UserError
from shiftaddaug.hybrid.weight import HybridWeight, is_map
from shiftaddaug.nets import own_terms
from shiftaddaug.nets.init_from import encoder_parameters
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.evaluation import Batch, Evaluation
from shiftaddaug.tasks.last_validation import LastValidation
from shiftaddaug.tasks.scheduler import COSINE, Lengthened


class Training(Evaluation):
    """Train a supernet: L = L(target) + aug_weight . L(augmented sub-network), one optimiser step (NetAug, eq. 1).

    L is the objective's. With distillation, L(target) grows by distill_weight times its distillation loss, the
    augmented pass being the teacher (Hinton et al., arXiv 1503.02531; in place as in BigNAS, arXiv 2003.11142).
    NOTE: neither NetAug nor ShiftAddAug distils.

    Callbacks set `target_spec` and `augmented_spec` before each step; the step knows nothing of their schedules.

    Args:
        net: the supernet.
        objective: of the task.
        optimizer: parameter groups to optimiser.
        scheduler: optimiser, its steps in this run, and epochs, to a schedule that is advanced after every step.
        aug_weight: lambda.
        distill_weight, distill_temperature: of in-place distillation; 0 is off.
        weight_penalty: added to the loss (the baseline `sharing=kl`); a function of the layers whose operator is a
            choice, by name, of the operators that they compute with, and of the step's epoch and batch.
        compile_backend: of `torch.compile`, for the target's training pass; None is eager. Augmented passes, whose
            widths change at every step, and targets that still multiply or are still deeper stay eager: each would
            be compiled anew. So does evaluation: the exported target has to agree bit for bit.
        config: the run's configuration as plain containers, saved in every checkpoint.
        decay_norms: let norms and biases decay as weights do.
        encoder_lr_mult: of the learning rate, for the encoder.
        validated: whether there are images to validate on: callbacks that wait for validation ask.
    """

    net: Supernet

    def __init__(
        self,
        net: Supernet,
        objective: Objective,
        optimizer: Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer],
        aug_weight: float = 1.0,
        distill_weight: float = 0.0,
        distill_temperature: float = 1.0,
        weight_penalty: Callable[[Mapping[str, HybridWeight], Mapping[str, Operator], int, int], Tensor] | None = None,
        compile_backend: str | None = None,
        config: dict[str, Any] | None = None,
        scheduler: Callable[[torch.optim.Optimizer, int, int], Any] = COSINE,
        decay_norms: bool = False,
        encoder_lr_mult: float = 1.0,
        validated: bool = True,
    ) -> None:
        super().__init__(net, objective)
        self.optimizer, self.scheduler, self.decay_norms = optimizer, scheduler, decay_norms
        self.encoder_lr_mult = encoder_lr_mult
        self.aug_weight, self.validated = aug_weight, validated
        self._last_validation = LastValidation()
        self._weight_decay = 0.0  # the optimiser's, once there is one
        self.distill_weight, self.distill_temperature = distill_weight, distill_temperature
        self.weight_penalty = weight_penalty
        self.config = config or {}
        self.compiled_target_pass = None
        if compile_backend is not None:
            self.compiled_target_pass = torch.compile(partial(net, spec=None), backend=compile_backend)
        self.target_spec = net.target_spec
        self.augmented_spec: SubnetSpec | None = None
        self.target_loss: Tensor | None = None
        """Loss of the target at the last step, for those who watch."""
        self.lengthened_from: int | None = None
        """Epochs of the finished run that is trained further, in its first part."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, wanted = self.objective.mixed(*batch)
        images = self._prepared(images)
        target = self.target_spec
        weights = self.net.operator_weights(target.multiplied, target.operators)
        outputs = self._target_outputs(images, target, weights)
        target_loss = loss = self.objective.loss(outputs, wanted)
        self._check_loss(loss)
        augmented = self._augmented_spec(target)
        if augmented is not None:
            aug_outputs = self.net(images, augmented, weights)
            aug_loss = self.objective.loss(aug_outputs, wanted)
            loss = target_loss + self.aug_weight * aug_loss
            self._log_train("train/loss_aug", aug_loss, len(images))
            if self.distill_weight:
                distill_loss = self.objective.distillation(outputs, aug_outputs.detach(), self.distill_temperature)
                loss = loss + self.distill_weight * distill_loss
                self._log_train("train/loss_distill", distill_loss, len(images))
        if self.weight_penalty is not None:
            layers, operators = _chosen_layers(self.net), self.net.operators(target)
            penalty = self.weight_penalty(layers, operators, self.current_epoch, batch_idx)
            self._log_train("train/loss_penalty", penalty, len(images))
            loss = loss + penalty
        decay = own_terms.decay(self.net) if self._weight_decay else None
        if decay is not None:
            loss = loss + self._weight_decay * decay
        self._check_finite(loss)
        self.target_loss = target_loss.detach()
        self._log_train("train/loss", self.target_loss, len(images))
        self._measure(outputs.detach(), batch[1])
        return loss

    def _measure(self, outputs: Tensor, wanted: Tensor) -> None:
        """Log the figures of the target on a batch, against what is wanted of it as it came from the data."""
        for figure in self.objective.figures:
            if figure.training:
                metric = self._metric("train", figure)
                metric.update(outputs, wanted)
                bar = self._is_headline(figure)
                self.log(f"train/{figure.name}", metric, on_step=False, on_epoch=True, prog_bar=bar)

    def _augmented_spec(self, target: SubnetSpec) -> SubnetSpec | None:
        """None, too, if nothing surrounds the target: while it still has every extra block, depth augmentation alone
        would compute it twice."""
        if self.augmented_spec is None:
            return None
        spec = self.augmented_spec.around(target)
        return None if replace(spec, augmented=target.augmented) == target else spec

    def _target_outputs(self, images: Tensor, target: SubnetSpec, weights: dict[str, Tensor]) -> Tensor:
        compiled = self.compiled_target_pass if target == self.net.target_spec else None
        outputs: Tensor = (
            self.net(images, target, weights) if compiled is None else compiled(images, operator_weights=weights)
        )
        return outputs

    def _log_train(self, name: str, value: Tensor, batch_size: int) -> None:
        value = value.detach()
        self.log(name, value, on_step=False, on_epoch=True, prog_bar=True, batch_size=batch_size, sync_dist=True)

    def _check_loss(self, loss: Tensor) -> None:
        if loss.ndim or not loss.requires_grad:
            what = f"has the shape {tuple(loss.shape)}" if loss.ndim else "has no gradient"
            raise UserError(f"task={self.objective.settings.name}: its loss {what}; must be a scalar with a gradient")

    def _check_finite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss became {loss.item()}")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Have the weights validated that training ends with.

        Callbacks have had their say by now whether this batch is the last: `trainer.max_time` is one.
        """
        if self.validated:
            self._last_validation.ask(self.trainer)

    def on_validation_start(self) -> None:
        self._last_validation.begun(self.trainer)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._check_weights()

    def on_train_epoch_end(self) -> None:
        self._check_weights()

    def _check_weights(self) -> None:
        """Stop before checkpoints are written if weights, or statistics, are no numbers: no checkpoint holds such."""
        if not all(torch.isfinite(parameter).all() for parameter in self.net.parameters()):
            raise self._diverged("weights became inf or nan")
        for name, tensor in self.net.state_dict().items():
            if not torch.isfinite(tensor).all():  # values overflow, and batch-norm hides it while it trains
                raise self._diverged(f"{name} became inf or nan", "smaller weights at the start (op, net), or ")

    def _diverged(self, what: str, remedy: str = "") -> TrainingDiverged:
        good = checkpoint_path(self.trainer, LastCheckpoint) or self.trainer.ckpt_path or "none yet"
        return TrainingDiverged(
            f"{what} at step {self.trainer.global_step} (epoch {self.trainer.current_epoch}); "
            f"last good checkpoint: {good}; try {remedy}a smaller optim.lr or trainer.gradient_clip_val=1"
        )

    def configure_optimizers(self) -> Any:
        """Return the optimiser and a schedule that advances every step.

        Raises:
            UserError: one that divides by the loss scale after the operators have normalised their gradients.
        """
        optimizer = self.new_optimizer()
        self._weight_decay = float(optimizer.param_groups[0].get("weight_decay", 0.0))
        if getattr(optimizer, "_step_supports_amp_scaling", False) and self._normalises_scaled_gradients():
            raise UserError(
                "optim.optimizer.fused=true: divides gradients by the loss scale of trainer.precision=16-mixed once "
                "op=add has normalised them, and weights would stand still; options: fused=false, or bf16-mixed"
            )
        steps, epochs = int(self.trainer.estimated_stepping_batches), max(1, self.trainer.max_epochs or 1)
        schedule = self.scheduler(optimizer, steps, epochs)
        if self.lengthened_from is not None:
            make = self.scheduler
            schedule = Lengthened(
                schedule, lambda: make(self.new_optimizer(), steps, epochs), lambda: self.trainer.global_step
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimiser of the parameters, which has made no step.

        Weights alone decay, and norms and biases if so wished. What makes a weight of a stored one never does
        (transforms of kernels, factors of sharing=affine), nor what operators keep from it (`Operator.undecayed`): they
        add a term of their own to the loss. Groups of the encoder come last where it has a learning rate of its own.
        What is frozen is in none.
        """
        kept = own_terms.undecayed(self.net)
        slower = encoder_parameters(self.net) if self.encoder_lr_mult != 1 else set()
        groups: dict[tuple[bool, bool], list[Tensor]] = {(False, True): [], (False, False): []}
        for name, p in self.net.named_parameters():
            decayed = (p.ndim > 1 or self.decay_norms) and not is_map(name) and name not in kept
            if p.requires_grad:
                groups.setdefault((name in slower, decayed), []).append(p)
        undecayed = {"weight_decay": 0.0}
        optimizer = self.optimizer(
            [{"params": group} | ({} if decayed else undecayed) for (_, decayed), group in groups.items()]
        )
        for (is_slower, _), group in zip(groups, optimizer.param_groups, strict=True):
            if is_slower:
                group["lr"] *= self.encoder_lr_mult
        return optimizer

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Lightning leaves this to the task for schedulers that are not of torch."""
        scheduler.step()

    def _normalises_scaled_gradients(self) -> bool:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        operators = [layer.operator for layer in self.net.hybrid_layers().values()]
        operators += self.net.alternatives.values()
        return scaler is not None and any(operator.publishes_updates for operator in operators)

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
        self.net.rescale_gradients(*self.passes())

    def passes(self) -> Sequence[SubnetSpec]:
        """Return the sub-networks whose losses a step sums."""
        augmented = self._augmented_spec(self.target_spec)
        return (self.target_spec,) if augmented is None else (self.target_spec, augmented)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, then let every operator put its own tensors where they belong (DeepShift's clamp)."""
        super().optimizer_step(*arguments, **named)
        own_terms.project(self.net, self.target_spec)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config


CHOSEN = ("blocks", "head", "decoder")
"""Groups of layers whose operator is a choice."""


def _chosen_layers(net: Supernet) -> dict[str, HybridWeight]:
    """The target's layers in blocks, head and decoder, by name: the others are there whatever the operator."""
    layers = net.hybrid_layers()
    return {node.name: layers[node.name] for node in net.plan.layers() if node.group in CHOSEN}
