"""The in-memory data module: its splits, its order, its batches, its errors."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from shiftaddaug.data import augment
from shiftaddaug.data.in_memory import InMemoryDataModule, LabelledImages, LoadedSet
from shiftaddaug.errors import UserError

CLASSES = 4


def labelled(count: int, size: int = 8, channels: int = 1, seed: int = 0) -> LabelledImages:
    """Images whose first pixel is their number."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
    images[:, 0, 0, 0] = torch.arange(count).byte()
    return LabelledImages(images, torch.arange(count) % CLASSES)


class Toy(InMemoryDataModule):
    def __init__(self, loaded: LoadedSet | None = None, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "name": "toy",
            "num_classes": CLASSES,
            "in_channels": 1,
            "image_size": 8,
            "batch_size": 16,
            "val_fraction": 0.2,
            "split_seed": 0,
            "seed": 0,
            "mean": [0.5],
            "std": [0.25],
            "crop_padding": 0.25,
            "horizontal_flip": True,
        }
        super().__init__(**(defaults | options))
        self.loaded = loaded or LoadedSet(labelled(100), labelled(20, seed=1), CLASSES)
        self.loads = 0

    def load(self) -> LoadedSet:
        self.loads += 1
        return self.loaded


def ready(**options: Any) -> Toy:
    data = Toy(**options)
    data.setup()
    return data


def with_rank(data: Toy, rank: int, world_size: int = 2, training: bool = False) -> Toy:
    data.trainer = SimpleNamespace(world_size=world_size, global_rank=rank, training=training)
    return data


def numbers(loader: Any) -> list[int]:
    """Which images a loader yields, by their first pixel."""
    return [number for images, _ in loader for number in images[:, 0, 0, 0].tolist()]


def epoch_of(data: Toy, epoch: int) -> list[int]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return numbers(loader)


def test_attributes_come_before_setup() -> None:
    data = Toy(image_size=[8, 9])
    assert (data.task, data.num_classes, data.settings.size) == ("classification", CLASSES, (8, 9))


def test_validation_is_carved_from_the_training_set() -> None:
    data = ready()
    assert data.train_set is not None and data.val_set is not None and data.test_set is not None
    train, val = ([int(image[0, 0, 0]) for image, _ in part] for part in (data.train_set, data.val_set))
    assert sorted(train + val) == list(range(100))
    assert len(val) == 20
    assert torch.bincount(data.val_set.labels).tolist() == [5] * CLASSES
    assert data.test_set.images.equal(data.loaded.test.images)
    assert all(number % CLASSES == label for number, (_, label) in zip(val, data.val_set, strict=True))


def test_the_split_does_not_follow_the_run() -> None:
    same = [numbers(ready(seed=seed).val_dataloader()) for seed in (0, 1)]
    assert same[0] == same[1]
    assert same[0] != numbers(ready(split_seed=1).val_dataloader())


def test_setup_loads_once() -> None:
    data = Toy()
    for stage in ("fit", "validate", "test", None, "fit"):
        data.setup(stage)
    assert data.loads == 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    torch.manual_seed(0)
    first = epoch_of(ready(), 3)
    torch.manual_seed(1)
    data = ready()
    epoch_of(data, 0)
    assert epoch_of(data, 3) == first
    assert epoch_of(data, 4) != first
    assert epoch_of(ready(seed=9), 3) != first


def test_the_incomplete_training_batch_is_dropped() -> None:
    loader = ready(batch_size=16).train_dataloader()
    assert [len(labels) for _, labels in loader] == [16] * 5
    assert [len(labels) for _, labels in ready(batch_size=30).train_dataloader()] == [30, 30]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    assert [len(labels) for _, labels in ready(batch_size=512).train_dataloader()] == [80]


def test_evaluation_is_complete_and_in_order() -> None:
    data = ready(batch_size=16)
    assert numbers(data.test_dataloader()) == list(range(20))
    assert [len(labels) for _, labels in data.test_dataloader()] == [16, 4]


def test_a_batch_is_uint8_images_and_int64_labels() -> None:
    images, labels = next(iter(ready().train_dataloader()))
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.tolist() == [number % CLASSES for number in images[:, 0, 0, 0].tolist()]


