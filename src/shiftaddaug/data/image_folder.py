"""Any folder of classes of images, read from disk as it trains; ImageNet is one."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from shiftaddaug.data.base import ClassificationDataModule
from shiftaddaug.data.class_folders import ImageFolderSettings, layout_of, require_folder
from shiftaddaug.data.folder_split import Split, split_classes
from shiftaddaug.data.listing import list_images
from shiftaddaug.data.loading import DrawnItems, RepeatedItems, WorkerLoading
from shiftaddaug.data.pixels import PIL_MODES, check_headers, read_picture
from shiftaddaug.data.prepare import covering
from shiftaddaug.data.sampling import stratified_split
from shiftaddaug.errors import printable
from shiftaddaug.nets.interface import Preprocessing
from shiftaddaug.nets.sizes import Size

log = logging.getLogger(__name__)

Transform = Callable[[Any], Tensor]

_ASPECTS = (3 / 4, 4 / 3)  # width over height of the random part of a file, where image_size is a square


class FolderImages(DrawnItems):
    """Images decoded from files when asked for: uint8 (C, H, W) and a label.

    A file is read as a viewer shows it (`pixels.py`): upright, transparent parts on white, 16 bits scaled to 8.

    Args:
        samples: (file, label) of each image.
        transform: from a PIL image to a tensor; may draw from torch's global CPU generator.
        mode: PIL's name of the channels.
    """

    def __init__(self, samples: Sequence[tuple[Path, int]], transform: Transform, mode: str) -> None:
        self.samples = samples
        self.transform = transform
        self.mode = mode

    def __len__(self) -> int:
        return len(self.samples)

    def file_of(self, index: int) -> Path:
        """Return the file of an image."""
        return self.samples[index][0]

    def _load(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        return self.transform(read_picture(path, self.mode)), label


class _Cover:
    """Scale a PIL image until a size is at most a share of what it covers, its proportions kept."""

    def __init__(self, size: Size, share: float) -> None:
        self.size, self.share = size, share

    def __call__(self, image: Any) -> Any:
        from torchvision.transforms.v2.functional import resize

        return resize(image, [covering((image.height, image.width), self.size, self.share)])


class ImageFolderDataModule(WorkerLoading, ClassificationDataModule):
    """Images in folders of classes, `data_dir/<class>/`, or in `data_dir/{train,val,test}/<class>/`.

    Without train/, every class gives `test_fraction` of its images for test and `val_fraction` of the rest for
    validation, by `split_seed`. With train/, val/ and test/ the splits are taken as they are. Where only one of val/
    and test/ is there, it is the test set, looked at once at the end, and validation images are carved out of train/
    by `split_seed`: ImageNet's own test labels are not public, and choosing the best epoch on val/ would leave nothing
    to report on.

    Training images are a random part of the file (`crop_area` to 100 % of its area) scaled to `image_size`, then
    mirrored by chance, then made brighter and more colourful or less. The others are scaled until they cover
    `image_size` / `eval_share`, rounded up (of a square: until their shorter side does), and cropped at the centre.

    What is no image of its class is left out, with a warning (`listing.py`). A picture is read as a viewer shows it,
    its transparent parts on white (`pixels.py`).

    Raises:
        UserError: the folder is missing or not laid out so, or a value is out of its range.
    """

    settings: ImageFolderSettings

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        self.data_dir = require_folder(self.settings.data_dir, self.settings.name)

    def setup(self, stage: str | None = None) -> None:
        """List the files of every split, once.

        Raises:
            UserError: the splits disagree on the classes, a class has no image or too few to be split, or a file is no
                image.
        """
        if self.train_set is not None:
            return
        split, whence = self._split()
        check_headers([path for part in split for path, _ in part])
        log.info(
            "data.data_dir=%s: %d classes; %d images for training, %d for validation, %d for test: %s",
            *(printable(self.data_dir), self.num_classes, *map(len, split), whence),
        )
        mode = PIL_MODES[self.settings.in_channels]
        eval_transform = self._eval_transform()
        self.train_set = FolderImages(split.train, self._train_transform(), mode)
        self.val_set = FolderImages(split.val, eval_transform, mode)
        self.test_set = FolderImages(split.test, eval_transform, mode)

    def _split(self) -> tuple[Split, str]:
        """Return the images of every part, and in words where they come from."""
        layout, settings = layout_of(self.data_dir), self.settings
        layout.warn()
        if not layout.parts:
            samples = list_images(layout.root, ("",), layout.names)[""]
            fractions = {"test_fraction": settings.test_fraction, "val_fraction": settings.val_fraction}
            split = split_classes(layout.root, samples, layout.names, **fractions, seed=settings.split_seed)
            return split, f"split by data.split_seed={settings.split_seed}"
        images = list_images(layout.root, layout.parts, layout.names)
        if len(layout.parts) == 3:
            return Split(**images), "the folders train/, val/ and test/"
        train, last = images["train"], layout.parts[-1]
        labels = torch.tensor([label for _, label in train])
        kept, held_out = stratified_split(labels, settings.val_fraction, settings.split_seed)
        split = Split([train[i] for i in kept.tolist()], [train[i] for i in held_out.tolist()], images[last])
        return split, f"test are those of {last}/, and train/ is split by data.split_seed={settings.split_seed}"

    def _trained_images(self) -> Dataset[Any]:
        """Return the training images, several times over if an epoch would have too few batches of them."""
        images, settings = super()._trained_images(), self.settings
        processes, _ = self._replicas()
        wanted = settings.min_epoch_batches * settings.batch_size * processes
        times = math.ceil(wanted / len(images))  # type: ignore[arg-type]
        return RepeatedItems(images, times) if times > 1 else images  # type: ignore[arg-type]

    def transform(self, images: Tensor, train: bool) -> Tensor:
        """Normalise; the loader's workers have already augmented what is to be."""
        return self._normalise(images)

    def class_names(self) -> list[str]:
        """Return the names of the class folders."""
        return list(layout_of(self.data_dir).names)

    def preprocessing(self) -> Preprocessing:
        """Return what `_eval_transform` does."""
        return Preprocessing(
            channels=self.settings.in_channels,
            size=self.settings.size,
            mean=self.settings.mean,
            std=self.settings.std,
            resize="cover",
            interpolation="bilinear",
            share=self.settings.eval_share,
        )

    def _train_transform(self) -> Transform:
        from torchvision.transforms import v2

        flip = [v2.RandomHorizontalFlip()] if self.settings.horizontal_flip else []
        height, width = self.settings.size
        aspects = tuple(aspect * (width / height) for aspect in _ASPECTS)
        crop = v2.RandomResizedCrop(self.settings.size, scale=(self.settings.crop_area, 1.0), ratio=aspects)
        return v2.Compose([crop, *flip, *self._jitter(), v2.PILToTensor()])

    def _jitter(self) -> list[Transform]:
        """What changes the colours of training images; nothing, which draws nothing, where nothing is to change."""
        from torchvision.transforms import v2

        brightness, saturation = self.settings.brightness, self.settings.saturation
        if self.settings.in_channels == 1:
            saturation = 0.0
        return [v2.ColorJitter(brightness=brightness, saturation=saturation)] if brightness or saturation else []

    def _eval_transform(self) -> Transform:
        from torchvision.transforms import v2

        return v2.Compose(
            [_Cover(self.settings.size, self.settings.eval_share), v2.CenterCrop(self.settings.size), v2.PILToTensor()]
        )
