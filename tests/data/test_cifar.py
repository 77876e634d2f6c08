"""CIFAR from tiny files in its format."""

import fcntl
import hashlib
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from tests.data.builders import module_of

from shiftaddaug.data.cifar import CifarDataModule
from shiftaddaug.data.cifar_layout import CIFAR_LAYOUTS
from shiftaddaug.errors import UserError

MakeCifar = Callable[..., Path]


def cifar(data_dir: Path, name: str = "cifar100", **options: Any) -> CifarDataModule:
    made: CifarDataModule = module_of(name, data_dir=data_dir, **options)
    return made


def ready(data_dir: Path, **options: Any) -> CifarDataModule:
    data = cifar(data_dir, **({"verify": False, "val_fraction": 0.25} | options))
    data.prepare_data()
    data.setup("fit")
    return data


def publish(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Have the tiny files' checksums be the published ones."""
    source = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    layout = CIFAR_LAYOUTS[name]
    (folder / source.meta["filename"]).write_bytes(b"names")

    def listed(files: tuple[str, ...]) -> list[list[str]]:
        return [[file, hashlib.md5((folder / file).read_bytes()).hexdigest()] for file in files]

    monkeypatch.setattr(source, "train_list", listed(layout.train_files))
    monkeypatch.setattr(source, "test_list", listed(layout.test_files))
    monkeypatch.setattr(source, "meta", source.meta | {"md5": hashlib.md5(b"names").hexdigest()})


@pytest.mark.parametrize("name", CIFAR_LAYOUTS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_images_and_labels_are_the_files(make_cifar: MakeCifar, name: str, protocol: int) -> None:
    data_dir, layout = make_cifar(name, protocol), CIFAR_LAYOUTS[name]
    data = ready(data_dir, name=name)
    record = pickle.loads((data_dir / layout.folder / layout.test_files[0]).read_bytes())
    assert data.test_set.images.equal(torch.from_numpy(record["data"]).view(-1, 3, 32, 32))
    assert data.test_set.labels.tolist() == record[layout.labels_key]
    assert data.num_classes == layout.num_classes
    assert (len(data.train_set), len(data.val_set)) == (300, 100)
    assert torch.bincount(data.val_set.labels).unique().tolist() == [100 // layout.num_classes]
    assert data.transform(data.train_set.images[:4], train=True).shape == (4, 3, 32, 32)


def test_the_layout_is_the_one_torchvision_reads() -> None:
    for name, source in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        layout = CIFAR_LAYOUTS[name]
        assert layout.folder == source.base_folder
        assert list(layout.train_files) == [file for file, _ in source.train_list]
        assert list(layout.test_files) == [file for file, _ in source.test_list]


def test_half_size_is_done_at_setup(make_cifar: MakeCifar) -> None:
    data_dir = make_cifar()
    small, whole = ready(data_dir, image_size=16), ready(data_dir)
    assert small.test_set.images.shape[-1] == 16
    corner = whole.test_set.images[0, :, :2, :2].float().mean((1, 2)).round()
    assert small.test_set.images[0, :, 0, 0].tolist() == corner.tolist()


def test_absent_and_not_to_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CIFAR-100 there .*data\.download=true fetches it"):
        cifar(tmp_path).prepare_data()
    with pytest.raises(UserError, match="no CIFAR-100 there"):
        cifar(tmp_path).setup()


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", no_network)
    with pytest.raises(UserError, match=r"a local copy is looked for in .*cifar-10-batches-py") as caught:
        cifar(tmp_path, name="cifar10", download=True).prepare_data()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("data.download=true: https://")


def test_a_download_is_made_once_and_never_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str, str]] = []

    def fetch(url: str, root: str, extract_root: str, filename: str, md5: str) -> None:
        calls.append((root, filename, md5))
        assert not (tmp_path / "cifar-100-python").exists()  # until all of it is extracted
        folder = Path(extract_root) / "cifar-100-python"
        folder.mkdir()
        for file in ("train", "test"):
            (folder / file).write_bytes(b"anything")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fetch)
    data = cifar(tmp_path, download=True)
    data.prepare_data()
    data.prepare_data()
    source = torchvision.datasets.CIFAR100
    assert calls == [(str(tmp_path), source.filename, source.tgz_md5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download.lock", "cifar-100-python"]


def test_a_download_goes_beside_what_its_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "meta").write_text("mine")

    def fetch(url: str, root: str, extract_root: str, filename: str, md5: str) -> None:
        folder = Path(extract_root) / "cifar-100-python"
        folder.mkdir()
        for file in ("train", "test", "meta"):
            (folder / file).write_bytes(b"fetched")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fetch)
    cifar(tmp_path, download=True).prepare_data()
    found = {path.name: path.read_text() for path in (tmp_path / "cifar-100-python").iterdir()}
    assert found == {"train": "fetched", "test": "fetched", "meta": "mine"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^paths\.data_dir=.*file/data: cannot write there \(Not a directory\)"):
        cifar(tmp_path / "file" / "data", download=True).prepare_data()


def test_of_two_processes_one_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other, which found nothing either, waits and finds what the first has fetched."""
    data = cifar(tmp_path, download=True)
    waiting, calls = Event(), []

    def fetch(url: str, root: str, extract_root: str, filename: str, md5: str) -> None:
        calls.append(root)
        second.start()
        assert waiting.wait(timeout=60)
        folder = Path(extract_root) / "cifar-100-python"
        folder.mkdir()
        for file in ("train", "test"):
            (folder / file).write_bytes(b"anything")

    def flock(lock: Any, operation: int) -> None:
        if calls:
            waiting.set()
        real_flock(lock, operation)

    real_flock = fcntl.flock
    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fetch)
    second = Thread(target=cifar(tmp_path, download=True).prepare_data)
    data.prepare_data()
    second.join(timeout=60)
    assert not second.is_alive() and calls == [str(tmp_path)]


def test_unpublished_files_are_refused_by_default(make_cifar: MakeCifar) -> None:
    data_dir = make_cifar()
    before = (data_dir / "cifar-100-python" / "train").read_bytes()
    data = cifar(data_dir, download=True)
    data.prepare_data()
    with pytest.raises(UserError, match=r"cifar-100-python/train: md5 .*; data\.verify=false accepts it"):
        data.setup()
    assert (data_dir / "cifar-100-python" / "train").read_bytes() == before


@pytest.mark.parametrize("name", CIFAR_LAYOUTS)
def test_published_files_are_accepted(make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data_dir, layout = make_cifar(name), CIFAR_LAYOUTS[name]
    publish(monkeypatch, name, data_dir / layout.folder)
    assert len(ready(data_dir, name=name, verify=True).test_set) == 100
    meta = data_dir / layout.folder / ("meta" if name == "cifar100" else "batches.meta")
    meta.write_bytes(b"other names")
    with pytest.raises(UserError, match=r"meta: md5"):
        ready(data_dir, name=name, verify=True)
    meta.unlink()
    with pytest.raises(UserError, match=r"meta: missing; data\.verify=false"):
        ready(data_dir, name=name, verify=True)


def test_unverified_files_are_accepted_with_one_warning(
    make_cifar: MakeCifar, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = ready(make_cifar())
        data.setup("test")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "data.verify=false" in caplog.text


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_file_is_refused_and_not_run(make_cifar: MakeCifar, tmp_path: Path) -> None:
    data_dir = make_cifar()
    (data_dir / "cifar-100-python" / "test").write_bytes(pickle.dumps({"data": _Evil(tmp_path / "ran")}))
    with pytest.raises(UserError, match=r"test: refused, it names (posix|nt)\.system"):
        ready(data_dir)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"fine_labels": [0]}, "`data` is not"),
        ({"data": np.zeros((2, 3072), np.float32), "fine_labels": [0, 0]}, "`data` is not"),
        ({"data": np.zeros((2, 3071), np.uint8), "fine_labels": [0, 0]}, "`data` is not"),
        ({"data": np.uint8(3), "fine_labels": [0, 0]}, "`data` is not"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "`fine_labels` is not a list of 2"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]}, "`fine_labels` is not a list of 2"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": ["0", "1"]}, "`fine_labels` is not a list of 2 whole"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0.5, 1.0]}, "`fine_labels` is not a list of 2 whole"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [True, False]}, "`fine_labels` is not a list of 2"),
        ({"data": np.zeros((2, 3072), np.int8), "fine_labels": [0, 0]}, "`data` is not"),
    ],
)
def test_a_file_of_another_form_is_damaged(make_cifar: MakeCifar, record: dict[str, Any], message: str) -> None:
    data_dir = make_cifar()
    (data_dir / "cifar-100-python" / "train").write_bytes(pickle.dumps(record))
    with pytest.raises(UserError, match=f"train: damaged, {message}"):
        ready(data_dir)


def test_neither_byte_order_nor_column_order_changes_what_is_read(make_cifar: MakeCifar) -> None:
    data_dir = make_cifar()
    path = data_dir / "cifar-100-python" / "test"
    record = pickle.loads(path.read_bytes())
    changed = {"data": np.asfortranarray(record["data"]), "fine_labels": np.array(record["fine_labels"], ">i2")}
    path.write_bytes(pickle.dumps(changed))
    data = ready(data_dir)
    assert data.test_set.images.equal(torch.from_numpy(record["data"]).view(-1, 3, 32, 32))
    assert data.test_set.labels.tolist() == record["fine_labels"]


def test_a_truncated_file_is_damaged(make_cifar: MakeCifar) -> None:
    data_dir = make_cifar()
    path = data_dir / "cifar-100-python" / "train"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="train: damaged"):
        ready(data_dir)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 10}, "data.num_classes=10: cifar100 holds 100 classes"),
        ({"in_channels": 1, "mean": [0], "std": [1]}, "data.in_channels=1: cifar100 holds images of 3 channels"),
    ],
)
def test_claims_that_disagree_with_the_data(make_cifar: MakeCifar, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ready(make_cifar(), **options)
    assert str(caught.value) == message


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.name=cifar7: no such option; options: cifar10, cifar100$"):
        CifarDataModule(**(cifar(tmp_path).settings.__dict__ | {"name": "cifar7"}))
