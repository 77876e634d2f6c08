"""A deployed target in a program of one's own: a plain network that says how to feed it and how to read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from shiftaddaug.catalogue import PACKAGE_ONLY, catalogue_of
from shiftaddaug.data.prepare import ImageTransform
from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import Target
from shiftaddaug.nets.extract import load_target as read_target
from shiftaddaug.nets.interface import Preprocessing
from shiftaddaug.nets.net import Net


class TargetNet(Net):
    """The network of a target, with the target's modules, and what the target says of itself.

    Called with images (N, C, H, W) as `transform` prepares them it returns logits: (N, classes), or
    (N, classes, H, W). Its state dict is that of model.safetensors.

    Args:
        target: as it was read.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target.net.plan, lambda node: target.net.module(node.name))
        self.target = target.interface
        self.train(target.net.training)

    @property
    def task(self) -> str | None:
        """Name of the task; None where an earlier version wrote the target."""
        return self.target.task

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What each channel of the logits stands for; None where the classes have no names, and are numbers."""
        return self.target.classes

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images are prepared; None where the data module did not state it."""
        return self.target.preprocessing

    def transform(self, picture: Any) -> Tensor:
        """Prepare a picture as evaluation does.

        Args:
            picture: a file's path, or a PIL image of any mode.

        Returns:
            float32 (C, H, W); add the first dimension with `[None]`, or `torch.stack` several.

        Raises:
            UserError: it cannot be read as an image, or the target does not say how images are prepared.
        """
        if self.preprocessing is None:
            raise UserError("the target does not say how images are prepared: see docs/settings.md, Predict")
        return ImageTransform(self.preprocessing)(picture)


def load_target(path: Path | str, trainable: bool = False, plugins: Sequence[str] = ()) -> TargetNet:
    """Read the network of a target, on the CPU, in evaluation mode.

    Args:
        path: of the target's folder, of one of its two files, or of the run that it lies in.
        trainable: whether its parameters take gradients. They are the values that are deployed, no latent ones: a run
            with `net.init_from` is how a target is trained on.
        plugins: packages whose operators it computes with; a target never names one.

    Raises:
        UserError: no target there, or a damaged one.
    """
    path = Path(path).expanduser()
    if path.suffix == ".ckpt" and not path.is_dir():
        raise UserError(f"path={path}: a supernet's checkpoint; options: its run's folder, or that one's target/")
    catalogue = catalogue_of(tuple(plugins)) if plugins else PACKAGE_ONLY
    net = TargetNet(read_target(path, catalogue, key="path"))
    net.requires_grad_(trainable)
    return net