def test_two_processes_share_the_training_images() -> None:
    shares = [set(epoch_of(with_rank(ready(batch_size=10), rank), 2)) for rank in range(2)]
    assert shares[0] | shares[1] == set(epoch_of(ready(batch_size=10), 2))
    assert not shares[0] & shares[1]


@pytest.mark.parametrize("test_images", [20, 21, 33])
def test_two_processes_evaluate_each_image_once(test_images: int) -> None:
    loaded = LoadedSet(labelled(100), labelled(test_images), CLASSES)
    loaders = [with_rank(ready(loaded=loaded, batch_size=8), rank).test_dataloader() for rank in range(2)]
    assert sorted(numbers(loaders[0]) + numbers(loaders[1])) == list(range(test_images))
    assert len(loaders[0]) == len(loaders[1])


def test_evaluation_normalises_and_nothing_else() -> None:
    data = with_rank(ready(), 0, world_size=1)
    images, labels = next(iter(data.test_dataloader()))
    out, out_labels = data.on_after_batch_transfer((images, labels), 0)
    torch.testing.assert_close(out, (images.float() / 255 - 0.5) / 0.25)
    assert out_labels is labels


def test_training_crops_and_flips() -> None:
    data = with_rank(ready(), 0, world_size=1, training=True)
    batch = next(iter(data.train_dataloader()))
    torch.manual_seed(5)
    out, _ = data.on_after_batch_transfer(batch, 0)
    torch.manual_seed(5)
    expected = augment.random_crop_flip(batch[0], 2, True)
    torch.testing.assert_close(out, (expected.float() / 255 - 0.5) / 0.25)
    assert not expected.equal(batch[0])
    torch.manual_seed(5)
    assert data.transform(batch[0], train=True).equal(out)


def test_images_that_are_too_large_shrink_at_setup() -> None:
    data = ready(image_size=4)
    images = data.loaded.test.images
    means = images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert data.test_set.images.equal(means.round().byte())
    assert data.transform(data.test_set.images, train=True).shape == (20, 1, 4, 4)


def test_images_that_are_too_small_grow_per_batch() -> None:
    data = ready(image_size=16)
    images = data.test_set.images
    assert images.shape[-1] == 8
    grown = torch.nn.functional.interpolate(images.float() / 255, size=(16, 16), mode="bilinear")
    torch.testing.assert_close(data.transform(images, train=False), (grown - 0.5) / 0.25)
    torch.manual_seed(2)
    out = data.transform(images, train=True)
    torch.manual_seed(2)
    cropped = augment.random_crop_flip(images, 2, True)  # a quarter of 8
    torch.testing.assert_close(out, data.transform(cropped, train=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 3}, r"data\.num_classes=3: toy holds 4 classes"),
        ({"in_channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}, r"data\.in_channels=3: toy holds images of 1 chan"),
        ({"num_classes": None}, r"data\.num_classes=null: toy does not say beforehand; must be a whole number"),
        ({"crop_pading": 0.1}, r"data\.crop_pading=0\.1: no such key; did you mean data\.crop_padding\?"),
        ({"mean": "${oc.env:HOME}"}, r"data\.mean=\$\{oc\.env:HOME\}: must be a list of numbers"),
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ready(**options)


def test_labels_out_of_range_are_an_error() -> None:
    part = labelled(40)
    part.labels[3] = CLASSES
    with pytest.raises(UserError, match=r"toy holds labels 0\.\.4, expected 0\.\.3"):
        ready(loaded=LoadedSet(part, labelled(20), CLASSES))


def test_images_and_labels_must_agree_in_number() -> None:
    with pytest.raises(UserError, match="20 images but 19 labels"):
        LabelledImages(labelled(20).images, torch.arange(19))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda x, y: (x.float() / 255, y), r"^data: images are float32 \(20, 1, 8, 8\), must be uint8 \(N, C, H, W\)"),
        (lambda x, y: (x[:, 0], y), r"^data: images are uint8 \(20, 8, 8\), must be uint8 \(N, C, H, W\) of 0\.\.255$"),
        (lambda x, y: (x, y.float()), r"^data: labels are float32 \(20,\), must be int64 \(N,\)$"),
        (lambda x, y: (x, y[:, None]), r"^data: labels are int64 \(20, 1\)"),
        (lambda x, y: (x.movedim(1, -1), y), r"^data\.in_channels=1: toy holds images of 8 channels$"),
        (lambda x, y: (x[:0], y[:0]), r"^data=toy: holds no images for training, or none for test$"),
    ],
)
def test_images_of_another_form_are_refused(change: Any, line: str) -> None:
    """The test images, of which nothing else is asked before they are evaluated on."""
    part = labelled(20)
    with pytest.raises(UserError, match=line):
        ready(loaded=LoadedSet(labelled(40), LabelledImages(*change(part.images, part.labels)), CLASSES))


