"""A plugin's task is trained, deployed, evaluated, tabulated and searched for, with nothing edited elsewhere."""

import csv
import logging
import math
import re
from pathlib import Path

import optuna
import pytest
import torch
from PIL import Image

from shiftaddaug import tasks
from shiftaddaug.callbacks.progress import EpochLog
from shiftaddaug.catalogue import catalogue_of
from shiftaddaug.commands.ablate import ablate
from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.report.multirun import job_rows
from shiftaddaug.report.results import read_json, read_metrics
from shiftaddaug.runs.cells import Cell
from shiftaddaug.runs.explain import compose_config
from tests.commands.running import command, composed
from tests.tasks.contract import check_objective
from tests.tasks.toy import OBJECTIVE, write_plugin

STAGES = "net.stages=[{block: inverted_bottleneck, channels: 8, expand: 2, depth: 2}]"
SHORT = [
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"),
    *("trainer.max_epochs=4", "optim.warmup_epochs=0", "optim.lr=0.05", STAGES),
]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugins"))


def run_with(folder: Path, plugin: Path, *overrides: str, config: str = "train") -> float:
    paths = [f"paths.output_dir={folder}", f"paths.log_dir={folder.parent}", f"paths.data_dir={folder.parent}/data"]
    cfg = compose_config(config, [*paths, f"plugins=['{plugin}']", *overrides])
    return (train if config == "train" else evaluate)(cfg)


@pytest.fixture(scope="module")
def scored(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run's folder, and what it returned."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_with(folder, plugin, *SHORT, "data=stripes", "op=shift", "aug=full")


@pytest.fixture
def run(scored: tuple[Path, float]) -> Path:
    return scored[0]


def test_its_objective_keeps_to_the_contract(plugin: Path) -> None:
    config = {"name": "slope", "headline": "error", "better": "min"}
    objective = tasks.build(config, 2, catalogue_of([str(plugin)]))
    outputs, wanted = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0))
    check_objective(objective, outputs, wanted)
    assert objective.show(wanted[0]) == ", ".join(f"{value:.2f} px" for value in wanted[0])


def test_it_trains_augmented_and_deploys(scored: tuple[Path, float]) -> None:
    run, score = scored
    results = read_json(run / "results.json")
    assert (results["task"], results["headline"], results["data"]) == ("slope", "error", "stripes")
    assert results["extraction_max_difference"] == 0
    assert score == results["val_error_px"]
    assert score < 1  # which the mean of all would be off by
    measured = ("val_error_px", "val_farthest_px", "val_loss", "test_error_px", "test_farthest_px", "test_loss")
    assert all(math.isfinite(results[key]) for key in (*measured, "train_error_px"))
    assert results["test_farthest_px"] > results["test_error_px"]
    assert sum(results["test_error_of_each"]) / 2 == pytest.approx(results["test_error_px"], abs=2e-3)
    assert not any("top1" in key or "train_farthest" in key for key in results)


def test_the_best_checkpoint_has_the_lowest_error(run: Path) -> None:
    errors = read_metrics(run / "metrics.csv")["val/error"]
    assert len(errors) == 4 and len(set(errors.values())) == 4
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    (state,) = [value for key, value in best["callbacks"].items() if key.startswith("BestCheckpoint")]
    assert float(state["best_model_score"]) == pytest.approx(min(errors.values()))
    assert best["epoch"] == min(errors, key=lambda epoch: errors[epoch])


def test_its_curves_are_drawn(run: Path) -> None:
    with Image.open(run / "curves.png") as image:
        right = image.convert("RGB").crop((500, 0, 1000, 400))
    assert sum(max(pixel) - min(pixel) > 60 for pixel in right.getdata()) > 100


@pytest.mark.parametrize("path", ["target", "checkpoints/best.ckpt"])
def test_it_is_evaluated_with_the_plugin_alone(path: str, run: Path, plugin: Path, tmp_path: Path) -> None:
    given = (f"ckpt_path={run / path}", "trainer.accelerator=cpu")
    score = run_with(tmp_path / "with", plugin, *given, config="eval")
    evaluated, results = read_json(tmp_path / "with" / "results.json"), read_json(run / "results.json")
    for key in ("test_error_px", "test_farthest_px", "test_loss", "test_error_of_each", "task", "headline", "figures"):
        assert evaluated[key] == results[key]
    assert round(score, 3) == results["test_error_px"]
    cfg = compose_config("eval", [f"paths.output_dir={tmp_path / 'without'}", *given])
    with pytest.raises(
        UserError, match=r"^ckpt_path=.*: task=slope: no such task; options: .*needs plugins=\[\.\.\.\]"
    ):
        evaluate(cfg)


