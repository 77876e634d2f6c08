"""Keys of CIFAR, and where its files lie on disk, known without reading them. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shiftaddaug.data.settings import Folder, InMemorySettings
from shiftaddaug.errors import UserError


@dataclass(frozen=True)
class CifarLayout:
    """The files of one CIFAR data set, as its authors (and torchvision) lay them out under one folder."""

    title: str
    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    labels_key: str
    num_classes: int
    names_file: str
    names_key: str
    """File that holds the names of the classes, and the key of their list."""

    @property
    def image_files(self) -> tuple[str, ...]:
        """Names of all files that hold images."""
        return self.train_files + self.test_files


CIFAR_LAYOUTS = {
    "cifar10": CifarLayout(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        train_files=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test_files=("test_batch",),
        labels_key="labels",
        num_classes=10,
        names_file="batches.meta",
        names_key="label_names",
    ),
    "cifar100": CifarLayout(
        title="CIFAR-100",
        folder="cifar-100-python",
        train_files=("train",),
        test_files=("test",),
        labels_key="fine_labels",
        num_classes=100,
        names_file="meta",
        names_key="fine_label_names",
    ),
}


@dataclass(frozen=True, kw_only=True)
class CifarSettings(InMemorySettings):
    """Keys of configs/data/cifar10.yaml and cifar100.yaml."""

    name: Literal["cifar10", "cifar100"]
    data_dir: Folder
    """Folder that holds the folder `cifar-10-batches-py` or `cifar-100-python`, or is that folder."""
    download: bool = False
    """Whether `prepare_data` fetches files that are not there; it never replaces any that are."""
    verify: bool = True
    """Whether files must have the published checksums; false reads any files of that form."""

    @property
    def layout(self) -> CifarLayout:
        """Layout of the data set's files."""
        return CIFAR_LAYOUTS[self.name]

    def held(self) -> tuple[int, int]:
        """Return the classes and channels of the data set."""
        return self.layout.num_classes, 3

    def folder(self) -> Path:
        """Return `data_dir`.

        Raises:
            UserError: none is given.
        """
        if self.data_dir is None:
            title = f"{self.layout.title} needs a folder that holds, or will hold, {self.layout.folder}"
            raise UserError(f"paths.data_dir=null: {title}")
        return Path(self.data_dir)

    def check_source(self) -> None:
        """Check that the files are there, or may be fetched.

        Raises:
            UserError: they, or some of them, are not there.
        """
        super().check_source()
        if self.download:
            find_cifar(self.folder(), self.layout)
        else:
            require_cifar(self.folder(), self.layout)


def find_cifar(data_dir: str | Path, layout: CifarLayout) -> Path | None:
    """The folder that holds the files: `data_dir/<layout.folder>`, or `data_dir` itself; None if neither does.

    Raises:
        UserError: the folder holds some of the files but not all.
    """
    for folder in (Path(data_dir) / layout.folder, Path(data_dir)):
        missing = [file for file in layout.image_files if not (folder / file).is_file()]
        if not missing:
            return folder
        if len(missing) < len(layout.image_files):
            raise UserError(
                f"paths.data_dir={data_dir}: {folder} holds a part of {layout.title} and lacks {', '.join(missing)};"
                " complete it, or move it away and data.download=true fetches it whole"
            )
    return None


def require_cifar(data_dir: str | Path, layout: CifarLayout) -> Path:
    """Find the folder that holds the files; absence is an error.

    Raises:
        UserError: the files, or some of them, are not there.
    """
    folder = find_cifar(data_dir, layout)
    if folder is None:
        expected = Path(data_dir) / layout.folder / layout.train_files[0]
        raise UserError(
            f"paths.data_dir={data_dir}: no {layout.title} there (expected {expected}); data.download=true fetches it"
        )
    return folder
