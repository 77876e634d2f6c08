"""Settings of classification."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.settings import ShareBelowOne
from shiftaddaug.tasks.figures import PERCENT, Figure
from shiftaddaug.tasks.settings import TaskSettings

Alpha = Annotated[float, Meta(ge=0, le=1000)]
"""Parameter of a Beta(alpha, alpha) distribution; the larger it is, the nearer to 1/2 are the draws."""

TOP5_FROM = 6
"""Classes from which on top-5 is measured: of five or fewer it is always 100 %."""


@dataclass(frozen=True)
class ClassificationSettings(TaskSettings):
    """Keys of configs/task/classification.yaml."""

    name = "classification"
    figures = (
        Figure("top1", "top-1", PERCENT, digits=2),
        Figure("top5", "top-5", PERCENT, digits=2, training=False),
    )
    distils = True
    dense = False

    label_smoothing: ShareBelowOne = 0.0
    mixup: Alpha = 0.0
    """Alpha of timm's mixup; 0 is off."""
    cutmix: Alpha = 0.0
    """Alpha of timm's cutmix; 0 is off."""

    def outputs(self, data: Mapping[str, Any]) -> int:
        return int(data["num_classes"])

    def figures_of(self, outputs: int) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if figure.name != "top5" or outputs >= TOP5_FROM)

    def check_data(self, data: Mapping[str, Any]) -> None:
        for key, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if alpha and data["batch_size"] % 2:
                raise UserError(f"data.batch_size={data['batch_size']}: must be even with task.{key}={alpha}")


SETTINGS = ClassificationSettings
