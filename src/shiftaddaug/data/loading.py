"""Images that are read and augmented one by one, by worker processes, so that workers change nothing of them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, default_collate

from shiftaddaug.data.base import ImageDataModule
from shiftaddaug.data.sampling import DrawSampler
from shiftaddaug.errors import UserError


class DrawnItems(Dataset[Any]):
    """Items that are made when asked for; what is drawn of one follows from a number that is handed in."""

    @abstractmethod
    def _load(self, index: int) -> Any:
        """An item; may draw from torch's global CPU generator.

        Raises:
            UserError: its file cannot be read.
        """

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        """The item at an index, or at (index, draw) as DrawSampler gives them: `draw` seeds what is drawn."""
        if isinstance(key, int):
            return self._load(key)
        index, draw = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw)
            return self._load(index)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[Any]:
        """The items of a batch; or a UserError alone, which a worker process would raise with its traceback in it."""
        try:
            return [self[key] for key in keys]
        except UserError as error:
            return [error]


class RepeatedItems(DrawnItems):
    """Items several times over: at an index beyond their number they begin again.

    Args:
        items: that are repeated.
        times: how often.
    """

    def __init__(self, items: DrawnItems, times: int) -> None:
        self.items, self.times = items, times

    def __len__(self) -> int:
        return len(self.items) * self.times  # type: ignore[arg-type]

    def _load(self, index: int) -> Any:
        return self.items._load(index % len(self.items))  # type: ignore[arg-type]


class DrawnLoader(DataLoader[Any]):
    """A DataLoader of DrawnItems, out of whose worker processes a UserError comes as the one line it was."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _collated(samples: list[Any]) -> Any:
    return samples[0] if isinstance(samples[0], UserError) else default_collate(samples)


class WorkerLoading(ImageDataModule):
    """Data modules of DrawnItems; their settings have a field `num_workers`."""

    def _train_sampler(self, dataset: Dataset[Any], **options: Any) -> DistributedSampler[Any]:
        return DrawSampler(dataset, shuffle=True, **options)

    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], batch_size: int, drop_last: bool
    ) -> DataLoader[Any]:
        workers: int = self.settings.num_workers  # type: ignore[attr-defined]
        return DrawnLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=_collated,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=self._loader_generator(),
        )
