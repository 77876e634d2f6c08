"""Keys of data sets of images and masks, and what a value in a mask's file means. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.data.pairs import Pair
from shiftaddaug.data.settings import ClassesSettings, Folder, ImageSize
from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size, as_size
from shiftaddaug.settings import Count, PositiveInt, Seed, Share, shown

IGNORED = 255
"""Label of pixels that count nowhere, in the masks that data modules yield."""

NumLabels = Annotated[int, Meta(ge=2, le=IGNORED)]
Level = Annotated[int, Meta(ge=0, le=255)]
Colour = Annotated[list[Level], Meta(min_length=3, max_length=3)]
Palette = Annotated[
    tuple[Level | Colour, ...],
    Meta(title="a list of grey levels or colours, such as [0,255] or [[0,0,0],[128,0,0]]"),
]
Factors = Annotated[
    tuple[Annotated[float, Meta(gt=0, le=100)], ...],
    Meta(min_length=2, max_length=2, title="two numbers > 0, the least and the most, such as [0.5,2.0]"),
]
Jitter = Annotated[float, Meta(ge=0, le=1)]
Hue = Annotated[float, Meta(ge=0, le=0.5)]


@dataclass(frozen=True)
class MaskCode:
    """What the values in a mask's file mean."""

    classes: int
    ignored: int | None
    """Label that is not learned; 255 in the masks that are yielded."""
    labels: Mapping[int, int] | None = None
    """Label of each grey value or index; None: the value itself."""
    colours: tuple[tuple[int, int, int], ...] | None = None
    """Colours of the labels 0, 1, ..., where colours say what a pixel is."""
    others_ignored: bool = False
    """Whether any other value is not learned, rather than a mistake."""

    def yielded(self, label: int) -> int | None:
        """Return a label as masks hold it: the same, or 255; None of one that is neither a class nor ignored."""
        if label == self.ignored:
            return IGNORED
        if 0 <= label < self.classes:
            return label
        return IGNORED if self.others_ignored else None


@dataclass(frozen=True, kw_only=True)
class MaskSettings(ClassesSettings):
    """Keys of images with a label for each pixel."""

    batch_size: PositiveInt = 16
    """Images per process and step."""
    num_classes: NumLabels | None = None
    """Classes that the network is built for; None takes as many as have names or colours."""
    in_channels: Literal[1, 3] = 3
    """Channels that images are read as: 1 (grey) or 3 (colour)."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, in the order of labels."""
    ignore_index: Level | None = None
    """Label that is not learned and counts nowhere."""
    eval_size: ImageSize | None = None
    """Size at which images are evaluated, in pixels; None is image_size."""
    scale: Factors = (1.0, 1.0)
    """Training images are scaled by a factor drawn from these, times what fits them into eval_size, then cropped."""
    brightness: Jitter = 0.0
    """Training images become brighter or darker by a factor of at most 1 + this, drawn anew for each."""
    contrast: Jitter = 0.0
    """Contrast changes by a factor of at most 1 + this."""
    saturation: Jitter = 0.0
    """Saturation changes by a factor of at most 1 + this."""
    hue: Hue = 0.0
    """Share of the colour circle by which the colours of a training image turn at most."""
    num_workers: Count = 0
    """Processes that read and augment images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale[0] > self.scale[1]:
            raise UserError(f"data.scale={shown(self.scale)}: the least must not be larger than the most")
        names = self.class_names
        if names is not None and self.num_classes not in (None, len(names)):
            raise UserError(
                f"data.class_names={shown(names)}: has {len(names)} names for data.num_classes={self.num_classes}"
            )

    @property
    def evaluated(self) -> Size:
        """(height, width) at which images are evaluated, in pixels."""
        return self.size if self.eval_size is None else as_size(self.eval_size)

    def held(self) -> tuple[int | None, int | None]:
        return (None if self.class_names is None else len(self.class_names)), None

    def code(self) -> MaskCode:
        """Return what the values in masks mean; here labels themselves."""
        return MaskCode(self.classes(), self.ignore_index)

    def without_effect(self) -> Mapping[str, str]:
        grey = "images are read as grey (data.in_channels=1)"
        values = {"saturation": self.saturation, "hue": self.hue}
        idle = {key: grey for key, value in values.items() if value and self.in_channels == 1}
        return {**super().without_effect(), **idle}


@dataclass(frozen=True, kw_only=True)
class ShapesSettings(MaskSettings):
    """Keys of configs/data/shapes.yaml."""

    name: Literal["shapes"]
    train_images: PositiveInt = 512
    """Images that are drawn for training and validation."""
    test_images: PositiveInt = 128
    """Images that are drawn for test."""
    noise: Share = 0.05
    """Standard deviation of the noise, of white."""
    draw_seed: Seed = 0
    """Seed of the drawings, whatever the run's."""

    def held(self) -> tuple[int, int]:
        """Return the classes and channels of the drawings."""
        return 4, 3


@dataclass(frozen=True, kw_only=True)
class MaskFilesSettings(MaskSettings):
    """Keys of images and masks that lie in files."""

    data_dir: Folder
    """Folder that holds them."""

    def pairs(self) -> dict[str, list[Pair]]:
        """List the files of each split, `train` and others of `val` and `test`, without opening one.

        Raises:
            UserError: they are not there, or images and masks do not belong together.
        """
        raise NotImplementedError

    def brings_validation(self) -> bool:
        """Whether there are images to validate on besides those for test."""
        return False

    def root(self, expected: str, holds: str = "", subfolder: str = "") -> Path:
        """Return `data_dir`, or a folder in it, whichever holds the data.

        Args:
            expected: what is looked for, for the message.
            holds: name of a folder in the one that is looked for.
            subfolder: name that it has in a folder of data sets.

        Raises:
            UserError: there is no such folder.
        """
        if self.data_dir is None:
            raise UserError(f"data.data_dir=null: {self.name} needs a folder of images and masks ({expected})")
        folder = Path(self.data_dir)
        if not folder.is_dir():
            raise UserError(f"data.data_dir={folder}: no such folder ({expected})")
        for root in (folder / subfolder, folder):
            if (root / holds).is_dir():
                return root
        raise UserError(f"data.data_dir={folder}: no {self.name} there ({expected})")

    def validates(self) -> bool:
        return super().validates() or self.brings_validation()

    def without_effect(self) -> Mapping[str, str]:
        idle = dict(super().without_effect())
        if self.brings_validation():
            idle |= dict.fromkeys(("val_fraction", "split_seed"), f"{self.data_dir} has images for validation")
        return idle

    def check_source(self) -> None:
        super().check_source()
        self.pairs()


def colours_of(palette: tuple[Any, ...] | None) -> tuple[tuple[int, int, int], ...] | None:
    """Return the colours of a palette; None if it holds grey levels.

    Raises:
        UserError: it holds both, or one twice.
    """
    if palette is None:
        return None
    colours = [tuple(each) for each in palette if not isinstance(each, int)]
    if colours and len(colours) < len(palette):
        raise UserError(f"data.palette={shown(palette)}: holds grey levels and colours; must be of one kind")
    if len({*map(tuple, colours)} or {*palette}) < len(palette):
        raise UserError(f"data.palette={shown(palette)}: holds one twice")
    return tuple(colours) or None  # type: ignore[arg-type]
