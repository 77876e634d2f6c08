"""Class folders streamed from disk."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.builders import module_of
from torchvision.transforms.v2.functional import pil_to_tensor
from torchvision.transforms.v2.functional import to_pil_image as to_pil

from shiftaddaug.data.class_folders import count_classes
from shiftaddaug.data.image_folder import FolderImages, ImageFolderDataModule, _Cover
from shiftaddaug.errors import UserError

MakeFolders = Callable[..., Path]


def ready(root: Path, **options: Any) -> ImageFolderDataModule:
    small = {"data_dir": root, "num_workers": 0, "batch_size": 4, "image_size": 8}
    data: ImageFolderDataModule = module_of("image_folder", **(small | options))
    data.setup("fit")
    return data


def files(part: FolderImages) -> list[str]:
    return ["/".join(path.parts[-3:]) for path, _ in part.samples]


def batches(data: ImageFolderDataModule, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_without_test_folder_val_is_the_test_set(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 10, "val": 3})
    data = ready(root, val_fraction=0.2)
    assert set(files(data.train_set)) | set(files(data.val_set)) == {
        f"train/{name}/{i:03d}.png" for name in ("cat", "dog") for i in range(10)
    }
    assert not set(files(data.train_set)) & set(files(data.val_set))
    assert [label for _, label in data.val_set.samples] == [0, 0, 1, 1]
    assert files(data.test_set) == [f"val/{name}/{i:03d}.png" for name in ("cat", "dog") for i in range(3)]
    assert files(ready(root, val_fraction=0.2, seed=4).val_set) == files(data.val_set)
    assert files(ready(root, val_fraction=0.2, split_seed=4).val_set) != files(data.val_set)


def test_with_test_folder_splits_are_taken_as_they_are(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 4, "val": 2, "test": 3}))
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [8, 4, 6]
    assert files(data.test_set)[0] == "test/cat/000.png"


def test_without_splits_every_class_is_split(make_folders: MakeFolders, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folders({"": 20})
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    with caplog.at_level(logging.INFO, logger="shiftaddaug"):
        data = ready(root)
    parts = [set(files(part)) for part in (data.train_set, data.val_set, data.test_set)]
    assert [len(part) for part in parts] == [28, 4, 8]
    assert len(set.union(*parts)) == 40
    assert [label for _, label in data.test_set.samples] == [0] * 4 + [1] * 4
    assert [set(files(part)) for part in (ready(root, seed=4).train_set, ready(root, seed=4).test_set)] == parts[::2]
    assert set(files(ready(root, split_seed=4).test_set)) != parts[2]
    (record,) = caplog.records[:1]
    assert record.getMessage() == (
        f"data.data_dir={root}: 2 classes; 28 images for training, 4 for validation, 8 for test: "
        "split by data.split_seed=0"
    )


def test_with_test_and_without_val_validation_is_carved_out(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 10, "test": 3}), val_fraction=0.2)
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [16, 4, 6]
    assert files(data.test_set)[0] == "test/cat/000.png"


def test_an_epoch_passes_several_times_over_few_images(make_folders: MakeFolders) -> None:
    root = make_folders({"": 10})
    for path in root.glob("*/*.png"):
        _noise(path)
    data = ready(root, min_epoch_batches=7)  # 14 training images, 4 a batch: 7 need two passes
    (made,) = [batches(data, 1)]
    assert len(made) == 7
    images = torch.cat([images for images, _ in made])
    assert len({image.numpy().tobytes() for image in images}) == 28  # augmented anew each time
    assert torch.bincount(torch.cat([labels for _, labels in made])).tolist() == [14, 14]
    assert _equal(made, batches(ready(root, min_epoch_batches=7), 1))
    assert len(batches(ready(root), 1)) == len(batches(ready(root, min_epoch_batches=3), 1)) == 3


def test_a_file_that_is_no_image_is_refused_before_training(make_folders: MakeFolders) -> None:
    root = make_folders({"": 4})
    for name in ("cat", "dog"):
        (root / name / "003.png").write_text("not an image")
    with pytest.raises(UserError, match=r"003\.png: cannot be read as an image \(UnidentifiedImageError\); 1 more"):
        ready(root)


def test_batches_are_uint8_then_normalised(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 6, "val": 3}), mean=[0.0, 0.5, 0.0], std=[1.0, 0.5, 0.1])
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (4, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 0, 1]
    out, _ = data.on_after_batch_transfer((images, labels), 0)
    expected = torch.tensor([2 / 255, -1.0, 7 / 25.5])  # the third cat: (2, 0, 7)
    torch.testing.assert_close(out[2, :, 4, 4], expected)


def test_evaluation_crops_the_centre(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 6, "val": 1}, size=8), image_size=7)
    path, _ = data.test_set.samples[0]
    from PIL import Image

    picture = Image.new("RGB", (8, 8))
    picture.putpixel((0, 3), (255, 0, 0))
    picture.putpixel((7, 3), (0, 255, 0))
    picture.save(path)
    image, _ = data.test_set[0]
    assert image.shape == (3, 7, 7)
    assert int((image > 0).sum()) == 1  # shorter side 8 = round(7 * 8 / 7): nothing scaled, one column cut off


def test_grey_images(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 6, "val": 3}), in_channels=1, mean=[0.5], std=[0.5])
    assert next(iter(data.train_dataloader()))[0].shape == (4, 1, 8, 8)


def test_the_number_of_classes_is_known_before_setup(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 1, "val": 1}, classes=("a", "b", "c"))
    assert count_classes(root) == 3
    assert module_of("image_folder", data_dir=root).num_classes == 3


def test_order_and_augmentation_are_functions_of_seed_and_epoch(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 6, "val": 3}, size=20)
    for path in root.glob("train/*/*.png"):
        _noise(path)
    torch.manual_seed(0)
    first = batches(ready(root), 3)
    torch.manual_seed(1)
    data = ready(root)
    assert not _equal(batches(data, 2), first)
    state = torch.get_rng_state()
    again = batches(data, 3)
    assert _equal(again, first)
    assert torch.get_rng_state().equal(state)  # the global generator is left to the training code
    assert not _equal(batches(ready(root, seed=1), 3), first)


def test_workers_change_nothing(make_folders: MakeFolders) -> None:
    root = make_folders({"train": 6, "val": 3}, size=20)
    for path in root.glob("train/*/*.png"):
        _noise(path)
    loader = ready(root, num_workers=1).train_dataloader()
    loader.sampler.set_epoch(0)
    list(loader)  # an epoch more in the life of the worker
    loader.sampler.set_epoch(1)
    assert _equal(list(loader), batches(ready(root), 1))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_line(make_folders: MakeFolders, num_workers: int) -> None:
    root = make_folders({"train": 6, "val": 3})
    broken = root / "val" / "dog" / "001.png"
    broken = broken.rename(broken.with_name("1\nUserError: \udcff.png"))
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UserError) as caught:
        list(ready(root, num_workers=num_workers).test_dataloader())
    shown = str(broken).replace("\n", "\\n").replace("\udcff", "\\udcff")
    assert str(caught.value).startswith(f"{shown}: cannot be read as an image (")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1000, "name": "imagenet"}, r"data\.num_classes=1000: imagenet holds 2 classes"),
        ({"in_channels": 2, "mean": [0, 0], "std": [1, 1]}, r"data\.in_channels=2: no such option; options: 1, 3"),
        ({"num_workers": -1}, r"data\.num_workers=-1"),
        ({"brightness": -0.1}, r"data\.brightness=-0\.1: must be a number >= 0 and <= 1"),
        ({"saturation": 1.5}, r"data\.saturation=1\.5: must be a number >= 0 and <= 1"),
        ({"eval_share": 0.05}, r"data\.eval_share=0\.05: must be a share of the image's side, >= 0\.1 and <= 1"),
    ],
)
def test_wrong_values_are_named(make_folders: MakeFolders, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ready(make_folders({"train": 6, "val": 3}), **options)


def test_the_folder_must_be_given() -> None:
    with pytest.raises(UserError, match=r"data\.data_dir=null: imagenet needs a folder"):
        module_of("imagenet")


def _noise(path: Path) -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(int(path.stem))
    pixels = torch.randint(0, 256, (20, 20, 3), dtype=torch.uint8, generator=generator)
    Image.fromarray(pixels.numpy()).save(path)


def _equal(first: list[Any], second: list[Any]) -> bool:
    return all(a.equal(b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("size", [(8, 12), (12, 8), 8])
def test_images_may_be_rectangles(make_folders: MakeFolders, size: int | tuple[int, int]) -> None:
    data = ready(make_folders({"train": 6, "val": 3}), image_size=size)
    wanted = (size, size) if isinstance(size, int) else size
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, _ = next(iter(loader))
        assert images.shape[-2:] == wanted


@pytest.mark.parametrize("stored", [(30, 30), (20, 50), (64, 33)])
def test_an_evaluated_image_is_its_centre_at_full_height_or_width(stored: tuple[int, int]) -> None:
    """Nothing but the margin is cut off where the proportions agree, and no border is ever black."""
    from PIL import Image

    image = Image.new("L", stored, 200)
    for size in ((14, 21), (21, 14), (14, 14)):
        covering = _Cover(size, 0.875)(image)
        least = [math.ceil(side / 0.875) for side in size]
        assert covering.height >= least[0] - 1 and covering.width >= least[1] - 1
        assert min(covering.height - least[0], covering.width - least[1]) <= 1
        assert covering.height >= size[0] and covering.width >= size[1]


@pytest.mark.parametrize(("size", "share", "covered"), [(176, 0.875, 202), (224, 0.875, 256), (32, 1.0, 32)])
def test_an_evaluated_image_covers_more_than_its_crop(size: int, share: float, covered: int) -> None:
    """NetAug evaluates 176 of 202 px: 201.1, rounded up."""
    from PIL import Image

    assert _Cover((size, size), share)(Image.new("L", (300, 400))).width == covered


def test_colours_change_by_factors(make_folders: MakeFolders) -> None:
    """Brightness by 1 - b to 1 + b, saturation about the grey of a pixel; nothing is drawn where nothing changes."""
    root, image = make_folders({"train": 6, "val": 3}), torch.tensor([100, 60, 20], dtype=torch.uint8)
    grey = 0.299 * 100 + 0.587 * 60 + 0.114 * 20
    picture = to_pil(image.view(3, 1, 1).expand(3, 8, 8))

    def drawn(**options: float) -> torch.Tensor:
        jitter = ready(root, **options)._jitter()[0]
        return torch.stack([pil_to_tensor(jitter(picture))[:, 0, 0].double() for _ in range(100)])

    brighter = drawn(brightness=0.5)
    factors = brighter / image
    assert (factors - factors[:, :1]).abs().max() <= 0.06  # of one rounding of 20
    assert 0.45 <= factors[:, 0].min() < 0.6 and 1.4 < factors[:, 0].max() <= 1.55
    difference = (drawn(saturation=0.5) - grey) / (image - grey)
    assert 0.45 <= difference[:, 2].min() < 0.6 and 1.4 < difference[:, 2].max() <= 1.55
    assert ready(root)._jitter() == []
    assert ready(root, in_channels=1, mean=[0.5], std=[0.5], saturation=0.5)._jitter() == []


def test_grey_images_have_no_saturation(make_folders: MakeFolders) -> None:
    data = ready(make_folders({"train": 6, "val": 3}), in_channels=1, mean=[0.5], std=[0.5], saturation=0.5)
    assert data.settings.without_effect()["saturation"] == "images are read as grey (data.in_channels=1)"
