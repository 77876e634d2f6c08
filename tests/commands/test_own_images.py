"""A folder of classes, trained by the recipe for own images and evaluated where it has been moved to."""

import json
import logging
import math
from pathlib import Path

import pytest
from PIL import Image

from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.commands.train import train
from tests.commands.running import composed

RECIPE = ("experiment=own_images", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")
SHORT = ("data.image_size=16", "data.min_epoch_batches=3", "data.num_workers=0", "trainer.max_epochs=1")


def test_the_target_is_evaluated_on_the_images_that_were_kept_for_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label, name in enumerate(("cat", "dog", "emu")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(7):
            colour = (80 * label, 30 * i, 7)
            Image.new("RGB", (9, 12), colour).save(tmp_path / "photos" / name / f"{i}.png")
    run = tmp_path / "run"
    with caplog.at_level(logging.INFO, logger="shiftaddaug"):
        assert math.isnan(train(composed(run, *RECIPE, *SHORT, f"data.data_dir={tmp_path / 'photos'}")))
    assert "3 classes; 18 images for training, 0 for validation, 3 for test: split by data.split_seed=0" in caplog.text
    results = json.loads((run / "results.json").read_text())
    assert (results["bn"], results["deployed"]) == ("recalibrated", "last epoch")

    (tmp_path / "photos").rename(tmp_path / "moved")
    (tmp_path / "moved" / "cat" / ".DS_Store").write_bytes(b"x")
    moved = (f"ckpt_path={run / 'target'}", f"data.data_dir={tmp_path / 'moved'}", "trainer.accelerator=cpu")
    evaluate(composed(tmp_path / "eval", *moved, config_name="eval"))
    again = json.loads((tmp_path / "eval" / "results.json").read_text())
    for figure in ("test_top1_percent", "test_loss"):
        assert again[figure] == results[figure]
