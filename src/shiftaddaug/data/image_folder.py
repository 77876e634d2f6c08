"""Any tree of class folders of images, read from disk as it trains; ImageNet is one."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, default_collate

from shiftaddaug.data.base import ClassificationDataModule
from shiftaddaug.data.class_folders import ImageFolderSettings, class_names, has_test_split, require_image_folder
from shiftaddaug.data.listing import list_images
from shiftaddaug.data.pixels import as_shown
from shiftaddaug.data.sampling import DrawSampler, stratified_split
from shiftaddaug.errors import UserError
from shiftaddaug.nets.sizes import Size

Transform = Callable[[Any], Tensor]

_PIL_MODES = {1: "L", 3: "RGB"}
_ASPECTS = (3 / 4, 4 / 3)  # width over height of the random part of a file, where image_size is a square


class FolderImages(Dataset[tuple[Tensor, int]]):
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

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int]:
        """The image at an index, or at (index, draw) as DrawSampler gives them: `draw` seeds its transform.

        Raises:
            UserError: the file cannot be read as an image.
        """
        if isinstance(key, int):
            return self._load(key)
        index, draw = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw)
            return self._load(index)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[Any]:
        """The images of a batch; or a UserError alone, which a worker process would raise with its traceback in it."""
        try:
            return [self[key] for key in keys]
        except UserError as error:
            return [error]

    def _load(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        path, label = self.samples[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # PIL's, of damaged EXIF tags, for every image anew
                with Image.open(path) as file:
                    image = as_shown(file, self.mode)
        except Exception as error:  # a damaged picture may raise nearly anything
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: cannot be read as an image ({type(error).__name__}: {reason})") from error
        return self.transform(image), label


class _Cover:
    """Scale a PIL image until a size is at most a share of what it covers, its proportions kept."""

    def __init__(self, size: Size, share: float) -> None:
        self.height, self.width = (math.ceil(side / share - 1e-9) for side in size)

    def __call__(self, image: Any) -> Any:
        from torchvision.transforms.v2.functional import resize

        width, height = image.size
        shorter_side = round(max(self.height / height, self.width / width) * min(width, height))
        return resize(image, [shorter_side])


class FolderLoader(DataLoader[Any]):
    """A DataLoader of FolderImages, out of whose worker processes a UserError comes as the one line it was."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _collated(samples: list[Any]) -> Any:
    return samples[0] if isinstance(samples[0], UserError) else default_collate(samples)


class ImageFolderDataModule(ClassificationDataModule):
    """Images in `data_dir/{train,val[,test]}/<class>/`, as torchvision's ImageFolder lays them out.

    With a test/ folder the splits are taken as they are. Without one, val/ is the test set, looked at once at the
    end, and validation images are carved out of train/ by `split_seed`: ImageNet's own test labels are not
    public, and choosing the best epoch on val/ would leave nothing to report on.

    Training images are a random part of the file (8 to 100 % of its area) scaled to `image_size`, then mirrored by
    chance, then made brighter and more colourful or less. The others are scaled until they cover `image_size` /
    `eval_share`, rounded up (of a square: until their shorter side does), and cropped at the centre.

    What is no image of its class is left out, with a warning (`listing.py`). A picture is read as a viewer shows it,
    its transparent parts on white (`pixels.py`).

    Raises:
        UserError: the folder is missing or not laid out so, or a value is out of its range.
    """

    settings: ImageFolderSettings

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        self.data_dir = require_image_folder(self.settings.data_dir, self.settings.name)

    def setup(self, stage: str | None = None) -> None:
        """List the files of every split, once.

        Raises:
            UserError: the splits disagree on the classes, or a class has no image.
        """
        if self.train_set is not None:
            return
        names = class_names(self.data_dir)
        has_test = has_test_split(self.data_dir)
        images = list_images(self.data_dir, ("train", "val", "test") if has_test else ("train", "val"), names)
        train, val, test = images["train"], images["val"], images.get("test", images["val"])
        if not has_test:
            labels = torch.tensor([label for _, label in train])
            kept, held_out = stratified_split(labels, self.settings.val_fraction, self.settings.split_seed)
            train, val = [train[i] for i in kept.tolist()], [train[i] for i in held_out.tolist()]
        mode = _PIL_MODES[self.settings.in_channels]
        eval_transform = self._eval_transform()
        self.train_set = FolderImages(train, self._train_transform(), mode)
        self.val_set = FolderImages(val, eval_transform, mode)
        self.test_set = FolderImages(test, eval_transform, mode)

    def transform(self, images: Tensor, train: bool) -> Tensor:
        """Normalise; the loader's workers have already augmented what is to be."""
        return self._normalise(images)

    def _train_transform(self) -> Transform:
        from torchvision.transforms import v2

        flip = [v2.RandomHorizontalFlip()] if self.settings.horizontal_flip else []
        height, width = self.settings.size
        aspects = tuple(aspect * (width / height) for aspect in _ASPECTS)
        crop = v2.RandomResizedCrop(self.settings.size, ratio=aspects)
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

    def _train_sampler(self, dataset: Dataset[Any], **options: Any) -> DistributedSampler[Any]:
        return DrawSampler(dataset, shuffle=True, **options)

    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], batch_size: int, drop_last: bool
    ) -> DataLoader[Any]:
        return FolderLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=_collated,
            num_workers=self.settings.num_workers,
            persistent_workers=self.settings.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=self._loader_generator(),
        )
