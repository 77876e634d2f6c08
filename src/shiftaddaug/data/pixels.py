"""Pictures of any kind that PIL opens, as 8-bit grey or colour: what a viewer shows of them.

The scale of a kind is fixed: 0..65535 of 16-bit pictures and of whole numbers, 0..1 of floats, so that pictures of one
data set stay comparable. Values beyond it are refused.

NOTE: embedded colour profiles are not applied, as in torchvision.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shiftaddaug.errors import UserError

PIL_MODES = {1: "L", 3: "RGB"}
"""Names that PIL has for grey levels and colours, by the number of channels."""

ORIENTATION = 274
"""EXIF tag that says how a picture is to be turned."""

PHOTOMETRIC = 262
"""TIFF tag that says what a value means; 0: that 0 is white."""

WHITE_16 = 65535
GREY_STEPS = {"1": 255, "L;2": 85, "L;4": 17}
"""Grey levels per step of a value, by PIL's name of what a PNG holds: PIL scales pixels, not the transparent value."""

MOST_HEADERS = 20_000
"""Files that are looked at before they are needed, at most: a second or two."""

ALPHA = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colours are multiplied by alpha, and those of their own colours."""


class NoPicture(ValueError):
    """Values that are no grey levels or colours."""


def read_picture(path: Path, mode: str, turned: bool = True) -> Any:
    """Return the picture in a file, see `as_shown`.

    Raises:
        UserError: it cannot be read as one.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PIL's, of damaged EXIF tags, for every image anew
            with Image.open(path) as file:
                return as_shown(file, mode, turned)
    except Exception as error:  # a damaged picture may raise nearly anything
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as an image ({type(error).__name__}: {reason})") from error


def check_headers(paths: Sequence[Path]) -> None:
    """Refuse files whose first bytes are those of no picture, before they are met in the middle of a training.

    Of more than `MOST_HEADERS` files none is looked at: that would take minutes where a folder lies on another machine.

    Raises:
        UserError: there are some, naming the first.
    """
    reasons = {path: _header_fault(path) for path in (paths if len(paths) <= MOST_HEADERS else ())}
    broken = [(path, reason) for path, reason in reasons.items() if reason is not None]
    if broken:
        path, reason = broken[0]
        more = f"; {len(broken) - 1} more cannot either" if len(broken) > 1 else ""
        raise UserError(f"{path}: cannot be read as an image ({reason}){more}; options: mend it, or take it away")


def _header_fault(path: Path) -> str | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            Image.open(path).close()
    except Exception as error:  # a damaged picture may raise nearly anything
        return type(error).__name__
    return None


def as_shown(image: Any, mode: str, turned: bool = True) -> Any:
    """Return a picture as a viewer shows it: its first frame, turned upright, transparent parts on white.

    Args:
        image: of PIL, of any mode.
        mode: `L` (grey) or `RGB`.
        turned: false leaves it as its pixels lie in the file: a mask beside it lies so, too.

    Returns:
        A PIL image of that mode, 8 bits a channel.

    Raises:
        NoPicture: its values have no place between black and white.
    """
    transparent = _transparent(image)
    image.load()
    orientation = _orientation(image)  # of a TIFF, PIL turns it while it loads, and then says so
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, transparent)
    elif image.mode == "LAB":
        image = _from_lab(image)
    elif transparent is not None:
        image.info["transparency"] = transparent
    shown = _on_white(image).convert(mode)
    return _upright(shown, orientation) if turned else shown


def _orientation(image: Any) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # a damaged tag may raise nearly anything, and the picture is none the worse
        return None


def _upright(image: Any, orientation: Any) -> Any:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _transparent(image: Any) -> Any:
    """Return the value that is transparent, as PIL's pixels have it once they are loaded; None if there is none."""
    value = image.info.get("transparency")
    tiles = getattr(image, "tile", None)  # of a file that is not loaded yet
    held = tiles[0][3] if tiles else None
    if isinstance(value, int) and held in GREY_STEPS:
        return min(255, value * GREY_STEPS[held])
    if isinstance(value, tuple) and held == "RGB;16B":
        return tuple(each >> 8 for each in value)
    return value


def _eight_bits(image: Any, transparent: Any) -> Any:
    """Return grey values of 16 bits, whole numbers or floats as 8-bit grey."""
    from PIL import Image

    white = 1.0 if image.mode == "F" else WHITE_16
    values = np.asarray(image).astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise NoPicture(f"values {values.min():g}..{values.max():g} of mode {image.mode}, expected 0..{white:g}")
    levels = values * (255 / white)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:
        levels = 255 - levels
    if isinstance(transparent, int):
        levels[values == transparent] = 255
    return Image.fromarray(np.rint(levels).astype(np.uint8))


def _from_lab(image: Any) -> Any:
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )


def _on_white(image: Any) -> Any:
    """Return a picture without transparency; grey stays grey."""
    from PIL import Image

    if not image.has_transparency_data:
        return image if image.mode in ("1", "L") else image.convert("RGB")
    image = image.convert(ALPHA.get(image.mode, image.mode)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
