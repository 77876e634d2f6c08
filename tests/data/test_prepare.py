"""Pictures are prepared as evaluation prepares them, bit by bit, and masks find their way back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.builders import module_of
from tests.data.masked import write_camvid, write_image
from torch import Tensor

from shiftaddaug.data.digits import read_digits
from shiftaddaug.data.prepare import ImageTransform, placement, restored
from shiftaddaug.data.sampling import stratified_split
from shiftaddaug.nets.interface import Preprocessing


def transform_of(data: Any) -> ImageTransform:
    """What a deployed target makes of the data module's statement, once that has been through json."""
    return ImageTransform(Preprocessing.from_dict(json.loads(json.dumps(data.preprocessing().to_dict()))))


def evaluated(data: Any, name: str = "test") -> tuple[Tensor, Tensor]:
    data.setup("test")
    batch = next(iter(getattr(data, f"{name}_dataloader")()))
    images, wanted = data.transform_batch(*batch, train=False)
    return images, wanted


def picture(levels: Tensor) -> Image.Image:
    """A PIL image of uint8 (C, H, W)."""
    return Image.fromarray(levels.movedim(0, -1).squeeze(-1).numpy())


@pytest.mark.parametrize("size", [32, 8, 20])
def test_digits(size: int) -> None:
    data = module_of("digits", image_size=size, batch_size=400)
    images, labels = evaluated(data)
    pixels, classes = read_digits()
    _, test = stratified_split(classes, 0.2, data.settings.split_seed)
    levels = pixels[test].float().mul(255 / 16).round().byte().view(-1, 1, 8, 8)
    transform = transform_of(data)
    assert torch.equal(torch.stack([transform(picture(each)) for each in levels]), images)
    assert [data.class_names()[label] for label in labels[:3]] == [str(int(each)) for each in classes[test][:3]]


@pytest.mark.parametrize("size", [32, 16, 24, 48, [16, 48]])
def test_cifar(size: Any, make_cifar: Callable[..., Path]) -> None:
    folder = make_cifar("cifar100")
    data = module_of("cifar100", data_dir=folder, verify=False, val_fraction=0.25, image_size=size)
    images, _ = evaluated(data)
    stored = module_of("cifar100", data_dir=folder, verify=False, val_fraction=0.25).load().test.images
    transform = transform_of(data)
    assert torch.equal(torch.stack([transform(picture(each)) for each in stored]), images)


def test_names_of_cifars_classes_are_those_of_its_files(make_cifar: Callable[..., Path]) -> None:
    import pickle

    folder = make_cifar("cifar10")
    data = module_of("cifar10", data_dir=folder, verify=False)
    place = next(folder.rglob("test_batch")).parent / "batches.meta"
    place.unlink(missing_ok=True)
    assert data.class_names() is None
    names = [f"kind {i}" for i in range(10)]
    place.write_bytes(pickle.dumps({b"label_names": [name.encode() for name in names]}))
    assert data.class_names() == names
    place.write_bytes(pickle.dumps({"label_names": names[:3]}))
    assert data.class_names() is None


@pytest.mark.parametrize(("size", "channels"), [(8, 3), ([10, 6], 3), (16, 1)])
def test_folders(size: Any, channels: int, make_folders: Callable[..., Path]) -> None:
    root = make_folders({"train": 4, "val": 3})
    for i, path in enumerate(sorted(root.rglob("val/*/*"))):
        write_image(path, [(20, 30), (31, 17), (9, 9)][i % 3])
    mean = (0.5,) * channels
    options = {"in_channels": channels, "mean": mean, "std": mean, "num_workers": 0}
    data = module_of("image_folder", data_dir=root, image_size=size, **options)
    images, _ = evaluated(data)
    transform = transform_of(data)
    files = [path for path, _ in data.test_set.samples]
    assert torch.equal(torch.stack([transform(path) for path in files]), images)
    assert data.class_names() == ["cat", "dog"]


@pytest.mark.parametrize("size", [[12, 16], [20, 40], [9, 7]])
def test_masked_images(size: list[int], tmp_path: Path) -> None:
    data = module_of("camvid", data_dir=write_camvid(tmp_path), eval_size=size, num_workers=0)
    images, _ = evaluated(data)
    transform = transform_of(data)
    files = sorted(tmp_path.glob("camvid/test/*"))
    assert torch.equal(torch.stack([transform(path) for path in files]), images)
    assert data.class_names()[0] == "sky"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_pictures_of_any_kind(mode: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    data = module_of("shapes")
    transform = transform_of(data)
    before = image.tobytes()
    given = transform(image)
    assert given.shape == (3, 64, 64) and given.dtype == torch.float32 and given.isfinite().all()
    assert image.tobytes() == before
    if mode != "CMYK":  # which no PNG holds
        image.save(tmp_path / "a.png")
        assert torch.equal(transform(tmp_path / "a.png"), given)


WAYS: dict[str, dict[str, Any]] = {
    "stretch": {"interpolation": "mean_or_bilinear"},
    "cover": {"interpolation": "bilinear", "share": 0.8},
    "fit": {"interpolation": "bilinear", "fill": (9,)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", [(32, 40), (11, 50), (60, 7), (3, 3)])
def test_a_mask_comes_back_to_where_its_picture_lies(way: str, stored: tuple[int, int]) -> None:
    """What is prepared is a picture of two ramps, which say where a pixel of it came from."""
    size = (24, 36)
    mean = {"mean": (0.0,), "std": (1.0,)}
    known = Preprocessing(channels=1, size=size, resize=way, **mean, **WAYS[way])  # type: ignore[arg-type]
    rows, columns = (torch.linspace(0, 250, length).round() for length in stored)
    ramps = rows[:, None].expand(stored), columns[None].expand(stored)
    for ramp in ramps:
        seen = ImageTransform(known)(picture(ramp.byte()[None])) * 255
        back = restored(seen[0], stored, known, beyond=-1)
        assert back.shape == stored
        inside = back >= 0
        step = 250 / (min(stored) - 1) + 250 / (min(size) - 1)  # of one pixel, here and there
        assert ((back - ramp).abs()[inside] <= step).all()
        assert bool(inside.all()) == (way != "cover")
    kept = placement(stored, known)
    assert all(length > 0 for length in kept.scaled)
    if way == "cover":
        assert all(length >= wanted for length, wanted in zip(kept.scaled, size, strict=True))


def test_a_mask_of_whole_ratios_comes_back_exactly() -> None:
    known = Preprocessing(
        channels=1, size=(8, 12), mean=(0,), std=(1,), resize="fit", interpolation="bilinear", fill=(0,)
    )
    mask = torch.randint(0, 5, (4, 4))
    seen = torch.full((8, 12), 7)
    seen[:, 2:10] = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(restored(seen, (4, 4), known, beyond=255), mask)
