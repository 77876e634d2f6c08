"""Pictures of every mode, as a viewer shows them."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from shiftaddaug.data.image_folder import FolderImages
from shiftaddaug.data.pixels import as_shown
from shiftaddaug.errors import UserError

LEVELS = np.array([[0, 51, 128, 255]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [10, 20, 30]]], np.uint8)
GREY = [0, 51, 128, 255]


def shown(picture: Image.Image, path: Path, mode: str, **options: Any) -> list[Any]:
    """Pixels of the first row of what is read from a file."""
    picture.save(path, **options)
    return opened(path, mode)


def opened(path: Path, mode: str) -> list[Any]:
    with Image.open(path) as file:
        result = as_shown(file, mode)
    assert result.mode == mode
    pixels: list[Any] = np.asarray(result)[0].tolist()
    return pixels


def of(values: Any, mode: str) -> Image.Image:
    """A picture of one row, from bytes as PIL holds them."""
    array = np.asarray(values, np.uint8)
    return Image.frombytes(mode, (array.shape[1], 1), array.tobytes())


SIXTEEN = np.array([[0, 51 * 257, 32896, 65535]])

GREYS: dict[str, Callable[[], tuple[Image.Image, str]]] = {
    "L": lambda: (Image.fromarray(LEVELS), "png"),
    "I;16 png": lambda: (Image.fromarray(SIXTEEN.astype(np.uint16)), "png"),
    "I;16 tif": lambda: (Image.fromarray(SIXTEEN.astype("<u2")), "tif"),
    "I;16B tif": lambda: (Image.frombytes("I;16B", (4, 1), SIXTEEN.astype(">u2").tobytes()), "tif"),
    "I pgm": lambda: (Image.fromarray(SIXTEEN.astype(np.int32)), "pgm"),
    "I tif": lambda: (Image.fromarray(SIXTEEN.astype(np.int32)), "tif"),
    "F": lambda: (Image.fromarray((LEVELS / 255).astype(np.float32)), "tif"),
    "LA opaque": lambda: (of(np.stack([LEVELS, np.full_like(LEVELS, 255)], -1), "LA"), "png"),
    "RGB": lambda: (Image.fromarray(np.repeat(LEVELS[..., None], 3, -1)), "png"),
}


@pytest.mark.parametrize("kind", GREYS)
def test_grey_pictures(kind: str, tmp_path: Path) -> None:
    picture, suffix = GREYS[kind]()
    path = tmp_path / f"x.{suffix}"
    assert shown(picture, path, "L") == GREY
    assert opened(path, "RGB") == [[level] * 3 for level in GREY]


def palette_of(transparent: Any = None) -> Image.Image:
    picture = of([[0, 1, 2]], "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    if transparent is not None:
        picture.info["transparency"] = transparent
    return picture


LAB = [[200, 60, 90], [30, 30, 30], [90, 120, 60]]


def lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), inMode="RGB", outMode="LAB"
    )
    colours = Image.fromarray(np.array([LAB], np.uint8))
    result = ImageCms.applyTransform(colours, to_lab)
    assert result is not None
    return result


RGBA = [[[255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 0, 128]]]
ON_WHITE = [[255, 0, 0], [255, 255, 255], [127, 127, 127]]

COLOURED: dict[str, tuple[Callable[[], Image.Image], str, list[Any], int]] = {
    "1": (lambda: Image.fromarray(LEVELS > 100), "png", [[0] * 3, [0] * 3, [255] * 3, [255] * 3], 0),
    "RGB": (lambda: Image.fromarray(COLOURS), "png", COLOURS[0].tolist(), 0),
    "P": (palette_of, "png", COLOURS[0].tolist(), 0),
    "P index": (lambda: palette_of(1), "png", [[255, 0, 0], [255, 255, 255], [10, 20, 30]], 0),
    "P alphas": (lambda: palette_of(b"\xff\x00\x80"), "png", [[255, 0, 0], [255, 255, 255], [132, 137, 142]], 1),
    "RGBA": (lambda: of(RGBA, "RGBA"), "png", ON_WHITE, 0),
    "RGBA webp": (lambda: of(RGBA, "RGBA"), "webp", ON_WHITE, 3),
    "LA": (lambda: of([[[0, 255], [0, 0], [0, 128]]], "LA"), "png", [[0] * 3, [255] * 3, [127] * 3], 0),
    "PA": (lambda: palette_of().convert("PA"), "tif", COLOURS[0].tolist(), 0),
    "CMYK": (
        lambda: of([[[0, 255, 255, 0], [255, 0, 255, 0], [0, 0, 0, 128]]], "CMYK"),
        "tif",
        [[255, 0, 0], [0, 255, 0], [127] * 3],
        0,
    ),
    "CMYK jpg": (lambda: of([[[0, 0, 0, 128]] * 8], "CMYK"), "jpg", [[127] * 3] * 8, 2),
    "YCbCr": (lambda: Image.fromarray(COLOURS).convert("YCbCr"), "tif", COLOURS[0].tolist(), 2),
    "LAB": (lab, "tif", LAB, 3),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_coloured_pictures(kind: str, tmp_path: Path) -> None:
    made, suffix, wanted, tolerance = COLOURED[kind]
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    found = shown(made(), tmp_path / f"x.{suffix}", "RGB", **options)
    np.testing.assert_allclose(found, wanted, atol=tolerance)


@pytest.mark.parametrize(
    ("mode", "values", "wanted"),
    [
        ("La", [[[0, 0], [64, 128], [200, 255]]], [[255] * 3, [191] * 3, [200] * 3]),
        ("RGBa", [[[0, 0, 0, 0], [64, 0, 0, 128], [9, 8, 7, 255]]], [[255] * 3, [191, 127, 127], [9, 8, 7]]),
        ("HSV", [[[0, 255, 255], [0, 0, 128], [85, 255, 255]]], [[255, 0, 0], [128] * 3, [0, 255, 0]]),
        ("RGBX", [[[1, 2, 3, 0], [4, 5, 6, 9], [7, 8, 9, 255]]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    ],
)
def test_modes_that_no_file_of_ours_has(mode: str, values: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.asarray(as_shown(of(values, mode), "RGB"))[0], wanted, atol=2)


def png(bits: int, kind: int, row: bytes, transparent: bytes) -> bytes:
    """A PNG of one row of two pixels, written by hand: PIL writes none with few bits or a transparent colour of 16."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, kind, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", transparent)
        + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "kind", "row", "transparent", "wanted"),
    [
        (1, 0, b"\x40", b"\0\0", [255, 255]),
        (1, 0, b"\x40", b"\0\1", [0, 255]),
        (2, 0, b"\x10", b"\0\1", [0, 255]),
        (4, 0, b"\x23", b"\0\3", [34, 255]),
        (8, 0, b"\x02\x03", b"\0\3", [2, 255]),
        (16, 0, b"\x40\x00\x03\x01", b"\3\1", [64, 255]),
        (8, 2, b"\1\1\1\2\2\2", b"\0\2\0\2\0\2", [1, 255]),
        (16, 2, b"\1\0\1\0\1\0\2\7\2\7\2\7", b"\2\7\2\7\2\7", [1, 255]),
    ],
)
def test_a_transparent_value_is_white(
    bits: int, kind: int, row: bytes, transparent: bytes, wanted: list[int], tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(png(bits, kind, row, transparent))
    assert opened(tmp_path / "x.png", "L") == wanted
    assert opened(tmp_path / "x.png", "RGB") == [[level] * 3 for level in wanted]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [*range(10), 99])