def test_a_wider_sub_network_is_measured_on_its_loaders_images(run: Path, plugin: Path, tmp_path: Path) -> None:
    """Data modules need no `transform`: what a loader yields is taken for what the network is fed."""
    given = (f"ckpt_path={run / 'checkpoints' / 'best.ckpt'}", "trainer.accelerator=cpu", "recalibrate_batches=4")
    wide = run_with(tmp_path / "wide", plugin, *given, "subnet.expand_multiplier=2.2", config="eval")
    assert math.isfinite(wide)
    assert read_json(tmp_path / "wide" / "results.json")["macs"] > read_json(run / "results.json")["macs"]


def test_it_is_resumed(run: Path, plugin: Path, tmp_path: Path) -> None:
    """Only by itself, and the best stays the lowest."""
    shared = [*SHORT, "data=stripes", "aug=none", "trainer.log_every_n_steps=1"]
    run_with(tmp_path / "whole", plugin, *shared)
    (tmp_path / "whole" / "results.json").rename(tmp_path / "results.json")
    resumed = [*shared, f"ckpt_path={tmp_path / 'whole' / 'checkpoints' / 'last.ckpt'}"]
    with pytest.raises(UserError, match=r"was trained with task\.beta=1\.0, this run has task\.beta=2"):
        run_with(tmp_path / "other", plugin, *resumed, "task.beta=2")
    run_with(tmp_path / "resumed", plugin, *resumed)
    wanted, found = read_json(tmp_path / "results.json"), read_json(tmp_path / "resumed" / "results.json")
    for key in ("val_error_px", "test_error_px", "train_error_px", "test_loss"):
        assert found[key] == wanted[key]


def test_its_table_and_its_epochs_name_its_figures(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger=EpochLog.__module__):
        run_with(tmp_path / "run", plugin, *SHORT, "data=stripes", "aug=none", "trainer.max_epochs=1")
    results = read_json(tmp_path / "run" / "results.json")
    table = capsys.readouterr().out
    assert f"mean error (test)       │ {results['test_error_px']:.3f} px" in table
    assert "top" not in table
    (line,) = [record.getMessage() for record in caplog.records if record.name == EpochLog.__module__]
    assert ", train/error " in line and ", val/error " in line


def test_a_multirun_with_another_task_has_columns_for_both(run: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "results.json").write_text('{"val_top1_percent": 91.25, "test_top1_percent": 90.5}')
    rows = job_rows([(["data=stripes"], run), (["data=digits"], tmp_path / "digits"), (["data=x"], tmp_path)])
    results = read_json(run / "results.json")
    columns = ["val mean error px", "test mean error px", "val top-1 %", "test top-1 %"]
    assert [[row[column] for column in columns] for row in rows] == [
        [results["val_error_px"], results["test_error_px"], None, None],
        ["", None, 91.25, 90.5],
        ["failed", None, None, None],
    ]


