"""Losses of segmentation by name: torch's cross-entropy, and those of segmentation-models-pytorch, added with weights.

Shapes, H and W being the image's: multiclass logits (N, classes, H, W) and labels (N, H, W); binary logits (N, 1, H, W)
and labels (N, H, W), 0 or 1; multilabel logits and labels (N, classes, H, W). Labels are int64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.tasks.segmentation.settings import SegmentationSettings

Term = Callable[[Tensor, Tensor], Tensor]


class WeightedLosses:
    """Sum of the losses that the settings name, each a mean over the labelled pixels of the batch.

    A batch without a labelled pixel has the loss 0.
    """

    def __init__(self, settings: SegmentationSettings, smoothing: float) -> None:
        self.ignored = settings.ignore_index
        weights = settings.loss_weights or [1.0] * len(settings.losses)
        made = [_term(name, settings, smoothing) for name in settings.losses]
        self.terms: list[tuple[float, Term]] = list(zip(weights, made, strict=True))

    def __call__(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        if not (wanted != self.ignored).any():
            return outputs.sum() * 0
        return sum((weight * term(outputs, wanted) for weight, term in self.terms), outputs.new_zeros(()))


def _term(name: str, settings: SegmentationSettings, smoothing: float) -> Term:
    if name == "ce":
        return _cross_entropy(settings, smoothing)
    import segmentation_models_pytorch.losses as smp  # which takes seconds to import

    options: dict[str, Any] = {"ignore_index": settings.ignore_index}
    if name == "lovasz":
        return _in_single(smp.LovaszLoss(settings.masks, **options))
    if name == "focal":
        if settings.masks == "multilabel":
            binary = smp.FocalLoss("binary", gamma=settings.focal_gamma, **options)
            return _by_label(binary, settings)
        options["gamma"] = settings.focal_gamma
    if settings.class_weights is not None:
        options["class_weights"] = settings.class_weights
    made: Term = {"dice": smp.DiceLoss, "jaccard": smp.JaccardLoss, "focal": smp.FocalLoss}[name](
        settings.masks, **options
    )
    return made


def _cross_entropy(settings: SegmentationSettings, smoothing: float) -> Term:
    ignored = settings.ignore_index
    if settings.masks != "multiclass":
        return _by_label(_binary_cross_entropy(ignored), settings)

    def term(outputs: Tensor, wanted: Tensor) -> Tensor:
        weight = None if settings.class_weights is None else outputs.new_tensor(settings.class_weights)
        return F.cross_entropy(outputs, wanted, weight, ignore_index=ignored, label_smoothing=smoothing)

    return term


def _binary_cross_entropy(ignored: int) -> Term:
    def term(outputs: Tensor, wanted: Tensor) -> Tensor:
        labelled = wanted != ignored
        return F.binary_cross_entropy_with_logits(outputs[labelled], wanted[labelled].to(outputs.dtype))

    return term


def _by_label(binary: Term, settings: SegmentationSettings) -> Term:
    """Mean over the labels, weighted by class, of a loss of binary masks; a label of no pixel is left out.

    NOTE: multilabel masks with pixels to ignore are more than smp's focal loss takes.
    """

    def term(outputs: Tensor, wanted: Tensor) -> Tensor:
        masks = wanted.reshape(outputs.shape)
        weights: Sequence[float] = settings.class_weights or [1.0] * outputs.shape[1]
        held = [i for i in range(outputs.shape[1]) if (masks[:, i] != settings.ignore_index).any()]
        losses = torch.stack([weights[i] * binary(outputs[:, i], masks[:, i]) for i in held])
        return losses.sum() / sum(weights[i] for i in held)

    return term


def _in_single(loss: Term) -> Term:
    """Return a loss of float32 outputs: smp's Lovasz loss multiplies by weights of that type."""
    return lambda outputs, wanted: loss(outputs.float(), wanted).to(outputs.dtype)
