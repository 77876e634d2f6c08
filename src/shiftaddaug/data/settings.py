"""Keys of configs/data: types, ranges, defaults, and what shows of the data before torch is imported.

A data set that has keys of its own adds them in a dataclass that inherits from one of these, and annotates its data
module with it: `settings: MySettings`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size, as_size
from shiftaddaug.settings import (
    MOST,
    InnerShare,
    PositiveInt,
    Seed,
    Share,
    ShareBelowOne,
    check_fields,
    check_group,
    shown,
)

LARGEST_SIDE = 2**14
"""Largest side of an image, in pixels."""

Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE)]
ImageSize = Annotated[
    Side | Annotated[list[Side], Meta(min_length=2, max_length=2)],
    Meta(title=f"a whole number >= 1 and <= {LARGEST_SIDE} (px), or two of them, [height,width]"),
]
ShareOfSide = Annotated[
    float, Meta(ge=0, lt=1, title="a share of the image's side, >= 0 and < 1, such as 0.125 (4 of 32 px)")
]
Channels = Annotated[int, Meta(ge=1, le=2**16)]
NumClasses = Annotated[int, Meta(ge=2, le=MOST)]
Folder = Annotated[str | Path | None, Meta(title="a path, or null")]


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Keys of every data set of images.

    Raises:
        UserError: a value is out of its range.
    """

    any_images: ClassVar[bool] = False
    """Whether the name does not say which images these are, as of a folder of one's own."""

    name: str
    """Name of the data set, as people read it in messages."""
    in_channels: Channels
    """Channels that the network is built for: 1 of grey images, 3 of colours."""
    image_size: ImageSize = 32
    """Size that the network is fed, in pixels: the side of a square, or (height, width)."""
    batch_size: PositiveInt = 128
    """Images per process and step."""
    seed: Seed = 0
    """Seed of the run; fixes the order of the training images."""
    mean: tuple[Share, ...]
    """Mean of each channel, of pixels in 0..1."""
    std: tuple[Share, ...]
    """Standard deviation of each channel, of pixels in 0..1."""
    horizontal_flip: bool = True
    """Whether training images are mirrored by chance."""

    def __post_init__(self) -> None:
        check_fields("data", self)
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.in_channels or not all(map(math.isfinite, values)):
                wanted = f"must be {self.in_channels} numbers, one per channel (data.in_channels)"
                raise UserError(f"data.{key}={shown(values)}: {wanted}")
        if min(self.std) <= 0:
            raise UserError(f"data.std={shown(self.std)}: must be positive")

    @property
    def size(self) -> Size:
        """(height, width) that the network is fed, in pixels."""
        return as_size(self.image_size)

    def validates(self) -> bool:
        """Whether there are images to validate on."""
        return True

    def without_effect(self) -> Mapping[str, str]:
        """Return the keys that the data themselves take the place of, and why."""
        return {}

    def check_source(self) -> None:
        """Refuse what the data themselves contradict, as far as that shows without torch and without reading images.

        Raises:
            UserError: files are not there, say, or they hold something else.
        """


@dataclass(frozen=True, kw_only=True)
class ClassesSettings(ImageSettings):
    """Keys of images with classes, of images or of pixels, of which a validation set is held out."""

    num_classes: NumClasses | None = None
    """Classes that the network is built for; None takes as many as the data hold, where that is known beforehand."""
    val_fraction: ShareBelowOne = 0.1
    """Share of the training images that is held out for validation; with 0 nothing is validated."""
    split_seed: Seed = 0
    """Seed of that split, whatever the run's."""

    splits_test: ClassVar[bool] = False
    """Whether images for test are held out by that seed, too."""

    def without_effect(self) -> Mapping[str, str]:
        held_out = self.val_fraction > 0 or self.splits_test
        return {} if held_out else {"split_seed": "data.val_fraction=0 holds nothing out"}

    def held(self) -> tuple[int | None, int | None]:
        """Return (classes, channels) that the data are known to hold without reading them; None: not known.

        Raises:
            UserError: the data are not there.
        """
        return None, None

    def validates(self) -> bool:
        return self.val_fraction > 0

    def classes(self) -> int:
        """Return the number of classes that the network is built for.

        Raises:
            UserError: it is not known, or the data hold another number.
        """
        held = self.held()[0]
        if self.num_classes is None and held is None:
            raise UserError(f"data.num_classes=null: {self.name} does not say beforehand; must be a whole number >= 2")
        self.check_held(held)
        return int(self.num_classes or held or 0)

    def check_held(self, classes: int | None, channels: int | None = None) -> None:
        """Compare what is claimed with what the data hold; None: not known.

        Raises:
            UserError: they disagree.
        """
        if None not in (classes, self.num_classes) and classes != self.num_classes:
            raise UserError(f"data.num_classes={self.num_classes}: {self.name} holds {classes} classes")
        if channels not in (None, self.in_channels):
            raise UserError(f"data.in_channels={self.in_channels}: {self.name} holds images of {channels} channels")

    def check_source(self) -> None:
        self.check_held(*self.held())


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings(ClassesSettings):
    """Keys of labelled images; every class gives its share of images for validation."""


@dataclass(frozen=True, kw_only=True)
class InMemorySettings(ClassificationSettings):
    """Keys of data sets that fit in memory."""

    crop_padding: ShareOfSide = 0.125
    """Black margin around the image out of which a training crop is taken, as a share of the image's shorter side, so
    that images of every size are shifted alike; 0 = no crop."""


@dataclass(frozen=True, kw_only=True)
class DigitsSettings(InMemorySettings):
    """Keys of configs/data/digits.yaml."""

    splits_test = True

    name: Literal["digits"]
    test_fraction: InnerShare = 0.2
    """Share of every class's images that is kept for test."""

    def held(self) -> tuple[int, int]:
        """Return the classes and channels of the digits."""
        return 10, 1


Settings = TypeVar("Settings", bound=ImageSettings)


def settings_from(kind: type[Settings], keys: Mapping[str, Any]) -> Settings:
    """Return settings from keys as a configuration holds them; Hydra's lists become tuples.

    Raises:
        UserError: the first key that is unknown, missing or out of its range.
    """
    plain = {key: _plain(value) for key, value in keys.items()}
    return check_group("data", plain, kind)


def _plain(value: Any) -> Any:
    listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return tuple(value) if listed else value
