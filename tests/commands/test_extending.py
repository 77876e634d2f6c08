"""The examples of docs/extending.md: a plugin of all of them is trained, deployed and drawn; its commands compose."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file

from shiftaddaug import tasks
from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands.train import train
from shiftaddaug.nets.units import ends
from shiftaddaug.report.results import read_history, read_json
from shiftaddaug.runs.cost import read_cost
from shiftaddaug.runs.explain import compose_config
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, ROOT
from tests.tasks.contract import check_objective

PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml)\n# (my_package/\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^(?:# )?python src/(\w+)\.py (.*my_package.*)$", PAGE, re.MULTILINE)
CHOSEN = ["op=ternary", "net=simple", "data=stripes", "optim/scheduler=restarts", "callbacks=norms"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    packages = ("my_package", "my_package/operators/ternary", "my_package/tasks/regression")
    empty = [f"{package}/__init__.py" for package in packages]
    for name, content in {**FILES, **dict.fromkeys(empty, "")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "my_package"


def trained(folder: Path, plugin: Path, *overrides: str) -> Path:
    paths = [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", f"paths.data_dir={folder.parent}/data"]
    short = ["optim.warmup_epochs=0", "aug=full"]
    train(compose_config("train", [*paths, f"plugins=['{plugin}']", *short, *overrides]))
    return folder


@pytest.fixture(scope="module")
def run(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    mechanisms = ("trainer.max_epochs=2", "reorder=l1", "block_variant=layer")
    return trained(folder, plugin, *CHOSEN, *LITTLE, *mechanisms)


@pytest.fixture(scope="module")
def regression(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the page's task, on the page's net and operator."""
    folder = tmp_path_factory.mktemp("runs") / "regression"
    quiet = [override for override in LITTLE if "limit_" not in override]
    chosen = ("op=ternary", "net=simple", "data=strengths", "callbacks=norms", "optim.lr=0.05")
    return trained(folder, plugin, *chosen, *quiet, "trainer.max_epochs=4")


@pytest.fixture(scope="module")
def masks(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the page's decoder, on the page's net and operator."""
    folder = tmp_path_factory.mktemp("runs") / "masks"
    chosen = ("op=ternary", "net=simple", "data=shapes", "arch=stacked", "data.train_images=64", "data.image_size=50")
    return trained(folder, plugin, *chosen, *LITTLE)


def test_every_recipe_has_an_example() -> None:
    folders = {name.split("/")[1] if "configs" not in name else name.rpartition("/")[0] for name in FILES}
    assert folders >= {"operators", "nets", "data", "tasks", "callbacks", "report"}
    groups = ("op", "net", "arch", "data", "task", "optim/scheduler", "callbacks")
    assert folders >= {f"my_package/configs/{group}" for group in groups}


def test_they_train_together_and_are_deployed_exactly(run: Path) -> None:
    results = read_json(run / "results.json")
    assert (results["op"], results["net"], results["data"]) == ("ternary", "simple", "stripes")
    assert results["extraction_max_difference"] == 0
    assert results["multiplication_free_macs_percent"] > 50
    weights = load_file(run / "target" / "model.safetensors")
    assert len(weights["blocks.0.body.conv.weight"].unique()) == 3


def test_the_task_is_chosen_by_its_data_trained_and_deployed(regression: Path) -> None:
    results = read_json(regression / "results.json")
    assert (results["task"], results["headline"], results["data"]) == ("regression", "error", "strengths")
    assert results["extraction_max_difference"] == 0
    assert 0 < results["test_error"] < 0.7  # the mean of all is off by 1


def test_the_decoder_is_trained_and_deployed(masks: Path) -> None:
    results = read_json(masks / "results.json")
    assert (results["arch"], results["data"], results["extraction_max_difference"]) == ("stacked", "shapes", 0)
    weights = load_file(masks / "target" / "model.safetensors")
    assert len(weights["decoder.stack.conv.weight"].unique()) == 3


def test_the_objective_keeps_to_the_contract(plugin: Path) -> None:
    config = {"name": "regression", "headline": "error", "better": "min"}
    outputs, wanted = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0))
    check_objective(tasks.build(config, 2, catalogue_of([str(plugin)])), outputs, wanted)


def test_the_order_of_its_data_follows_from_seed_and_epoch(plugin: Path) -> None:
    cfg = compose_config("train", [f"plugins=['{plugin}']", "data=strengths", "paths.output_dir=/run"])

    def order(epoch: int) -> torch.Tensor:
        loader = instantiate(cfg.data).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([wanted for _, wanted in loader])

    assert torch.equal(order(3), order(3))
    assert not torch.equal(order(3), order(4))


def test_the_masks_are_those_of_the_images(plugin: Path) -> None:
    cfg = compose_config("train", [f"plugins=['{plugin}']", "data=halves", "data.images=20", "paths.output_dir=/run"])
    data = instantiate(cfg.data)
    data.setup("fit")
    images, masks = next(iter(data.train_dataloader()))
    assert images.shape == (16, 3, 64, 96) and masks.shape == (16, 64, 96)
    assert images.movedim(1, -1)[masks == 1].min() >= 99 and set(masks.unique().tolist()) == {0, 1}
    assert (cfg.task.name, cfg.arch.name) == ("segmentation", "unet")


def test_the_callback_logs(run: Path) -> None:
    assert sorted(read_history(run)["weights/norm"]) == [0, 1]
    assert "norms" not in read_json(run / "run.json")["idle"]


def test_the_callback_says_when_it_is_idle(plugin: Path) -> None:
    cfg = compose_config("train", [f"plugins=['{plugin}']", "callbacks=norms", "paths.output_dir=/run"])
    task: Any = SimpleNamespace(net=torch.nn.Linear(2, 2))
    assert instantiate(cfg.callbacks.norms).idle(None, task) is None
    assert instantiate(cfg.callbacks.norms, part="gate").idle(None, task) == "no weight's name contains gate"


def test_the_figure_is_drawn_for_every_task(run: Path, regression: Path) -> None:
    for folder in (run, regression):
        assert (folder / "gap.png").stat().st_size > 1000


def test_the_block_can_be_skipped_and_the_data_are_two_classes(plugin: Path) -> None:
    cfg = compose_config("train", [f"plugins=['{plugin}']", *CHOSEN, "paths.output_dir=/run"])
    plan = read_settings(cfg, (), catalogue_of([str(plugin)])).plan
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
        read_settings(cfg, (), catalogue_of([str(plugin)]))


def test_the_operator_is_priced(plugin: Path) -> None:
    """Without a line anywhere else: one addition for each MAC, weights of two bits."""
    chosen = [f"plugins=['{plugin}']", "op=ternary", "net=simple", "data=stripes", "paths.output_dir=/run"]
    report = read_cost(compose_config("cost", chosen), chosen, catalogue_of([str(plugin)]))
    assert "ternary" in [each.title for each in report.operators]
    found = report.chosen.price
    free = [layer for layer in found.layers if layer.operator == "ternary"]
    assert free and all(layer.operations == {"add": layer.macs} for layer in free)
    assert 0 < found.costs["fair"].energy < report.operators[0].price.costs["fair"].energy
