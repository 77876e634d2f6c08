"""Which images are seen, by whom and in which order: splits, and samplers for one or several processes."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from shiftaddaug.errors import UserError


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold a fraction of every class out.

    Each class gives round(fraction * images) away: at least one, and never all, if it has two or more;
    none if it has one.

    Args:
        labels: int64 (N,), from 0.
        fraction: in [0, 1); 0 holds nothing out.
        seed: the split is a function of the arguments alone.

    Returns:
        Indices (kept, held out), each int64 and ascending; together every index once.

    Raises:
        UserError: nothing can be held out.
    """
    if fraction == 0:
        return torch.arange(len(labels)), torch.arange(0)
    counts = torch.bincount(labels)
    wanted = (counts * fraction).round().long().clamp(min=1)
    wanted = torch.minimum(wanted, (counts - 1).clamp(min=0))
    if not wanted.any():
        raise UserError(f"data.val_fraction={fraction}: a split needs a class of two images or more")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = order[torch.argsort(labels[order], stable=True)]
    first_of_class = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    place_in_class = torch.arange(len(labels)) - first_of_class
    held_out = place_in_class < torch.repeat_interleave(wanted, counts)
    return by_class[~held_out].sort().values, by_class[held_out].sort().values


def random_split(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold a fraction of images out: round(fraction * images), at least one, and never all.

    Args:
        count: of images.
        fraction: in [0, 1); 0 holds nothing out.
        seed: the split is a function of the arguments alone.

    Returns:
        Indices (kept, held out), each int64 and ascending; together every index once.

    Raises:
        UserError: there is but one image.
    """
    if fraction == 0:
        return torch.arange(count), torch.arange(0)
    if count < 2:
        raise UserError(f"data.val_fraction={fraction}: a split needs two images or more")
    wanted = min(count - 1, max(1, round(fraction * count)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[wanted:].sort().values, order[:wanted].sort().values


class ShardSampler(DistributedSampler[Any]):
    """Indices in order, dealt out to the processes without padding: every index once, to one of them.

    It is a DistributedSampler by type, because Lightning leaves those alone.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self._indices = range(rank, _length(dataset), num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class DrawSampler(DistributedSampler[Any]):
    """A shuffling DistributedSampler that hands (index, draw) out instead of an index.

    `draw` seeds the augmentation of that image in that epoch, so that it depends on (seed, epoch, index) and
    neither on which worker process decodes the image nor on how long that has lived.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        draws = torch.randint(2**62, (_length(self.dataset),), generator=generator).tolist()
        return ((index, draws[index]) for index in super().__iter__())


def equal_batches(images: int, replicas: int, batch_size: int) -> int:
    """The largest size up to `batch_size` that gives every process as many batches, when it shards `images`.

    Shards differ by one image, which can be one batch; a process that evaluates one batch more than another
    would wait for ever where the processes talk in each forward pass (DistributedDataParallel sends buffers).

    Raises:
        UserError: there is no such size.
    """
    smallest_shard, larger_shards = divmod(images, replicas)
    for size in range(batch_size, 0, -1):
        if not larger_shards or smallest_shard % size:
            return size
    raise UserError(
        f"data.batch_size={batch_size}: {images} images cannot be shared by {replicas} processes in as many batches"
        " each; use another batch size or fewer processes"
    )


def _length(dataset: Any) -> int:
    assert isinstance(dataset, Sized)
    return len(dataset)
