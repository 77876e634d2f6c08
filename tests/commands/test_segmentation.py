"""Segmentation of drawn shapes: trained, deployed, shown, evaluated; the data choose task and architecture."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shiftaddaug import tasks
from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import load_target
from shiftaddaug.report.results import read_json, read_metrics
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import command, composed, run_little
from tests.data import masked
from tests.data.builders import module_of

SIZE = (24, 32)
STAGES = "[{block: inverted_bottleneck, channels: 16, expand: 2, stride: 2, depth: 1}]"
NET = (f"net.stages={STAGES}", "net.stem_stride=2", "arch.decoder_channels=[16,16]", f"data.image_size={[*SIZE]}")
FEW = ("data.train_images=40", "data.test_images=8", "data.batch_size=8", "data.image_size=[24,32]")
SHORT = ("data=shapes", *NET, *FEW, "trainer.max_epochs=2", "optim.warmup_epochs=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_little(folder, *SHORT, "op=shift", "aug=width_expand", "aug.distill_weight=1")
    return folder


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target of a classification."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    run_little(folder, "trainer.max_epochs=1", "optim.warmup_epochs=0")
    return folder / "target"


def test_it_trains_augmented_and_deploys(run: Path) -> None:
    results, curves = read_json(run / "results.json"), read_metrics(run / "metrics.csv")
    assert (results["task"], results["headline"], results["data"]) == ("segmentation", "miou", "shapes")
    assert results["extraction_max_difference"] == 0
    for split in ("val", "test"):
        by_class = results[f"{split}_iou_percent_by_class"]
        assert list(by_class) == ["background", "disc", "square", "triangle"]
        held = [value for value in by_class.values() if value is not None]
        assert sum(held) / len(held) == pytest.approx(results[f"{split}_miou_percent"], abs=0.01)
        assert 0 < results[f"{split}_miou_percent"] < results[f"{split}_pixel_accuracy_percent"] <= 100
        assert results[f"{split}_dice_percent"] > results[f"{split}_miou_percent"]
    assert {len(curves[name]) for name in ("train/miou", "val/miou", "val/dice", "train/loss_distill")} == {2}
    assert max(curves["val/miou"].values()) == pytest.approx(results["val_miou_percent"] / 100, abs=1e-4)


def test_the_deployed_target_is_shown(run: Path) -> None:
    data: Any = module_of("shapes", train_images=40, test_images=8, batch_size=8, image_size=[*SIZE])
    data.setup()
    images, wanted = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    with np.load(run / "predictions.npz") as held:
        assert len(images) == 4  # of 40
        assert np.array_equal(held["images"], data.val_set.samples.images.numpy())
        objective = tasks.build({"name": "segmentation", "headline": "miou", "better": "max"}, 4)
        with torch.no_grad():
            predicted = load_target(run / "target").net(images).argmax(1)
        for name, masks in (("wanted", wanted), ("predicted", predicted)):
            assert np.array_equal(held[name], np.stack([objective.show(mask) for mask in masks]))
        assert held["names"].tolist() == ["background", "disc", "square", "triangle", "not labelled"]
        assert held["colours"][1].tolist() == [128, 0, 0]
    with Image.open(run / "predictions.png") as picture:
        assert picture.width == 1200
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20) or ()}
    assert {(128, 0, 0), (0, 128, 0), (128, 128, 0)} <= colours


@pytest.mark.parametrize("path", ["target", "checkpoints/best.ckpt"])
def test_it_is_evaluated(path: str, run: Path, tmp_path: Path) -> None:
    given = (f"ckpt_path={run / path}", "trainer.accelerator=cpu", "+trainer.limit_test_batches=2")
    score = evaluate(composed(tmp_path / "eval", *given, config_name="eval"))
    found, results = read_json(tmp_path / "eval" / "results.json"), read_json(run / "results.json")
    for key in ("miou_percent", "pixel_accuracy_percent", "dice_percent", "loss", "iou_percent_by_class"):
        assert found[f"test_{key}"] == results[f"test_{key}"]
    assert round(100 * score, 2) == results["test_miou_percent"]


def test_binary_masks_of_a_folder_by_windows(tmp_path: Path) -> None:
    """One channel, grey levels 0 and 255, larger images than training crops; what is not labelled counts nowhere."""
    masked.write_folder(tmp_path / "data", 16, (0, 255, 7))
    given = (
        *("data=mask_folder", f"data.data_dir={tmp_path / 'data'}", "data.palette=[0,255,7]", "data.ignore_index=2"),
        *(*NET, "data.image_size=[8,8]", "data.eval_size=[12,16]", "data.num_workers=0", "data.batch_size=4"),
        *("task.masks=binary", "task.window=[8,8]", "aug=none", "trainer.max_epochs=1", "optim.warmup_epochs=0"),
    )
    results = run_little(tmp_path / "run", *given)
    assert list(results["test_iou_percent_by_class"]) == ["1"]
    assert results["test_miou_percent"] == results["test_iou_percent_by_class"]["1"]
    with np.load(tmp_path / "run" / "predictions.npz") as held:
        assert held["predicted"].shape[1:] == (3, 12, 16)
        assert (held["wanted"] == np.array([224, 224, 192]).reshape(3, 1, 1)).all(1).any()


def test_it_is_evaluated_at_another_size_and_by_windows(run: Path, tmp_path: Path) -> None:
    given = (f"ckpt_path={run / 'target'}", "trainer.accelerator=cpu", "+trainer.limit_test_batches=2")

    def loss(name: str, *more: str) -> float:
        evaluate(composed(tmp_path / name, *given, *more, config_name="eval"))
        return float(read_json(tmp_path / name / "results.json")["test_loss"])

    whole, windowed = loss("whole"), loss("window", "task.window=[16,16]", "task.window_overlap=0")
    assert loss("large", "data.eval_size=[48,64]") != whole != windowed
    assert loss("one_window", "task.window=[24,32]") == whole
    with pytest.raises(
        UserError, match=r"^task\.window=\[48,96\]: is larger than what it slides over, images of \[24,"
    ):
        loss("wide", "task.window=[48,96]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task.window=8", r"task\.window=8: task=classification has no such key; options: null"),
        ("data.eval_size=8", r"data\.eval_size=8: data=digits has no such key; options: data\.batch_size"),
    ],
)
def test_what_evaluation_cannot_change(change: str, message: str, classified: Path, tmp_path: Path) -> None:
    line = composed(tmp_path / "eval", f"ckpt_path={classified}", "trainer.accelerator=cpu", change, config_name="eval")
    with pytest.raises(UserError, match=f"^{message}$"):
        evaluate(line)


def test_pooled_values_of_one_image_are_not_measured(tmp_path: Path) -> None:
    stage = "{block: inverted_bottleneck, channels: 16, expand: 2, stride: 2, depth: 1}"
    given = ("data=shapes", "arch=deeplabv3plus", f"net.stages=[{stage},{stage},{stage}]", "net.stem_stride=2", *FEW)
    run_little(tmp_path / "run", *given, "trainer.max_epochs=1", "optim.warmup_epochs=0")
    line = (f"ckpt_path={tmp_path / 'run' / 'target'}", "trainer.accelerator=cpu", "recalibrate_batches=1")
    with pytest.raises(
        UserError, match=r"^data\.batch_size=1: recalibrate_batches=1 measures the batch-norm decoder\."
    ):
        evaluate(composed(tmp_path / "eval", *line, "data.batch_size=1", config_name="eval"))


def test_a_mistake_in_a_mask_is_one_line_before_training(tmp_path: Path) -> None:
    masked.write_folder(tmp_path / "data", 16, (0, 255))
    given = (f"data.data_dir={tmp_path / 'data'}", "data.num_classes=2", "data.num_workers=0", *NET)
    with pytest.raises(UserError, match=r"masks/\d\d\.png: label 255 at row \d+, column \d+, and data\.num_classes=2"):
        run_little(tmp_path / "run", "data=mask_folder", *given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("arch=classifier",), r"arch=classifier: gives outputs of each image, and task=segmentation wants"),
        (("task=classification",), r"arch=unet: gives outputs of each pixel, and task=classification wants"),
        (("task.class_weights=[1.0]",), r"task\.class_weights=\[1\.0\]: has 1 entries for 4 classes"),
        (("task.window=[48,96]",), r"task\.window=\[48,96\]: is larger than what it slides over"),
        (("task.masks=binary",), r"task\.masks=binary: data\.num_classes=4; must be 2"),
    ],
)  # fmt: skip
def test_mistakes(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        read_settings(composed(tmp_path / "run", "data=shapes", *overrides))


@pytest.mark.slow
def test_two_processes_evaluate_as_one(tmp_path: Path) -> None:
    """The confusion matrix is that of both, for every figure that is read from it."""
    line = [*SHORT, "aug=none", "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    two = command(*line, "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    assert two.returncode == 0, two.stderr
    found = read_json(tmp_path / "two" / "results.json")
    evaluate(
        composed(
            tmp_path / "one", f"ckpt_path={tmp_path / 'two' / 'target'}", "trainer.accelerator=cpu", config_name="eval"
        )
    )
    wanted = read_json(tmp_path / "one" / "results.json")
    for key in ("test_miou_percent", "test_pixel_accuracy_percent", "test_dice_percent", "test_iou_percent_by_class"):
        assert found[key] == wanted[key] and found[key] is not None
    assert not math.isnan(found["val_miou_percent"])
