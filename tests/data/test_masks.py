"""Masks in files: what their values mean, how mistakes are answered, and that known data sets are read as published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data import masked
from tests.data.builders import keys_of, module_of
from torchvision import datasets

from shiftaddaug.data.checks import check_data_config, holds_validation, without_effect
from shiftaddaug.data.mask_settings import MaskCode
from shiftaddaug.data.masks import FileSamples, MaskedImages, read_mask
from shiftaddaug.errors import UserError


def stored(part: Any) -> FileSamples:
    """Samples of a split as they lie in files."""
    assert isinstance(part, MaskedImages) and isinstance(part.samples, FileSamples)
    return part.samples


def names(part: Any) -> list[str]:
    return [pair.image.stem for pair in stored(part).pairs]


def set_up(name: str, folder: Path, **keys: Any) -> Any:
    data = module_of(name, data_dir=str(folder), num_workers=0, **keys)
    data.setup()
    return data


class TestValues:
    def write(self, path: Path, values: Any, mode: str | None = None) -> Path:
        Image.fromarray(np.array(values)).save(path) if mode is None else Image.fromarray(np.array(values), mode).save(
            path
        )
        return path

    def test_grey_levels_and_indices_are_labels(self, tmp_path: Path) -> None:
        levels = np.array([[0, 1], [2, 11]], np.uint8)
        grey = self.write(tmp_path / "grey.png", levels)
        image = Image.fromarray(levels)
        image.putpalette([255, 0, 0] * 256)
        image.save(tmp_path / "palette.png")
        Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "deep.png")
        for path in (grey, tmp_path / "palette.png", tmp_path / "deep.png"):
            assert read_mask(path, MaskCode(3, 11)).tolist() == [[0, 1], [2, 255]]

    def test_bits_are_labels(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
        assert read_mask(tmp_path / "bits.png", MaskCode(2, None)).tolist() == [[1, 0]]

    def test_a_palette_says_which_colour_is_which_label(self, tmp_path: Path) -> None:
        colours = ((0, 0, 0), (128, 0, 0), (9, 8, 7))
        path = self.write(tmp_path / "colours.png", np.array([[colours[1], colours[2], colours[0]]], np.uint8))
        assert read_mask(path, MaskCode(2, 2, colours=colours)).tolist() == [[1, 255, 0]]
        assert read_mask(path, MaskCode(3, None, colours=colours)).tolist() == [[1, 2, 0]]

    @pytest.mark.parametrize(
        ("values", "code", "message"),
        [
            (
                [[0, 1], [3, 7]],
                MaskCode(3, None),
                "label 3 at row 1, column 0, and data.num_classes=3 has labels 0..2, data.ignore_index=null; "
                "data.ignore_index=3 leaves it out",
            ),
            ([[0, 255]], MaskCode(2, None, {0: 0, 254: 1}), "value 255 at .* stands for no label; options: 0, 254"),
            ([[0, 255]], MaskCode(2, 9), "label 255 at row 0, column 1, and data.num_classes=2 has labels 0..1, .*"),
            ([[[1, 2, 3]]], MaskCode(2, None), r"is in colours \(mode RGB\); data.palette must say which colour .*"),
            ([[[1, 2, 3]]], MaskCode(1, None, colours=((0, 0, 0),)), r"colour \(1, 2, 3\) .* none of data.palette"),
            ([[[1, 2, 3]]], MaskCode(1, None, colours=((0, 0, 0), (1, 2, 3))), r"colour .* is label 1, and .*"),
        ],
    )  # fmt: skip
    def test_what_is_no_label(self, values: Any, code: MaskCode, message: str, tmp_path: Path) -> None:
        path = self.write(tmp_path / "mask.png", np.array(values, np.uint8))
        with pytest.raises(UserError, match=f"^{path}: {message}$"):
            read_mask(path, code)

    def test_what_is_no_picture(self, tmp_path: Path) -> None:
        (tmp_path / "mask.png").write_text("none")
        with pytest.raises(UserError, match=r"mask\.png: cannot be read as a mask \(UnidentifiedImageError"):
            read_mask(tmp_path / "mask.png", MaskCode(2, None))


class TestPairs:
    """Of folders of one's own, before an image is opened; the line names the file."""

    def check(self, folder: Path, **keys: Any) -> None:
        check_data_config(keys_of("mask_folder", data_dir=str(folder), num_classes=2, **keys))

    def test_an_image_without_a_mask(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path)
        (tmp_path / "masks" / "03.png").unlink()
        with pytest.raises(UserError, match=r"images/03\.jpg: this image has no mask of that name in .*/masks$"):
            self.check(tmp_path)

    def test_masks_without_an_image(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path)
        for name in ("03", "05"):
            (tmp_path / "images" / f"{name}.jpg").unlink()
        with pytest.raises(UserError, match=r"masks/03\.png: 2 masks have no image of that name in .*/images$"):
            self.check(tmp_path)

    def test_two_of_a_name(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path)
        masked.write_image(tmp_path / "images" / "03.png")
        with pytest.raises(UserError, match=r"images/03\.png: 03\.jpg has the same name without its suffix$"):
            self.check(tmp_path)

    def test_what_a_system_left_is_left_out(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path)
        (tmp_path / "images" / "._00.jpg").write_text("")
        self.check(tmp_path)

    def test_no_such_folders(self, tmp_path: Path) -> None:
        for folder, message in (
            (tmp_path / "nowhere", "no such folder"),
            (tmp_path, r"is not laid out so \(expected images/\*"),
        ):
            with pytest.raises(UserError, match=rf"^data\.data_dir=.*: {message}"):
                self.check(folder)
        (tmp_path / "images").mkdir()
        with pytest.raises(UserError, match=r"images: holds no file that ends in \.jpg"):
            self.check(tmp_path)

    def test_sizes_that_differ_are_met_before_training(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path)
        masked.write_mask(tmp_path / "masks" / "04.png", (0, 1), (6, 16))
        with pytest.raises(
            UserError, match=r"04\.png: is 16 x 6 px \(width x height\), and its image .*04\.jpg 16 x 12"
        ):
            set_up("mask_folder", tmp_path, num_classes=2)

    def test_labels_out_of_range_are_met_before_training(self, tmp_path: Path) -> None:
        masked.write_folder(tmp_path, values=(0, 255))
        with pytest.raises(UserError, match=r"\.png: label 255 at row \d+, column \d+, and data\.num_classes=2"):
            set_up("mask_folder", tmp_path, num_classes=2)
        assert set_up("mask_folder", tmp_path, palette=[0, 255]).num_classes == 2


