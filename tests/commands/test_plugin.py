"""A plugin's operator is trained, deployed and evaluated, with nothing edited elsewhere."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shiftaddaug import operators
from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands.ablate import ablate
from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.extract import extract, unexpected_multiplications
from shiftaddaug.operators import available
from shiftaddaug.report.results import read_json
from shiftaddaug.runs.cells import Cell
from shiftaddaug.runs.compose import with_plugin_configs
from shiftaddaug.runs.explain import compose_config
from tests.build import images, plan_of
from tests.commands.running import LITTLE, ROOT, command, composed
from tests.nets.test_subnetworks import assert_same, at_most_target
from tests.operators.toy import OPERATOR, write_plugin

STAGES = "net.stages=[{block: inverted_bottleneck, channels: 8, expand: 2, depth: 2}]"
SHORT = [*LITTLE, "trainer.max_epochs=3", "optim.warmup_epochs=0", STAGES]


def run_with(folder: Path, plugin: Path, *overrides: str, config: str = "train") -> None:
    paths = [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", f"paths.data_dir={folder.parent}/data"]
    cfg = compose_config(config, [*paths, f"plugins=['{plugin}']", *overrides])
    (train if config == "train" else evaluate)(cfg)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def run(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_with(folder, plugin, *SHORT, "op=toy", "aug=full", "reorder=l1", "block_variant=layer")
    return folder


def test_it_trains_augmented_and_deploys(run: Path) -> None:
    results = read_json(run / "results.json")
    assert results["op"] == "toy"
    assert results["extraction_max_difference"] == 0
    assert 50 < results["multiplication_free_macs_percent"] < 100
    weights = load_file(run / "target" / "model.safetensors")
    for name in ("blocks.0.expand.conv.weight", "blocks.1.depthwise.conv.weight", "head.conv.weight"):
        assert len(weights[name].unique()) == 3
    assert len(weights["stem.conv.weight"].unique()) > 3


def test_its_scalar_is_trained_as_it_asks_and_its_buffer_updated(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    first = "net.blocks.0.expand.conv"
    assert state[f"{first}.scale"].shape == ()
    assert 0 < state[f"{first}.threshold"] < state[f"{first}.weight"].abs().max()


def test_its_operations_stand_in_the_results(run: Path) -> None:
    results = read_json(run / "results.json")
    multiplied = round(results["macs"] * (1 - results["multiplication_free_macs_percent"] / 100))
    assert results["operations"]["mult"] == pytest.approx(multiplied, rel=0.01)
    assert results["operations"]["add"] == results["macs"]
    assert "shift" not in results["operations"]


def test_a_narrower_sub_network_is_exact_and_multiplies_nothing(plugin: Path) -> None:
    """Its weight is a slice of the target's: the scale and the threshold stay."""
    operator = operators.from_config({"name": "toy"}, catalogue_of([str(plugin)]))
    plan = plan_of("mbv2_micro")
    supernet = build_supernet(plan, assign(plan, operator, ["stem", "classifier"]), (1.0, 2.0), (1.0, 2.0)).eval()
    for layer in supernet.hybrid_layers().values():
        layer.between_epochs(1)
    for seed in range(3):
        spec = at_most_target(supernet, seed)
        target = extract(supernet, spec)
        assert_same(supernet, spec, target, images())
        assert unexpected_multiplications(target) == {}
        assert target.assignment.title() == "toy"


def test_the_target_is_read_with_the_plugin_alone(run: Path, plugin: Path, tmp_path: Path) -> None:
    architecture = (run / "target" / "architecture.json").read_text()
    assert "plugin" not in architecture
    assert json.loads(architecture)
    given = (f"ckpt_path={run / 'target'}", "trainer.accelerator=cpu", "+trainer.limit_test_batches=2")
    run_with(tmp_path / "with", plugin, *given, config="eval")
    evaluated = read_json(tmp_path / "with" / "results.json")
    assert evaluated["test_top1_percent"] == read_json(run / "results.json")["test_top1_percent"]
    cfg = compose_config("eval", [f"paths.output_dir={tmp_path / 'without'}", *given])
    with pytest.raises(UserError, match=r"ckpt_path=.*op=toy: no such operator; .*needs plugins=\[\.\.\.\]"):
        evaluate(cfg)


DATA = """from shiftaddaug.data.digits import DigitsDataModule


class HalfOfThem(DigitsDataModule):
    pass
"""


def test_its_data_are_read_with_the_plugin_alone(tmp_path: Path) -> None:
    plugin = tmp_path / "data_plugin"
    files = {
        "__init__.py": "",
        "data/__init__.py": "",
        "data/halves.py": DATA,
        "configs/data/halves.yaml": (ROOT / "configs/data/digits.yaml").read_text().replace(
            "shiftaddaug.data.digits.DigitsDataModule", "data_plugin.data.halves.HalfOfThem"
        ),
    }  # fmt: skip
    for name, content in files.items():
        (plugin / name).parent.mkdir(parents=True, exist_ok=True)
        (plugin / name).write_text(content)
    run_with(tmp_path / "run", plugin, *SHORT, "data=halves", "aug=none", "trainer.max_epochs=1")
    given = (f"ckpt_path={tmp_path / 'run' / 'target'}", "trainer.accelerator=cpu", "+trainer.limit_test_batches=2")
    run_with(tmp_path / "with", plugin, *given, config="eval")
    wanted = read_json(tmp_path / "run" / "results.json")["test_top1_percent"]
    assert read_json(tmp_path / "with" / "results.json")["test_top1_percent"] == wanted
    with pytest.raises(
        UserError, match=r"^data_plugin\.data\.halves\.HalfOfThem: no class of shiftaddaug\.data; .*plugins="
    ):
        evaluate(compose_config("eval", [f"paths.output_dir={tmp_path / 'without'}", *given]))


