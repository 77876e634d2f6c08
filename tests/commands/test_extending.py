"""The examples of docs/extending.md: a plugin of all of them is trained, deployed and drawn; its commands compose."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from hydra.utils import instantiate
from safetensors.torch import load_file

from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands.checks import check_train_config
from shiftaddaug.commands.entry import compose_config
from shiftaddaug.commands.train import train
from shiftaddaug.nets.units import ends
from shiftaddaug.report.results import read_history, read_json
from tests.commands.running import LITTLE, ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml)\n# (my_package/\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^(?:# )?python src/(\w+)\.py (.*my_package.*)$", PAGE, re.MULTILINE)
CHOSEN = ["op=ternary", "net=simple", "data=stripes", "optim/scheduler=restarts", "callbacks=norms"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    empty = ("my_package/__init__.py", "my_package/operators/ternary/__init__.py")
    for name, content in {**FILES, **dict.fromkeys(empty, "")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "my_package"


@pytest.fixture(scope="module")
def run(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    paths = [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", f"paths.data_dir={folder.parent}/data"]
    short = ["trainer.max_epochs=2", "optim.warmup_epochs=0", "reorder=l1", "aug=full", "block_variant=layer"]
    train(compose_config("train", [*paths, f"plugins=['{plugin}']", *CHOSEN, *LITTLE, *short]))
    return folder


def test_every_recipe_has_an_example() -> None:
    folders = {name.split("/")[1] if "configs" not in name else name.rpartition("/")[0] for name in FILES}
    assert folders >= {"operators", "nets", "data", "callbacks", "gap.py"}
    assert folders >= {f"my_package/configs/{group}" for group in ("op", "net", "data", "optim/scheduler", "callbacks")}


def test_they_train_together_and_are_deployed_exactly(run: Path) -> None:
    results = read_json(run / "results.json")
    assert (results["op"], results["net"], results["data"]) == ("ternary", "simple", "stripes")
    assert results["extraction_max_difference"] == 0
    assert results["multiplication_free_macs_percent"] > 50
    weights = load_file(run / "target" / "model.safetensors")
    assert len(weights["blocks.0.body.conv.weight"].unique()) == 3


def test_the_callback_logs(run: Path) -> None:
    assert sorted(read_history(run)["weights/norm"]) == [0, 1]


def test_the_figure_is_drawn(run: Path) -> None:
    assert importlib.import_module("my_package.gap").draw_gap(run).stat().st_size > 1000


def test_the_block_can_be_skipped_and_the_data_are_two_classes(plugin: Path) -> None:
    cfg = compose_config("train", [f"plugins=['{plugin}']", *CHOSEN, "paths.output_dir=/run"])
    plan = check_train_config(cfg, (), catalogue_of([str(plugin)]))
    assert [unit for unit in plan.units() if ends(plan, unit) is not None] == ["blocks.0", "blocks.1", "blocks.3"]
    data = instantiate(cfg.data)
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (32, 1, 16, 16)
    assert set(labels.tolist()) == {0, 1}


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_its_commands_compose(name: str, arguments: str, plugin: Path, tmp_path: Path) -> None:
    typed = [a.replace("plugins=[my_package]", f"plugins=['{plugin}']") for a in shlex.split(arguments)]
    cfg = compose_config(name, [*typed, f"paths.output_dir={tmp_path}/run", f"paths.data_dir={tmp_path}/data"])
    if name == "train":
        check_train_config(cfg, (), catalogue_of([str(plugin)]))