def test_images_that_were_divided_before_they_were_rounded_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    part = labelled(40)
    ready(loaded=LoadedSet(part, part, CLASSES))
    assert caplog.text == ""
    dark = LabelledImages(part.images // 255, part.labels)
    ready(loaded=LoadedSet(dark, dark, CLASSES))
    assert "data=toy: no pixel is brighter than 1 of 255" in caplog.text


class Recorder(LightningModule):
    """Learns nothing; keeps what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, CLASSES)
        self.train_labels: list[list[int]] = []
        self.val_images: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.train_labels.append(batch[1].tolist())
        return self.layer(batch[0].flatten(1)).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_images.append(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(data: Toy, tmp_path: Any, checkpoint: str | None = None, **options: Any) -> tuple[Recorder, Trainer]:
    module = Recorder()
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, data, ckpt_path=checkpoint)
    return module, trainer


@pytest.mark.filterwarnings("ignore")
def test_under_lightning_epochs_differ_and_resuming_repeats_them(tmp_path: Any) -> None:
    whole, _ = fit(Toy(), tmp_path, max_epochs=2)
    assert len(whole.train_labels) == 10
    assert whole.train_labels[:5] != whole.train_labels[5:]
    part, trainer = fit(Toy(), tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "part.ckpt")
    rest, _ = fit(Toy(), tmp_path, checkpoint=str(tmp_path / "part.ckpt"), max_epochs=2)
    assert part.train_labels + rest.train_labels == whole.train_labels


@pytest.mark.filterwarnings("ignore")
def test_under_lightning_validation_is_not_augmented(tmp_path: Any) -> None:
    data = Toy()
    module, _ = fit(data, tmp_path, max_epochs=1, num_sanity_val_steps=0, enable_checkpointing=False)
    assert torch.cat(module.val_images).equal(data.transform(data.val_set.images, train=False))


@pytest.mark.filterwarnings("ignore")
def test_under_lightning_one_batch_can_be_overfitted(tmp_path: Any) -> None:
    module, _ = fit(Toy(), tmp_path, max_epochs=2, overfit_batches=1, enable_checkpointing=False)
    assert len(module.train_labels) == 2
    assert module.train_labels[0] == module.train_labels[1]


@pytest.mark.parametrize(
    ("size", "stored"), [((4, 8), (4, 8)), ((8, 16), (8, 8)), ((4, 16), (4, 8)), ((12, 16), (8, 8)), (4, (4, 4))]
)
def test_height_and_width_are_fitted_apart(size: int | tuple[int, int], stored: tuple[int, int]) -> None:
    """What is larger is made smaller once, and what is smaller is enlarged with its batch."""
    data = ready(image_size=size, crop_padding=0)
    images, _ = data.train_set.select(torch.arange(2))
    assert images.shape[-2:] == stored
    fed = data.transform(images, train=False)
    assert fed.shape[-2:] == data.settings.size == ((size, size) if isinstance(size, int) else size)
    unit = augment.to_unit(images)
    if stored != data.settings.size:
        unit = torch.nn.functional.interpolate(unit, size=data.settings.size, mode="bilinear")
    torch.testing.assert_close(fed, (unit - 0.5) / 0.25)
