"""What every image classification data set has in common: its attributes, its loaders, its normalisation."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from shiftaddaug.data import augment
from shiftaddaug.data.checks import check_values
from shiftaddaug.data.sampling import ShardSampler, equal_batches
from shiftaddaug.nets.sizes import as_size
from shiftaddaug.seeding import derive_seed

Batch = tuple[Tensor, Tensor]


class ClassificationDataModule(LightningDataModule, ABC):
    """Labelled images in three splits, as batches of normalised float32 images and int64 labels.

    Training images come in an order that is a function of (seed, epoch); Lightning tells the sampler the epoch.
    The last training batch is dropped if it is smaller than the others. Validation and test images come in
    stored order, dealt out to the processes without repeating any.

    Args:
        name: of the data set, as people read it in messages.
        num_classes, in_channels: what the network is built for.
        image_size: what is fed to the network, in pixels: the side of a square, or (height, width).
        batch_size: images per process and step.
        val_fraction: of the training images, held out for validation; in [0, 1). With 0 nothing is validated.
        split_seed: fixes that split whatever the run's seed.
        seed: of the run; fixes the order of the training images.
        mean, std: per channel, of pixels in 0..1.
        horizontal_flip: whether training images are mirrored by chance.

    Raises:
        UserError: a value is out of its range.
    """

    task: ClassVar[str] = "classification"
    """Whose labels these are: a run of another task is refused."""
    name: str  # type: ignore[assignment]  # Lightning allows None

    def __init__(
        self,
        name: str,
        num_classes: int,
        in_channels: int,
        image_size: int | Sequence[int],
        batch_size: int,
        val_fraction: float,
        split_seed: int,
        seed: int,
        mean: Iterable[float],
        std: Iterable[float],
        horizontal_flip: bool,
    ) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.in_channels = in_channels
        check_values({"image_size": image_size})
        self.image_size = as_size(image_size)
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.seed = seed
        # Hydra hands over its own list type, which would not survive in a checkpoint.
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.horizontal_flip = horizontal_flip
        check_values(vars(self))
        self.train_set: Dataset[Any] | None = None
        self.val_set: Dataset[Any] | None = None
        self.test_set: Dataset[Any] | None = None

    @abstractmethod
    def transform(self, images: Tensor, train: bool) -> Tensor:
        """Images as the network is fed them.

        Args:
            images: uint8 (N, C, H, W), 0..255, as a loader yields them.
            train: whether to augment; draws from torch's global generator.

        Returns:
            float32 (N, C, *image_size), normalised.
        """

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Transform a batch on the device that computes with it, augmenting it while training (Lightning's hook)."""
        images, labels = batch
        return self.transform(images, train=self.trainer is not None and bool(self.trainer.training)), labels

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = self._ready(self.train_set)
        replicas, rank = self._replicas()
        seed = derive_seed("order", self.seed)  # the sampler adds the epoch to it
        sampler = self._train_sampler(dataset, num_replicas=replicas, rank=rank, seed=seed, drop_last=True)
        return self._loader(dataset, sampler, self.batch_size, drop_last=len(sampler) > self.batch_size)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        dataset = self._ready(self.val_set)
        return self._eval_loader(dataset) if len(dataset) else []  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Any]:
        return self._eval_loader(self._ready(self.test_set))

    def _train_sampler(self, dataset: Dataset[Any], **options: Any) -> DistributedSampler[Any]:
        return DistributedSampler(dataset, shuffle=True, **options)

    @abstractmethod
    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], batch_size: int, drop_last: bool
    ) -> DataLoader[Any]:
        """A loader of (uint8 images (N, C, H, W), int64 labels (N,))."""

    def _loader_generator(self) -> torch.Generator:
        """Generator of what a DataLoader draws when it is opened.

        Draws out of torch's global generator would shift the image augmentation of the epoch, and a resumed run opens
        its loaders at other moments."""
        return torch.Generator().manual_seed(derive_seed("loader", self.seed))

    def _eval_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        replicas, rank = self._replicas()
        batch_size = equal_batches(len(dataset), replicas, self.batch_size)  # type: ignore[arg-type]
        return self._loader(dataset, ShardSampler(dataset, replicas, rank), batch_size, drop_last=False)

    def _replicas(self) -> tuple[int, int]:
        """Return (number of processes, which of them this one is)."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def _ready(self, dataset: Dataset[Any] | None) -> Dataset[Any]:
        assert dataset is not None, "call setup() first"
        return dataset

    def _normalise(self, images: Tensor) -> Tensor:
        return augment.normalise(augment.to_unit(images), self.mean, self.std)
