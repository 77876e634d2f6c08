"""Whole runs with each schedule: stopped and resumed, from earlier versions, and from a plugin's one yaml."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.runs.checkpoints import refuse_other_run
from shiftaddaug.runs.explain import compose_config
from shiftaddaug.runs.identity import identity
from shiftaddaug.runs.prepare import prepare
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed, run_little

STOP = "tests.commands.test_training._Stop"
STAGES = "net.stages=[{block: inverted_bottleneck, channels: 8, expand: 2, depth: 1}]"
SHORT = ("aug=none", STAGES, "trainer.max_epochs=3", "trainer.accumulate_grad_batches=2")
"""Two steps an epoch, the second one of a single batch."""


def rates(folder: Path) -> list[float]:
    """The learning rate of every optimiser step."""
    with (folder / "metrics.csv").open(newline="") as file:
        by_step = {int(row["step"]): float(row["lr"]) for row in csv.DictReader(file) if row["lr"]}
    return list(by_step.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ("optim/scheduler=onecycle",),
        ("optim/scheduler=timm", "optim.scheduler.sched=tanh"),
        ("optim/scheduler=timm", "optim.scheduler.step_on_epochs=true", "optim=timm"),
        ("optim.scheduler.interval=epoch", "optim=adamw", "optim.warmup_epochs=0"),
        ("optim/scheduler=exponential", "optim.scheduler.gamma=0.5"),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_stopped_at_any_epoch_and_resumed_is_the_same(arguments: tuple[str, ...], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run_little(whole, *SHORT, *arguments)
    weights = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert len(rates(whole)) == 6 and len(set(rates(whole))) > 2
    for epoch in (1, 2):
        stopped, resumed = tmp_path / f"stopped{epoch}", tmp_path / f"resumed{epoch}"
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_little(stopped, *SHORT, *arguments, f"+callbacks.stop={{_target_: {STOP}, epoch: {epoch}}}")
        run_little(resumed, *SHORT, *arguments, f"ckpt_path={stopped}/checkpoints/last.ckpt")
        assert rates(resumed)[-2:] == rates(whole)[-2:]
        found = torch.load(resumed / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], weights[key]) for key in weights)


def stored(*overrides: str) -> dict[str, Any]:
    config = OmegaConf.to_container(composed(Path("/logs/run"), *overrides), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.parametrize("override", ["optim.min_lr=0.01", "optim=radam", "optim.warmup_epochs=0"])
def test_checkpoints_without_a_schedule_are_of_a_cosine(override: str, tmp_path: Path) -> None:
    now = stored(override)
    before = now | {"optim": {key: value for key, value in now["optim"].items() if key != "scheduler"}}
    assert identity(before) == identity(now)
    refuse_other_run(tmp_path, {"config": before}, now)
    with pytest.raises(UserError, match=r"with optim\.scheduler\._target_=.*\.cosine, this run has .*\.constant"):
        refuse_other_run(tmp_path, {"config": before}, stored(override, "optim/scheduler=constant"))


def test_one_yaml_adds_a_schedule(tmp_path: Path) -> None:
    """A plugin's file, and torch's scheduler: no code."""
    plugin = tmp_path / "schedule_plugin"
    folder = plugin / "configs" / "optim" / "scheduler"
    folder.mkdir(parents=True)
    (plugin / "__init__.py").touch()
    (folder / "straight.yaml").write_text(
        "# python src/train.py optim/scheduler=straight plugins=[schedule_plugin]\n"
        "_target_: torch.optim.lr_scheduler.LinearLR\n"
        "_partial_: true\n"
        "start_factor: 1.0\n"
        "end_factor: 0.5\n"
        "total_iters: run.total_steps\n"
    )
    paths = [f"paths.output_dir={tmp_path}/run", f"paths.log_dir={tmp_path}", f"paths.data_dir={tmp_path}/data"]
    chosen = [f"plugins=['{plugin}']", "optim/scheduler=straight"]
    train(compose_config("train", [*paths, *LITTLE, *SHORT, *chosen]))
    assert rates(tmp_path / "run") == pytest.approx([0.1 * (1 - i / 12) for i in range(6)])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("optim.scheduler=onecycle", r"^optim\.scheduler=onecycle: is a group .*; write optim/scheduler=onecycle$"),
        ("optim.scheduler=null", r"^optim\.scheduler=null: is a group .*; write optim/scheduler=constant$"),
        ("optim.scheduler.interval=week", r"^optim\.scheduler\.interval=week: no such option; options: step, epoch$"),
        ("optim.scheduler.total_steps=run.steps", r"^optim\.scheduler\.total_steps=run\.steps: no such quantity; opt"),
        ("optim.min_lr=0.1", r"^optim\.min_lr=0\.1: must be below optim\.lr=0\.1$"),
    ],
)
def test_a_mistake_is_answered_without_torch(overrides: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_settings(composed(tmp_path / "run", *overrides.split()))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "+optim.scheduler.power=2",
            r"^optim\.scheduler\.power=2: .*cosine takes no such argument; options: ",
        ),
        ("optim.scheduler.min_lr=0.2", r"^optim\.scheduler\.min_lr=0\.2: must be .* below optim\.lr=0\.1$"),
        (
            "optim/scheduler=onecycle optim.scheduler.pct_start=3",
            r"^optim\.scheduler\.pct_start=3: must be .* <= 1$",
        ),
        (
            "optim/scheduler=exponential optim.scheduler.gamma=a",
            r"^optim\.scheduler\.gamma=a: must be a number > 0 .*10$",
        ),
        (
            "optim.scheduler._target_=torch.optim.lr_scheduler.Foo",
            r"^optim\.scheduler\._target_=torch\.optim\.lr_scheduler\.Foo: no such class",
        ),
        ("optim=timm optim.name=foo", r"^optim\.name=foo: no such optimiser of timm; options: timm"),
    ],
)
def test_a_mistake_is_answered_before_data_are_read(overrides: str, message: str, tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", *overrides.split())
    with pytest.raises(UserError, match=message):
        prepare(read_settings(cfg))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        ("optim/scheduler=onecycle optim.warmup_epochs=2", ["optim.warmup_epochs=2"]),
        ("optim/scheduler=constant optim.warmup_epochs=2 optim.min_lr=0.01", ["optim.min_lr=0.01"]),
        ("optim/scheduler=timm optim.warmup_epochs=2 optim.min_lr=0.01", []),
        ("optim.warmup_epochs=2 optim.min_lr=0.01", []),
        ("optim/scheduler=exponential", []),
    ],
)
def test_what_the_schedule_does_not_use_is_warned_of(
    overrides: str, warned: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    typed = overrides.split()
    read_settings(composed(tmp_path / "run", *typed), typed)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == len(warned)
    for message, override in zip(found, warned, strict=True):
        assert message.startswith("no effect, because the schedule ") and message.endswith(f": {override}")


def test_a_warm_up_longer_than_training_is_warned_of_where_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_settings(composed(tmp_path / "run", "trainer.max_epochs=1", "optim/scheduler=onecycle"))
    assert not caplog.records
    read_settings(composed(tmp_path / "run", "trainer.max_epochs=1"))
    assert "optim.warmup_epochs=1.0 leaves no epoch at the full learning rate" in caplog.text
