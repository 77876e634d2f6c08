"""A plugin with a task of its own: regression of two numbers, whose headline is better the lower it is."""

from pathlib import Path

SETTINGS = '''"""Settings of slope."""

from dataclasses import dataclass

from shiftaddaug.settings import PositiveNumber
from shiftaddaug.tasks.figures import Figure
from shiftaddaug.tasks.settings import TaskSettings


@dataclass(frozen=True)
class SlopeSettings(TaskSettings):
    """Keys of configs/task/slope.yaml."""

    name = "slope"
    figures = (
        Figure("error", "mean error", "px", better="min", digits=3),
        Figure("farthest", "farthest", "px", better="min", digits=3, training=False),
    )
    beta: PositiveNumber = 1.0

    def outputs(self, data):
        return data.get("num_targets", 2)


SETTINGS = SlopeSettings
'''

OBJECTIVE = '''"""Smooth L1 loss of values (N, 2)."""

import torch
import torch.nn.functional as F
from torchmetrics import MaxMetric, MeanAbsoluteError

from shiftaddaug.tasks.base import Objective, at_least_float32


class Farthest(MaxMetric):
    """The largest error."""

    def update(self, outputs, wanted):
        super().update((outputs - wanted).abs())


class MeanError(MeanAbsoluteError):
    """The mean error, and that of each value."""

    def __init__(self, values):
        super().__init__()
        self.add_state("each", torch.zeros(values), dist_reduce_fx="sum")

    def update(self, outputs, wanted):
        super().update(outputs, wanted)
        self.each = self.each + (outputs - wanted).abs().sum(0)

    def of_each(self):
        return (self.each / (self.total / len(self.each))).tolist()


class Slope(Objective):
    def loss(self, outputs, wanted):
        return F.smooth_l1_loss(at_least_float32(outputs), wanted, beta=self.settings.beta)

    def metrics(self):
        return {"farthest": Farthest(), "error": MeanError(self.num_outputs)}

    def details(self, metrics):
        return {"error_of_each": [round(value, 3) for value in metrics["error"].of_each()]}

    def predictions(self, outputs):
        return outputs.float()

    def show(self, value):
        return ", ".join(f"{number:.2f} px" for number in value.tolist())


OBJECTIVE = Slope
'''

TASK_YAML = """# python src/train.py task=slope plugins=[slope_plugin]
name: slope
headline: error # error, farthest or loss
better: min
beta: 1.0
"""

DATA = '''"""Images of stripes, upright and lying, and how strong each kind is."""

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class Stripes(LightningDataModule):
    task = "slope"

    def __init__(self, name, num_targets, in_channels, image_size, batch_size, seed):
        super().__init__()
        self.side, self.channels, self.batch_size, self.seed = image_size, in_channels, batch_size, seed

    def dataset(self, size, seed):
        generator = torch.Generator().manual_seed(seed)
        strength = 4 * torch.rand(size, 2, generator=generator)
        wave = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(self.side // 4)
        kinds = torch.stack([wave[None].expand(self.side, -1), wave[:, None].expand(-1, self.side)])
        images = torch.einsum("nk,khw->nhw", strength, kinds)
        return TensorDataset(images[:, None].repeat(1, self.channels, 1, 1), strength)

    def train_dataloader(self):
        order = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.dataset(320, 0), self.batch_size, shuffle=True, generator=order)

    def val_dataloader(self):
        return DataLoader(self.dataset(40, 1), self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.dataset(40, 2), self.batch_size)
'''

DATA_YAML = """# python src/train.py data=stripes plugins=[slope_plugin]
defaults:
  - override /task@_global_.task: slope

_target_: slope_plugin.data.stripes.Stripes
name: stripes
num_targets: 2
in_channels: 1
image_size: 16
batch_size: 32
seed: ${seed}
"""


def write_plugin(folder: Path, name: str = "slope_plugin", objective: str = OBJECTIVE) -> Path:
    """The package of that name in that folder."""
    files = {
        "__init__.py": "",
        "tasks/slope/__init__.py": "",
        "tasks/slope/settings.py": SETTINGS,
        "tasks/slope/objective.py": objective,
        "data/__init__.py": "",
        "data/stripes.py": DATA,
        "configs/task/slope.yaml": TASK_YAML,
        "configs/data/stripes.yaml": DATA_YAML,
    }
    for file, content in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("slope_plugin", name))
    return folder / name
