"""`src/predict.py` says of a file what `src/eval.py` says of the same image, and answers what it cannot read."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shiftaddaug import tasks
from shiftaddaug.commands.arguments import split_paths
from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.commands.predict import predict
from shiftaddaug.data.digits import read_digits
from shiftaddaug.data.sampling import stratified_split
from shiftaddaug.errors import UserError
from shiftaddaug.nets import archs
from shiftaddaug.nets.extract import Target, extract_target, load_target, save_target
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.runs.interface import interface_of
from shiftaddaug.tasks.evaluation import Evaluation
from shiftaddaug.tasks.segmentation.colours import palette
from tests.build import bottlenecks, make_supernet, read_yaml
from tests.commands.running import command, composed
from tests.data.builders import keys_of, module_of
from tests.data.masked import write_image
from tests.nets.test_format1 import FOLDER as FORMAT1


def deploy(folder: Path, name: str, task: str, **changes: Any) -> Path:
    """A target of random weights, as a run that is called `folder` leaves it; the folder of the run."""
    keys, data = keys_of(name, **changes), module_of(name, **changes)
    nowhere = {"data_dir": None} if "data_dir" in keys else {}
    dense = task == "segmentation"
    arch = read_yaml("arch", "unet") | {"decoder_channels": [8]} if dense else archs.DEFAULT
    config = read_yaml("task", task) | ({"class_names": keys["class_names"]} if dense else {})
    sizes = data.num_classes, keys["in_channels"], keys["image_size"]
    plan = plan_net(bottlenecks(1, head=not dense) | ({"stem_stride": 2} if dense else {}), *sizes, arch=arch)
    target = extract_target(make_supernet(plan, "shift"), {"data": keys | nowhere, "task": config})
    interface = interface_of(tasks.build(config, plan.num_classes), data, plan)
    save_target(Target(target.net, target.assignment, target.config, interface), folder / "target")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predicted(folder: Path, *overrides: str, paths: tuple[str, ...] = ()) -> list[dict[str, str]]:
    predict(composed(folder, *overrides, "device=cpu", config_name="predict"), paths)
    return rows_of(folder / "predictions.csv")


def evaluated(folder: Path, *overrides: str) -> list[dict[str, str]]:
    cpu = ("trainer.accelerator=cpu",)
    evaluate(composed(folder, *overrides, *cpu, config_name="eval"))
    return rows_of(folder / "predictions.csv")


def test_digits_are_what_eval_says(tmp_path: Path) -> None:
    run = deploy(tmp_path / "run", "digits", "classification", image_size=16, batch_size=30)
    said = evaluated(tmp_path / "eval", f"ckpt_path={run}/target", "+trainer.limit_test_batches=2")
    assert [row["index"] for row in said] == [str(i) for i in range(60)]
    pixels, labels = read_digits()
    _, test = stratified_split(labels, 0.2, 0)
    for place, index in enumerate(test[:60].tolist()):
        levels = pixels[index].float().mul(255 / 16).round().byte().view(8, 8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(levels.numpy()).save(tmp_path / "images" / f"{place:02}.png")
    rows = predicted(tmp_path / "predict", f"target={run}", f"images={tmp_path}/images", "batch_size=30")
    assert [(row["class"], row["score"]) for row in rows] == [(row["predicted"], row["score"]) for row in said]
    assert [int(row["label"]) for row in said] == labels[test[:60]].tolist()
    assert list(rows[0]) == ["file", "class", "score", "class_2", "score_2", "class_3", "score_3"]
    assert all(float(row["score"]) >= float(row["score_2"]) >= float(row["score_3"]) for row in rows)
    counts = rows_of(tmp_path / "eval" / "confusion.csv")
    for row, of_class in zip(counts, rows_of(tmp_path / "eval" / "per_class.csv"), strict=True):
        name, total = row.pop("label"), sum(map(int, row.values()))
        assert (of_class["class"], int(of_class["images"])) == (name, total)
        assert float(of_class["top1_percent"]) == pytest.approx(100 * int(row[name]) / total, abs=0.01)
    assert (tmp_path / "eval" / "confusion.png").stat().st_size > 1000


def test_folders_are_what_eval_says(tmp_path: Path) -> None:
    """Two classes: one is told of each image, by its name, and there is no top-5."""
    root = tmp_path / "pets"
    for split, count in (("train", 4), ("val", 3)):
        for place in range(count):
            write_image(root / split / "cat" / f"{place}.png", (20, 30))
            write_image(root / split / "dog" / f"1{place}.png", (31, 17))
    options = {"data_dir": root, "image_size": 16, "num_workers": 0, "num_classes": 2}
    run = deploy(tmp_path / "run", "image_folder", "classification", **options)
    said = evaluated(tmp_path / "eval", f"ckpt_path={run}/target", f"data.data_dir={root}")
    rows = predicted(tmp_path / "predict", f"target={run}/target", paths=tuple(row["file"] for row in said))
    assert [(row["file"], row["class"], row["score"]) for row in rows] == [
        (row["file"], row["predicted"], row["score"]) for row in said
    ]
    assert {row["label"] for row in said} == {"cat", "dog"} >= {row["predicted"] for row in said}
    assert list(rows[0]) == ["file", "class", "score"]
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert "test_top5_percent" not in results
    assert [figure["name"] for figure in results["figures"]] == ["top1", "loss"]


def test_masks_are_written_at_the_size_of_their_images(tmp_path: Path) -> None:
    run = deploy(tmp_path / "run", "shapes", "segmentation", image_size=[24, 32], train_images=8, test_images=4)
    data: Any = module_of("shapes", image_size=[24, 32], train_images=8, test_images=4)
    stored = data.load()["test"].images
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for place, image in enumerate(stored):
        Image.fromarray(image.movedim(0, -1).numpy()).save(folder / f"{place}.png")
    Image.fromarray(stored[0].movedim(0, -1).numpy()).resize((100, 41)).save(folder / "sub" / "0.jpg")
    rows = predicted(tmp_path / "predict", f"target={run}", f"images={folder}")
    assert [row["mask"] for row in rows] == [*(f"masks/{place}.png" for place in range(4)), "masks/sub/0.png"]
    target = load_target(run)
    objective: Any = tasks.build(target.config["task"], 4)
    data.setup("test")
    images, _ = next(iter(data.test_dataloader()))
    with torch.no_grad():
        wanted = objective.predictions(Evaluation(target.net, objective).eval()(data.transform(images, False)))
    for row, mask in zip(rows[:4], wanted, strict=True):
        written = Image.open(tmp_path / "predict" / row["mask"])
        assert written.mode == "P"
        assert np.array_equal(np.array(written), mask.numpy())
        assert np.array_equal(np.array(written.convert("RGB")), palette()[mask].numpy())
        counts = np.bincount(mask.flatten().numpy(), minlength=4)
        names = target.interface.classes
        assert names is not None and (row["class"], float(row["share"])) == (
            names[int(counts.argmax())],
            pytest.approx(counts.max() / mask.numel(), abs=1e-5),
        )
    assert Image.open(tmp_path / "predict" / "masks/sub/0.png").size == (100, 41)


def test_what_cannot_be_read_is_named_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = deploy(tmp_path / "run", "digits", "classification", image_size=16)
    Image.fromarray(np.full((9, 9, 4), 200, np.uint8)).save(tmp_path / "a=b (1).png")
    shutil.copy(tmp_path / "a=b (1).png", os.fsencode(tmp_path) + b"/no\xfftext.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    paths = tuple(f"{tmp_path}/{name}" for name in ("a=b (1).png", "broken.png", "gone.png", "no\udcfftext.png"))
    with pytest.raises(UserError, match=r"^images: 2 of 4 could not be read, /.*/broken\.png for one$"):
        predicted(tmp_path / "predict", f"target={run}", paths=paths)
    assert "broken.png: cannot be read as an image" in caplog.text and "gone.png: no such file" in caplog.text
    rows = rows_of(tmp_path / "predict" / "predictions.csv")
    assert [row["file"] for row in rows] == [f"{tmp_path}/a=b (1).png", rf"{tmp_path}/no\udcfftext.png"]


@pytest.mark.slow
def test_a_shell_gives_it_files(tmp_path: Path) -> None:
    run = deploy(tmp_path / "run", "digits", "classification", image_size=16)
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(tmp_path / "a=b (1).png")
    line = [f"target={run}", "a=b (1).png", "gone.png", f"paths.log_dir={tmp_path}/logs", "device=cpu"]
    ended = command(*line, cwd=tmp_path, script="predict")
    assert ended.returncode == 2
    assert ended.stderr.strip() == "error: images: 1 of 2 could not be read, gone.png for one"
    assert "ERROR gone.png: no such file" in ended.stdout and "│ a=b (1).png" in ended.stdout
    (written,) = tmp_path.glob("logs/predict/runs/*/predictions.csv")
    assert [row["file"] for row in rows_of(written)] == ["a=b (1).png"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["target=nowhere"], r"^target=nowhere: no such file; options: last, a run's folder, or its target"),
        (["target={run}"], r"^images=\[\]: nothing to look at; options: files and folders"),
        (["target={run}", "images=gone.png"], r"^gone\.png: no such file$"),
        (["target={run}", "images={tmp}/empty"], r"empty: no image in this folder$"),
        (["target={run}", "images=gone.png", "top=0"], r"^top=0: must be a whole number >= 1$"),
        (["target={tmp}/empty", "images=gone.png"], r"empty: no architecture\.json there; options: last, a run"),
        ([f"target={FORMAT1}", "images=gone.png"], r"does not say how images are prepared; it was written by an earl"),
    ],
)
def test_mistakes_are_one_line(overrides: list[str], message: str, tmp_path: Path) -> None:
    run = deploy(tmp_path / "run", "digits", "classification", image_size=16)
    (tmp_path / "empty").mkdir()
    given = [override.format(run=run, tmp=tmp_path) for override in overrides]
    with pytest.raises(UserError, match=message):
        predicted(tmp_path / "predict", *given)


def test_arguments_without_a_key_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b.png").touch()
    line = ["target=logs", "x.png", "--cfg", "job", "a=b.png", "~key", "+key=1", "no=such.png", "-m", "folder/"]
    paths, others = split_paths(line)
    assert paths == ["x.png", "a=b.png", "no=such.png", "folder/"]  # the third will be said not to be there
    assert others == ["target=logs", "--cfg", "job", "~key", "+key=1", "-m"]