class TestLayers:
    """Masks that say yes or no, in a folder for each class."""

    def write(self, folder: Path) -> Path:
        for i in range(5):
            masked.write_image(folder / "images" / f"{i}.jpg")
            for name, yes in (("car", 255), ("wheel", 1)):
                masked.write_mask(folder / "masks" / name / f"{i}.png", (0, yes))
        return folder

    def test_are_read_beside_each_other(self, tmp_path: Path) -> None:
        keys = {"multilabel": True, "class_names": ["wheel", "car"], "image_size": [6, 8]}
        data = set_up("mask_folder", self.write(tmp_path), **keys)
        _, mask = stored(data.test_set).read(0)
        name = names(data.test_set)[0]
        for layer, folder in zip(mask, ("wheel", "car"), strict=True):
            raw = np.array(Image.open(tmp_path / "masks" / folder / f"{name}.png"))
            assert np.array_equal(layer.numpy(), raw > 0)
        images, masks = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
        assert (images.shape, masks.shape, masks.dtype) == ((1, 3, 6, 8), (1, 2, 6, 8), torch.int64)
        assert data.train_set[0][1].shape == (2, 6, 8) and data.num_classes == 2

    def test_lack_nothing(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "masks" / "wheel" / "3.png").unlink()
        with pytest.raises(UserError, match=r"images/3\.jpg: this image has no mask of that name in .*/masks/wheel$"):
            set_up("mask_folder", tmp_path, multilabel=True, class_names=["wheel", "car"])
        with pytest.raises(UserError, match=r"^data\.class_names=null: data\.multilabel=true takes masks from folders"):
            module_of("mask_folder", data_dir=str(tmp_path), multilabel=True, num_classes=2)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_classes": 300}, r"data\.num_classes=300: must be a whole number >= 2 and <= 255 or null"),
        ({"palette": [0, [1, 2, 3]]}, r"data\.palette=\[0,\[1,2,3\]\]: holds grey levels and colours; .*"),
        ({"palette": [0, 0]}, r"data\.palette=\[0,0\]: holds one twice"),
        ({"palette": [[1, 2, 3], [1, 2, 3]]}, r"data\.palette=\[\[1,2,3\],\[1,2,3\]\]: holds one twice"),
        ({"palette": [0, 1, 2]}, r"data\.palette=\[0,1,2\]: has 3 values for 2 classes"),
        ({"palette": [[0, 0, 300]]}, r"data\.palette=\[\[0,0,300\]\]: must be a list of grey levels or colours, .*"),
        ({"class_names": ["a"]}, r"data\.class_names=\[a\]: has 1 names for data\.num_classes=2"),
        ({"scale": [2.0, 1.0]}, r"data\.scale=\[2\.0,1\.0\]: the least must not be larger than the most"),
        ({"scale": [1.0]}, r"data\.scale=\[1\.0\]: must be two numbers > 0, .*"),
        ({"hue": 0.7}, r"data\.hue=0\.7: must be a number >= 0 and <= 0\.5"),
        ({"num_classes": None}, r"data\.num_classes=null: mask_folder does not say beforehand; .*"),
    ],
)  # fmt: skip
def test_mistakes(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        module_of("mask_folder", **{"data_dir": str(tmp_path), "num_classes": 2} | keys)


class TestSplits:
    def test_a_folder_without_splits_is_dealt_out(self, tmp_path: Path) -> None:
        data = set_up("mask_folder", masked.write_folder(tmp_path), num_classes=2)
        parts = [names(part) for part in (data.train_set, data.val_set, data.test_set)]
        assert [len(part) for part in parts] == [7, 1, 2]
        assert sorted(name for part in parts for name in part) == [f"{i:02d}" for i in range(10)]
        again = set_up("mask_folder", tmp_path, num_classes=2, seed=5)
        other = set_up("mask_folder", tmp_path, num_classes=2, split_seed=6)
        assert names(again.test_set) == parts[2] != names(other.test_set)

    @pytest.mark.parametrize(
        ("splits", "wanted", "brings"),
        [
            (("train", "val", "test"), (4, 4, 4), True),
            (("train", "val"), (3, 1, 4), False),
            (("train", "test"), (3, 1, 4), False),
        ],
    )
    def test_folders_say_which_are_which(
        self, splits: tuple[str, ...], wanted: tuple[int, ...], brings: bool, tmp_path: Path
    ) -> None:
        for split in splits:
            masked.write_folder(tmp_path / split, 4)
        data = set_up("mask_folder", tmp_path, num_classes=2, val_fraction=0.2)
        assert tuple(len(part) for part in (data.train_set, data.val_set, data.test_set)) == wanted
        assert stored(data.test_set).pairs[0].image.parents[1].name == splits[-1]
        config = keys_of("mask_folder", data_dir=str(tmp_path), num_classes=2, val_fraction=0)
        assert holds_validation(config) == brings
        assert ("val_fraction" in without_effect(config)) == brings
        assert "test_fraction" in without_effect(config)

    def test_saturation_of_grey_images_has_no_effect(self, tmp_path: Path) -> None:
        keys = {"in_channels": 1, "mean": [0.5], "std": [0.2], "saturation": 0.2, "contrast": 0.2}
        config = keys_of("mask_folder", data_dir=str(masked.write_folder(tmp_path)), num_classes=2, **keys)
        assert list(without_effect(config)) == ["saturation"]
        data = set_up("mask_folder", tmp_path, num_classes=2, **keys)
        assert data.train_set[0][0].shape == (1, 128, 128)


def test_camvid_is_read_as_it_lies(tmp_path: Path) -> None:
    for folder in (masked.write_camvid(tmp_path), tmp_path / "camvid"):
        data = set_up("camvid", folder)
        for split, part in {"train": data.train_set, "val": data.val_set, "test": data.test_set}.items():
            assert names(part) == [f"{split}_a", f"{split}_b"]
            image, mask = stored(part).read(1)
            at = tmp_path / "camvid"
            raw = np.array(Image.open(at / f"{split}annot" / f"{split}_b.png"))
            assert np.array_equal(mask.numpy(), np.where(raw == 11, 255, raw))
            assert np.array_equal(image.movedim(0, -1), np.array(Image.open(at / split / f"{split}_b.png")))


def ids_to_labels(ids: Any) -> np.ndarray[Any, Any]:
    """By torchvision's table of the classes."""
    table = np.full(256, 255)
    for each in datasets.Cityscapes.classes:
        if each.id >= 0 and not each.ignore_in_eval:
            table[each.id] = each.train_id
    return table[np.array(ids)]


def trimap_to_labels(trimap: Any) -> np.ndarray[Any, Any]:
    return np.array([9, 1, 0, 2])[np.array(trimap)]


PUBLISHED: dict[str, tuple[Callable[[Path], Path], Callable[..., Any], tuple[str, str], Callable[[Any], Any]]] = {
    "oxford_pet": (
        masked.write_pets,
        lambda root, split: datasets.OxfordIIITPet(root, split, "segmentation"),
        ("trainval", "test"),
        trimap_to_labels,
    ),
    "voc2012": (
        masked.write_voc,
        lambda root, split: datasets.VOCSegmentation(root, "2012", split),
        ("train", "val"),
        np.array,
    ),
    "cityscapes": (
        masked.write_cityscapes,
        lambda root, split: datasets.Cityscapes(root, split, target_type="semantic"),
        ("train", "val"),
        ids_to_labels,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_are_read_as_torchvision_reads_them(name: str, tmp_path: Path) -> None:
    write, theirs, splits, labels_of = PUBLISHED[name]
    data = set_up(name, write(tmp_path), val_fraction=0)
    for part, split in zip((data.train_set, data.test_set), splits, strict=True):
        wanted = theirs(str(tmp_path), split)
        assert len(part) == len(wanted) > 0
        samples = [stored(part).read(i) for i in range(len(part))]
        if name == "cityscapes":  # torchvision's are in the order of the folder's entries
            order = sorted(range(len(wanted)), key=lambda i: wanted.images[i])
        else:
            order = list(range(len(wanted)))
        for (image, mask), i in zip(samples, order, strict=True):
            assert np.array_equal(image.movedim(0, -1).numpy(), np.array(wanted[i][0]))
            assert np.array_equal(mask.numpy(), labels_of(wanted[i][1]))


def test_ade20k_has_the_classes_1_to_150(tmp_path: Path) -> None:
    data = set_up("ade20k", masked.write_ade(tmp_path), val_fraction=0)
    assert (len(data.train_set), len(data.test_set)) == (3, 1)
    raw = np.array(Image.open(stored(data.test_set).pairs[0].mask)).astype(int)
    assert np.array_equal(stored(data.test_set).read(0)[1].numpy(), np.where(raw == 0, 255, raw - 1))


def test_a_border_may_be_left_out(tmp_path: Path) -> None:
    keys = {"num_classes": 2, "ignore_index": 2, "class_names": ["background", "pet"]}
    data = set_up("oxford_pet", masked.write_pets(tmp_path), **keys)
    assert stored(data.test_set).read(0)[1].unique().tolist() == [0, 1, 255]


def test_pixels_lie_as_they_are_stored(tmp_path: Path) -> None:
    """Whatever the camera says of up and down: so do the mask's."""
    turned = Image.Exif()
    turned[274] = 6
    for i in range(4):
        masked.write_mask(tmp_path / "masks" / f"{i}.png", (0, 1))
        masked.write_image(tmp_path / "images" / f"{i}.jpg")
        Image.open(tmp_path / "images" / f"{i}.jpg").save(tmp_path / "images" / f"{i}.jpg", exif=turned)
    samples = stored(set_up("mask_folder", tmp_path, num_classes=2).test_set)
    wanted = datasets.folder.pil_loader(str(samples.pairs[0].image))
    assert np.array_equal(samples.read(0)[0].movedim(0, -1).numpy(), np.array(wanted))


@pytest.mark.parametrize("name", ["camvid", "oxford_pet", "voc2012", "cityscapes", "ade20k"])
def test_a_folder_without_the_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^data\.data_dir={tmp_path}: no {name} there \(expected .*/"):
        check_data_config(keys_of(name, data_dir=str(tmp_path)))


def test_a_listed_file_that_is_not_there(tmp_path: Path) -> None:
    masked.write_voc(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000039.png").unlink()
    with pytest.raises(UserError, match=r"2007_000039\.png: is listed, and not there$"):
        check_data_config(keys_of("voc2012", data_dir=str(tmp_path)))


def test_workers_change_nothing(tmp_path: Path) -> None:
    batches = []
    for workers in (0, 2):
        keys = {"num_classes": 2, "num_workers": workers, "batch_size": 3}
        data = module_of("mask_folder", data_dir=str(masked.write_folder(tmp_path)), **keys)
        data.setup()
        torch.manual_seed(workers)  # which nothing of it follows from
        batches.append(list(data.train_dataloader()))
    assert len(batches[0]) == 2
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