def test_pictures_are_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (2, 3), np.uint8).repeat(8, 0).repeat(8, 1)).convert("RGB")
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"x.{suffix}"
    picture.save(path, exif=exif, **({"quality": 100} if suffix in ("jpg", "webp") else {}))
    with Image.open(path) as file:
        found = as_shown(file, "L")
    picture.getexif()[274] = orientation
    wanted = ImageOps.exif_transpose(picture)
    assert found.size == wanted.size == ((16, 24) if 5 <= orientation <= 8 else (24, 16))
    np.testing.assert_allclose(np.asarray(found).astype(int), np.asarray(wanted.convert("L")), atol=6)


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("L", (3, 2), 9).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, _ = FolderImages([(path, 0)], lambda image: image, "L")[0]
    assert np.asarray(image).tolist() == [[9] * 3] * 2


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_of_several_frames_the_first_is_read(suffix: str, tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (2, 1), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if suffix == "webp" else {}
    found = shown(first, tmp_path / f"x.{suffix}", "RGB", save_all=True, append_images=[second], **options)
    assert found == [[255, 0, 0]] * 2


def test_of_a_tiff_white_may_be_nothing(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 65535, 257]], np.uint16))
    assert shown(picture, tmp_path / "x.tif", "L", tiffinfo={262: 0}) == [255, 0, 254]


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([[0, 70000]], np.int32), "values 0..70000 of mode I, expected 0..65535"),
        (np.array([[-1, 5]], np.int32), "values -1..5 of mode I"),
        (np.array([[0, 255]], np.float32), "values 0..255 of mode F, expected 0..1"),
        (np.array([[0, np.nan]], np.float32), "values nan..nan of mode F"),
    ],
)
def test_values_without_a_place_between_black_and_white_are_refused(
    array: np.ndarray[Any, Any], values: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(array).save(path)
    with pytest.raises(UserError) as caught:
        FolderImages([(path, 0)], lambda image: image, "RGB")[0]
    assert str(caught.value).startswith(f"{path}: cannot be read as an image (NoPicture: {values}")
