"""What holds of every objective, given outputs of a network and what is wanted of them."""

import torch
from torch import Tensor

from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.figures import Figure


def check_objective(objective: Objective, outputs: Tensor, wanted: Tensor) -> None:
    """Fail where the objective does not keep to `tasks/base.py`; the batch needs an even number of images."""
    images, given = torch.rand(len(outputs), 3, 8, 8), (outputs.clone(), wanted.clone())
    held = images.clone()
    _check_losses(objective, images, outputs, wanted)
    for dtype in (torch.bfloat16, torch.float64):
        assert torch.isfinite(objective.evaluation_loss(outputs.to(dtype), wanted))
    predictions = objective.predictions(outputs)
    assert predictions.shape == wanted.shape and predictions.dtype == wanted.dtype
    for value in (predictions[0], wanted[0]):
        shown = objective.show(value)
        assert isinstance(shown, str) or (shown.dtype == torch.uint8 and shown.ndim == 3 and len(shown) == 3)
    _check_metrics(objective, outputs, wanted)
    for tensor, before in ((images, held), (outputs, given[0]), (wanted, given[1])):
        assert torch.equal(tensor, before)  # nothing was changed in place


def _check_losses(objective: Objective, images: Tensor, outputs: Tensor, wanted: Tensor) -> None:
    leaf = outputs.clone().requires_grad_()
    mixed, mixed_wanted = objective.mixed(images, wanted)
    assert mixed.shape == images.shape
    losses = [objective.loss(leaf, mixed_wanted), objective.evaluation_loss(leaf, wanted)]
    if objective.settings.distils:
        losses.append(objective.distillation(leaf, outputs.flip(0), 2.0))
        assert abs(float(objective.distillation(outputs, outputs, 2.0))) < 1e-6
    for loss in losses:
        assert loss.shape == () and loss.dtype == torch.float32
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def _check_metrics(objective: Objective, outputs: Tensor, wanted: Tensor) -> None:
    figures: tuple[Figure, ...] = objective.figures
    whole, parts = objective.metrics(), objective.metrics()
    assert set(whole) == {figure.name for figure in figures}
    for name in whole:
        assert parts[name] is not whole[name]
        whole[name].update(outputs, wanted)
    third = len(outputs) // 3
    for part in (slice(0, third), slice(third, None)):
        for metric in parts.values():
            metric.update(outputs[part], wanted[part])
    for name in whole:
        value = whole[name].compute()
        assert value.shape == () and torch.isfinite(value)
        torch.testing.assert_close(parts[name].compute(), value)
    details = objective.details(whole)
    assert not set(details) & {figure.name for figure in figures}