@pytest.mark.parametrize(
    ("written", "instead", "reason"),
    [
        ("return F.conv2d(x, weight,", "return 0.37 * F.conv2d(x, weight,", "something else than its codes"),
        ("return signs * scale", "return signs * scale + 0.01 * weight", "its codes do not decode to its weights"),
        (
            "    def conv2d",
            "    def prepare_input(self, x, tensors):\n        return 0.3 * x\n\n    def conv2d",
            "aten::mul",
        ),
        ("    def codes(self, weight):", "    def unused(self, weight):", "it executes aten::convolution"),
    ],
)
@pytest.mark.slow
def test_one_that_multiplies_after_all_is_refused_before_data_are_read(
    written: str, instead: str, reason: str, tmp_path: Path
) -> None:
    """In a process of its own, as the module's name is taken here."""
    plugin = write_plugin(tmp_path, OPERATOR.replace(written, instead))
    assert instead in (plugin / "operators/toy/operator.py").read_text()
    done: subprocess.CompletedProcess[str] = command(
        *SHORT, "op=toy", "aug=none", f"plugins=['{plugin}']", f"paths.log_dir={tmp_path / 'logs'}",
        "data=image_folder", f"data.data_dir={folder_of_classes(tmp_path)}", "data.in_channels=3",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: op=toy: layer blocks.0.expand.conv multiplies, for ")
    assert reason in line


def folder_of_classes(folder: Path) -> Path:
    """Classes whose images nobody can read."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / "images" / split / name).mkdir(parents=True)
            (folder / "images" / split / name / "1.png").write_text("no image")
    return folder / "images"


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ("plugins=[no_such_package]", r"^plugins=no_such_package: cannot be imported \(ModuleNotFoundError"),
        ("plugins=[json.decoder]", r"^plugins=json\.decoder: is a single file; must be a package"),
        ("plugins=ternary", r"^plugins=ternary: must be a list of importable packages"),
        ("plugins=null", r"^plugins=null: must be a list"),
    ],
)
def test_what_is_no_plugin(plugins: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_plugin_configs([plugins])


def test_a_plugin_that_ends_the_process_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "leaving").mkdir()
    (tmp_path / "leaving" / "__init__.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(UserError, match=r"leaving: cannot be imported \(SystemExit: 0\)"):
        with_plugin_configs([f"plugins=['{tmp_path / 'leaving'}']"])


def test_a_damaged_yaml_of_a_plugin_is_one_line(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path).rename(tmp_path / "damaged_plugin")
    (plugin / "configs/op/toy.yaml").write_text("name: [toy\n")
    done = command("op=toy", f"plugins=['{plugin}']", f"paths.log_dir={tmp_path}")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "toy.yaml" in done.stderr


def test_an_operator_called_as_one_of_the_package_is_refused(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path).rename(tmp_path / "shadowing_plugin")
    (plugin / "operators" / "toy").rename(plugin / "operators" / "shift")
    with pytest.raises(UserError, match=r"^plugins: shadowing_plugin\.operators\.shift is called as shiftaddaug\.oper"):
        available(catalogue_of([str(plugin)]))


def test_without_plugins_the_overrides_stay_as_they_are() -> None:
    assert with_plugin_configs(["op=add"]) == ["op=add"]


def test_help_shows_its_configs(plugin: Path) -> None:
    done = command("op=toy", f"plugins=['{plugin}']", "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^op: .*\n    add, .*shift_ps, .*toy\*$", done.stdout, re.MULTILINE)
    assert "\n  ratio: 0.7\n" in done.stdout


def test_a_mistake_in_its_keys_is_answered_by_them(plugin: Path) -> None:
    done = command("op=toy", "op.ratoi=1", f"plugins=['{plugin}']")
    assert done.returncode == 2
    assert "op.ratoi: no such key; did you mean op.ratio? options: op.name, op.ratio, op.mult_layers (" in done.stderr


def test_an_ablation_of_it(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cell: Cell, command: list[str], *_: object) -> bool:
        cell.folder.mkdir(parents=True)
        (cell.folder / "results.json").write_text('{"test_top1_percent": 20.0, "params": 1, "macs": 2}')
        return f"plugins=['{plugin}']" in command

    def study(overrides: str) -> None:
        shared = ["rows=[mf_direct]", "ops=[toy]", "seeds=[0]", f"folder={tmp_path / 'study'}"]
        ablate(composed(tmp_path / "run", *shared, f"overrides={overrides}", config_name="ablate"))

    monkeypatch.setattr("shiftaddaug.commands.ablate._run", run)
    with pytest.raises(UserError, match=r"^ops=toy: no such option; options: .*shift_ps"):
        study("[]")
    study(f"[\"plugins=['{plugin}']\"]")
    assert "| toy | mf_direct |" in (tmp_path / "study" / "table.md").read_text(encoding="utf-8")
