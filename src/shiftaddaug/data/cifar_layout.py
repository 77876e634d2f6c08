"""Where the CIFAR files lie on disk, known without reading them. Needs the standard library only."""

from dataclasses import dataclass
from pathlib import Path

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
    ),
    "cifar100": CifarLayout(
        title="CIFAR-100",
        folder="cifar-100-python",
        train_files=("train",),
        test_files=("test",),
        labels_key="fine_labels",
        num_classes=100,
    ),
}


def cifar_layout(name: str) -> CifarLayout:
    """The layout called `name`.

    Raises:
        UserError: there is no such CIFAR.
    """
    if name not in CIFAR_LAYOUTS:
        raise UserError(f"data.name={name}: the options are {', '.join(CIFAR_LAYOUTS)}")
    return CIFAR_LAYOUTS[name]


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