def test_an_ablation_counts_a_lower_error_as_a_gain(
    run: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {"mf_direct": (3.0, 4.0), "full": (1.0, 1.5)}

    def finish(cell: Cell, command: list[str], *_: object) -> bool:
        cell.folder.mkdir(parents=True)
        error = errors[cell.row][cell.seed]
        text = (run / "results.json").read_text()
        recorded = read_json(run / "results.json")["test_error_px"]
        (cell.folder / "results.json").write_text(
            text.replace(f'"test_error_px": {recorded}', f'"test_error_px": {error}')
        )
        return f"plugins=['{plugin}']" in command and "data=stripes" in command

    monkeypatch.setattr("shiftaddaug.commands.ablate._run", finish)
    shared = ["rows=[mf_direct,full]", "ops=[shift]", "seeds=[0,1]", f"folder={tmp_path / 'study'}"]
    overrides = f"overrides=[\"plugins=['{plugin}']\",'data=stripes','net=mbv2_micro']"
    ablate(composed(tmp_path / "run", *shared, overrides, config_name="ablate"))
    with (tmp_path / "study" / "table.csv").open() as file:
        direct, full = csv.DictReader(file)
    assert direct["test mean error px"] == "3.500 ± 0.707"
    assert full["test mean error px"] == "1.250 ± 0.354"
    assert (direct["gain"], full["gain"]) == ("", "+2.250 ± 0.559")  # sqrt(0.5 / 2 + 0.125 / 2)
    assert (tmp_path / "study" / "table.png").read_bytes().startswith(b"\x89PNG")
    header = (tmp_path / "study" / "runs.csv").read_text().splitlines()[0]
    assert header.startswith("op,row,seed,test_error_px,val_error_px,train_error_px,params,")


@pytest.mark.slow
def test_a_search_minimises_it(plugin: Path, tmp_path: Path) -> None:
    """A trial that diverges is a failed one, and does not end the search."""
    given = [override for override in SHORT if not override.startswith("optim.lr=")]
    given += ["trainer.max_epochs=1", "data=stripes", f"plugins=['{plugin}']", f"paths.log_dir={tmp_path}"]
    search = ["sweep=augmentation", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=0"]
    done = command("-m", *given, *search, "optim.lr=choice(0.05,1e3)", "optim.optimizer.weight_decay=10")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^error: .* became (nan|inf or nan) at step \d+", done.stderr, re.MULTILINE)
    storage = f"sqlite:///{tmp_path / 'sweep_augmentation.db'}"
    (found,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=found.study_name, storage=storage)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    scores = [(trial.params["optim.lr"], trial.state.name, trial.value) for trial in study.trials]
    assert {(state, value) for rate, state, value in scores if rate == 1e3} == {("FAIL", None)}
    assert study.best_value == min(value for rate, _, value in scores if rate == 0.05) < 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.headline=errer",), r"task\.headline=errer: no such option; options: error, farthest, loss"),
        (("task.better=max",), r"task\.better=max: error is better if it is lower: min"),
        (("task.beta=0",), r"task\.beta=0: must be a number > 0"),
        (("+task.gamma=1",), r"task\.gamma=1: task slope has no such key; options: headline, better, compile, beta"),
        (("task.name=slop",), r"task=slop: no such task; options: classification, .*slope"),
        (("~task.headline",), r"task=slope: .*missing .*'headline'"),
        (("aug.distill_weight=1",), r"aug\.distill_weight=1: task=slope has no distillation loss; options: 0"),
        (("task=classification",), r"data=stripes: has no num_classes, which task=classification reads; options: "),
    ],
)  # fmt: skip
def test_mistakes(overrides: tuple[str, ...], message: str, plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        run_with(tmp_path / "run", plugin, *SHORT, "data=stripes", *overrides)
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_of_the_package_are_not_made_for_it(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data=digits: is made for task=classification, and this run has task=slope"):
        run_with(tmp_path / "run", plugin, *SHORT, "data=digits", "task=slope")


def test_data_that_state_no_task_are_refused(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "silent_plugin")
    text = (plugin / "data" / "stripes.py").read_text()
    (plugin / "data" / "stripes.py").write_text(text.replace('task = "slope"', "pass"))
    with pytest.raises(UserError, match=r"^data=stripes: states no task, and this run has task=slope; options: "):
        run_with(tmp_path / "run", plugin, *SHORT, "data=stripes")


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ('"error": MeanError', '"eror": MeanError', "its objective measures farthest, eror, and its settings state"),
        ("OBJECTIVE = Slope", "", "must end with OBJECTIVE = a class that inherits Objective"),
        (
            '"farthest": Farthest()',
            '"farthest": abs',
            "its metric farthest is a builtin_function_or_method",
        ),
        (
            "wanted, beta=self.settings.beta)",
            "wanted, reduction='none')",
            r"its loss has the shape \(\d+, 2\)",
        ),
        ("at_least_float32(outputs), wanted", "outputs.detach(), wanted", "its loss has no gradient"),
        ("import torch\n", "import torhc\n", r"cannot be imported \(ModuleNotFoundError: No module named 'torhc'\)"),
    ],
)
def test_one_that_is_none_is_one_line(written: str, instead: str, message: str, tmp_path: Path) -> None:
    name = f"broken_{len(message)}"
    plugin = write_plugin(tmp_path, name, OBJECTIVE.replace(written, instead))
    with pytest.raises(UserError, match=f"^task=slope: .*{message}"):
        run_with(tmp_path / "run", plugin, *SHORT, "data=stripes")


def test_a_headline_that_is_no_number_is_no_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A search cannot be told of it; results.json holds null, which is json."""
    broken = OBJECTIVE.replace(
        "class MeanError(MeanAbsoluteError):",
        """class MeanError(MeanAbsoluteError):
    def compute(self):
        return super().compute() * float("nan")
""",
    )
    plugin = write_plugin(tmp_path, "nan_plugin", broken)
    score = run_with(tmp_path / "run", plugin, *SHORT, "data=stripes", "aug=none", "trainer.max_epochs=1")
    assert math.isnan(score)
    assert read_json(tmp_path / "run" / "results.json")["val_error_px"] is None
    assert "task=slope: its headline error is no number on validation" in caplog.text


def test_what_tells_no_number_of_outputs_is_one_line(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data=stripes: task=slope cannot tell the number of outputs \(.*abc"):
        run_with(tmp_path / "run", plugin, *SHORT, "data=stripes", "data.num_targets=abc")


def test_a_task_called_as_one_of_the_package_is_refused(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, "shadowing_task")
    (plugin / "tasks" / "slope").rename(plugin / "tasks" / "classification")
    with pytest.raises(UserError, match=r"^plugins: shadowing_task\.tasks\.classification is called as shiftaddaug\.t"):
        tasks.available(catalogue_of([str(plugin)]))
