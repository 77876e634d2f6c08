"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read from the files their authors publish."""

import fcntl
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from shiftaddaug.data.cifar_layout import CifarSettings, find_cifar, require_cifar
from shiftaddaug.data.in_memory import InMemoryDataModule, LabelledImages, LoadedSet
from shiftaddaug.data.pickles import read_plain_dict
from shiftaddaug.errors import UserError
from shiftaddaug.terminal import bars_on_terminals_alone

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE

log = logging.getLogger(__name__)


class CifarDataModule(InMemoryDataModule):
    """32x32 colour images of 10 or 100 classes, 50000 for training and 10000 for test."""

    settings: CifarSettings

    def prepare_data(self) -> None:
        """Fetch the files if they are not there and may be fetched.

        Raises:
            UserError: they are not there and may not, or cannot, be fetched.
        """
        self.settings.check_source()
        folder, layout = self.settings.folder(), self.settings.layout
        if find_cifar(folder, layout) is None:
            with _one_process_at_a_time(folder):
                if find_cifar(folder, layout) is None:  # nor has another process fetched them meanwhile
                    self._download()

    def load(self) -> LoadedSet:
        folder = require_cifar(self.settings.folder(), self.settings.layout)
        if self.settings.verify:
            self._verify(folder)
        else:
            log.warning("data.verify=false: the files in %s are taken as they are, unchecked", folder)
        return LoadedSet(
            train=self._read(folder, self.settings.layout.train_files),
            test=self._read(folder, self.settings.layout.test_files),
            num_classes=self.settings.layout.num_classes,
        )

    def class_names(self) -> list[str] | None:
        """Return the names that the data set's authors give; None where their file is not there, or holds others."""
        folder, layout = find_cifar(self.settings.folder(), self.settings.layout), self.settings.layout
        if folder is None or not (folder / layout.names_file).is_file():
            return None
        names = read_plain_dict(folder / layout.names_file).get(layout.names_key)
        if not isinstance(names, list) or len(names) != layout.num_classes:
            return None
        return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]

    def _read(self, folder: Path, files: Sequence[str]) -> LabelledImages:
        parts = [_read_part(folder / file, self.settings.layout.labels_key) for file in files]
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))

    def _verify(self, folder: Path) -> None:
        source = _published(self.settings.name)
        files = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
        for file, expected in files:
            path = folder / file
            if not path.is_file():
                raise UserError(f"{path}: missing; data.verify=false does without it")
            found = hashlib.md5(path.read_bytes()).hexdigest()
            if found != expected:
                raise UserError(
                    f"{path}: md5 {found}, but the published file has {expected}; data.verify=false accepts it"
                )

    def _download(self) -> None:
        from torchvision.datasets import utils

        source, data_dir = _published(self.settings.name), self.settings.folder()
        log.info("fetching %s", source.url)
        try:
            with TemporaryDirectory(dir=data_dir, prefix=".extracting-") as whole, bars_on_terminals_alone():
                # Not the data set's own download: its constructor goes on to unpickle what it fetched, unrestricted.
                utils.download_and_extract_archive(
                    source.url, str(data_dir), extract_root=whole, filename=source.filename, md5=source.tgz_md5
                )
                _put_in_place(Path(whole) / self.settings.layout.folder, data_dir / self.settings.layout.folder)
        except Exception as error:  # whatever a network, an archive or a disk can raise
            reason = " ".join(str(error).split())
            raise UserError(
                f"data.download=true: {source.url} could not be fetched ({type(error).__name__}: {reason}); a local"
                f" copy is looked for in {data_dir / self.settings.layout.folder}"
            ) from error


@contextmanager
def _one_process_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process in at a time: several runs may find at once that there is nothing yet."""
    path = folder / ".download.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        if not path.exists():  # else it is another user's
            raise UserError(f"paths.data_dir={folder}: cannot write there ({error.strerror})") from error
    with path.open() as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _put_in_place(extracted: Path, folder: Path) -> None:
    """Put a folder in its place in one step; if one is there already, put files beside its files, replacing none."""
    if not folder.exists():
        extracted.rename(folder)
        return
    for path in extracted.iterdir():
        if not (folder / path.name).exists():
            path.rename(folder / path.name)


def _published(name: str) -> Any:
    """torchvision's class of that data set: it states the address and the checksums."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _read_part(path: Path, labels_key: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images, uint8 (N, 3, 32, 32), and labels, int64 (N,), of one file."""
    record = read_plain_dict(path)
    pixels, labels = record.get("data"), record.get(labels_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(pixels), _PIXELS):
        raise UserError(f"{path}: damaged, `data` is not an array of rows of {_PIXELS} bytes")
    numbers = _whole_numbers(labels)
    if numbers.shape != (len(pixels),):
        raise UserError(f"{path}: damaged, `{labels_key}` is not a list of {len(pixels)} whole numbers")
    return pixels.reshape(-1, 3, _SIDE, _SIDE), numbers


def _whole_numbers(labels: Any) -> np.ndarray[Any, Any]:
    """Return labels as int64; none where they are anything else, which numpy would round or read as numbers."""
    try:
        numbers = np.array(labels)
    except (TypeError, ValueError, OverflowError):
        return np.empty(0, np.int64)
    return numbers.astype(np.int64) if numbers.dtype.kind in "iu" else np.empty(0, np.int64)
