"""Cross-entropy, top-1 and top-5 of logits (N, classes) and labels (N,) int64; mixup, cutmix and label smoothing."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from shiftaddaug.tasks.base import Objective, at_least_float32
from shiftaddaug.tasks.classification.settings import ClassificationSettings

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Classification(Objective):
    """Image classification."""

    settings: ClassificationSettings

    def __init__(self, settings: ClassificationSettings, num_outputs: int) -> None:
        super().__init__(settings, num_outputs)
        self.mix = self._timm_mixup() if settings.mixup or settings.cutmix else None

    def _timm_mixup(self) -> Mix:
        from timm.data import Mixup

        # smoothing is left to the loss, which does it for mixed and unmixed labels alike
        mix: Mix = Mixup(self.settings.mixup, self.settings.cutmix, label_smoothing=0.0, num_classes=self.num_outputs)
        return mix

    def mixed(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Mix pairs of images, and their labels into probabilities (N, classes); odd batches are left as they are."""
        if self.mix is None or len(images) % 2:
            return images, wanted
        return self.mix(images.clone(), wanted)  # which mixes in place; callbacks see what was drawn

    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy with label smoothing; `wanted` are labels (N,) or probabilities (N, classes)."""
        return F.cross_entropy(at_least_float32(outputs), wanted, label_smoothing=self.settings.label_smoothing)

    def evaluation_loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy without label smoothing."""
        return F.cross_entropy(at_least_float32(outputs), wanted)

    def distillation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, in nats; logits (N, classes)."""
        wanted = F.log_softmax(at_least_float32(teacher) / temperature, 1)
        given = F.log_softmax(at_least_float32(student) / temperature, 1)
        return temperature**2 * F.kl_div(given, wanted, reduction="batchmean", log_target=True)

    def metrics(self) -> dict[str, Metric]:
        """Shares of images whose label is the first, or one of the first five, of the classes, if there are more."""
        ranks = {"top1": 1, "top5": 5}
        return {
            figure.name: MulticlassAccuracy(self.num_outputs, top_k=ranks[figure.name], average="micro")
            for figure in self.figures
            if figure.name in ranks
        }

    def predictions(self, outputs: Tensor) -> Tensor:
        """Labels (N,)."""
        return outputs.argmax(1)

    def ranked(self, outputs: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Return classes by their softmax, best first, and that, float32 at least."""
        scores, labels = at_least_float32(outputs).softmax(1).topk(min(most, self.num_outputs), 1)
        return labels, scores


OBJECTIVE = Classification
