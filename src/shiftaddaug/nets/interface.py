"""How a deployed network is fed and read: its images as plain data, and what its outputs stand for. Imports no torch.

`save_target` writes it into architecture.json, so that whoever deploys a target needs none of the data that it was
trained on, nor their configuration. `data/prepare.py` carries it out.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size, as_size
from shiftaddaug.settings import Share, check_fields, check_group, shown

Channels = Literal[1, 3]
Side = Annotated[int, Meta(ge=1, le=2**14)]
Level = Annotated[int, Meta(ge=0, le=255)]
Values = Annotated[tuple[Share, ...], Meta(title="a list of numbers >= 0 and <= 1, one for each channel")]
Names = Annotated[tuple[str, ...], Meta(title="a list of names")]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What becomes of a picture before the network sees it, as evaluation does it.

    The steps: read it as 8-bit grey or RGB (`data/pixels.py`), bring it to `size` as `resize` says, divide by 255,
    subtract `mean`, divide by `std`.

    Raises:
        UserError: a value that is out of its range, or that has no meaning beside another.
    """

    channels: Channels
    """1: grey; 3: red, green, blue."""
    size: Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2, title="a height and a width (px)")]
    """(height, width) that the network is fed, in pixels."""
    mean: Values
    """Mean of each channel, of pixels in 0..1."""
    std: Values
    """Standard deviation of each channel, of pixels in 0..1."""
    resize: Literal["stretch", "cover", "fit"]
    """How a picture of another size is brought to `size`. stretch: height and width each for itself. cover: scaled,
    its proportions kept, until it covers size / share, rounded up, then cropped at the centre. fit: scaled, its
    proportions kept, until it fits into `size`, and put in the middle of the colour `fill`."""
    interpolation: Literal["mean_or_bilinear", "bilinear"]
    """mean_or_bilinear: the mean of each rectangle of pixels where a picture is made smaller by whole ratios, else as
    bilinear. bilinear: bilinear, antialiased where it becomes smaller. Results are rounded to whole levels of
    0..255."""
    enlarged: Literal["levels", "fractions"] = "levels"
    """Whether an enlarged picture is rounded to whole levels, too, or keeps the fractions."""
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the covered size that is kept; of `cover` alone."""
    fill: Annotated[tuple[Level, ...], Meta(title="a list of levels of 0..255, one for each channel")] | None = None
    """Colour around the picture; of `fit` alone."""
    upright: bool = True
    """Whether a picture is turned as its EXIF tag says; masks lie as pixels are stored, and so do their images."""

    def __post_init__(self) -> None:
        check_fields("preprocessing", self)
        for key, values in (("mean", self.mean), ("std", self.std), ("fill", self.fill)):
            if values is not None and (len(values) != self.channels or not all(map(math.isfinite, values))):
                wanted = f"must be {self.channels} numbers, one for each channel"
                raise UserError(f"preprocessing.{key}={shown(values)}: {wanted}")
        if min(self.std) <= 0:
            raise UserError(f"preprocessing.std={shown(self.std)}: must be positive")
        for key, way in (("share", "cover"), ("fill", "fit")):
            if (getattr(self, key) is not None) != (self.resize == way):
                wanted = "must have a value" if self.resize == way else "must be null"
                raise UserError(f"preprocessing.{key}={shown(getattr(self, key))}: {wanted} with resize={self.resize}")

    @property
    def height_and_width(self) -> Size:
        """`size` as the package holds sizes."""
        return as_size(self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for json."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, raw: Any) -> "Preprocessing":
        """Read what `to_dict` returns.

        Raises:
            UserError: it is none: the first key that is unknown, missing or out of its range.
        """
        return check_group("preprocessing", _with_tuples(raw), cls)


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a deployed network is for.

    Raises:
        UserError: a value of another type, or no classes.
    """

    task: Annotated[str, Meta(min_length=1, title="a name")] | None = None
    """Name of the task, such as classification; None where it is not stated."""
    classes: Names | None = None
    """What each channel of the outputs stands for, in their order; None where that has no names."""
    preprocessing: Preprocessing | None = None
    """How images are prepared; None where the data module does not state it."""

    def __post_init__(self) -> None:
        check_fields("interface", self)
        if self.classes is not None and not self.classes:
            raise UserError("interface.classes=[]: must hold a name for each output, or be null")

    def check_outputs(self, outputs: int, channels: int) -> None:
        """Compare it with a network.

        Args:
            outputs: channels of the network's outputs.
            channels: of the images that it is fed.

        Raises:
            UserError: it speaks of another number of either.
        """
        if self.classes is not None and len(self.classes) != outputs:
            raise UserError(f"interface.classes: has {len(self.classes)} names, and the network {outputs} outputs")
        if self.preprocessing is not None and self.preprocessing.channels != channels:
            held = f"preprocessing.channels={self.preprocessing.channels}"
            raise UserError(f"{held}: the network reads images of {channels} channels")

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for json."""
        return {
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
        }

    @classmethod
    def from_dict(cls, raw: Any) -> "Interface":
        """Read what `to_dict` returns.

        Raises:
            UserError: it is none: the first key that is unknown, missing or out of its range.
        """
        plain = _with_tuples(raw)
        if isinstance(plain, dict) and plain.get("preprocessing") is not None:
            plain["preprocessing"] = Preprocessing.from_dict(plain["preprocessing"])
        return check_group("interface", plain, cls)


UNKNOWN = Interface()
"""The interface of a target of which nothing is stated, such as one that an earlier version wrote."""


def _with_tuples(raw: Any) -> Any:
    if not isinstance(raw, Mapping):
        return raw
    return {str(key): tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
