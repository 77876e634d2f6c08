"""Whole runs: what they leave behind, and that a run killed and resumed is the run that was not killed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shiftaddaug.errors import TrainingDiverged, UserError
from shiftaddaug.nets.extract import load_target
from shiftaddaug.report.results import read_history
from shiftaddaug.runs.checkpoints import read_checkpoint
from tests.commands.running import LITTLE, ROOT, composed, run_little


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return state


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not different


class TestWhatARunLeaves:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("logs") / "run"
        run_little(folder, "op=shift", "trainer.max_epochs=2")
        return folder

    def test_files(self, run: Path) -> None:
        names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        assert names >= {
            "config.yaml", "run.json", "metrics.csv", "results.json", "curves.png", "checkpoints/last.ckpt",
            "checkpoints/best.ckpt", "target/model.safetensors", "target/architecture.json",
        }  # fmt: skip

    def test_results(self, run: Path) -> None:
        results = json.loads((run / "results.json").read_text())
        assert results["extraction_max_difference"] == 0
        assert (results["op"], results["aug"], results["seed"], results["epochs"]) == ("shift", "width_expand", 0, 2)
        assert results["multiplication_free_macs_percent"] > 90
        assert results["supernet_params"] > 5 * results["params"]
        assert 0 <= results["test_top1_percent"] <= 100

    def test_the_saved_target_is_the_best_checkpoints(self, run: Path) -> None:
        from safetensors.torch import load_file

        target, state = load_file(run / "target" / "model.safetensors"), read_checkpoint(run / "checkpoints/best.ckpt")
        bias = state["state_dict"]["net.classifier.bias"]
        assert torch.equal(target["classifier.bias"], bias)
        powers = target["blocks.1.expand.conv.weight"].abs()
        assert torch.equal(powers, torch.exp2(torch.log2(powers).round()))

    def test_evaluating_checkpoint_and_target_agrees_with_the_run(self, run: Path, tmp_path: Path) -> None:
        from shiftaddaug.commands.evaluate import evaluate

        little = [argument for argument in LITTLE if "test_batches" in argument or "accelerator" in argument]
        top1 = [
            evaluate(composed(tmp_path / path, *little, f"ckpt_path={run / path}", config_name="eval"))
            for path in ("checkpoints/best.ckpt", "target", "target/model.safetensors")
        ]
        results = json.loads((run / "results.json").read_text())
        assert [round(100 * value, 2) for value in top1] == [results["test_top1_percent"]] * 3

    def test_a_wider_sub_network_is_evaluated_with_statistics_measured_for_it(self, run: Path, tmp_path: Path) -> None:
        from shiftaddaug.commands.evaluate import evaluate

        checkpoint = f"ckpt_path={run / 'checkpoints/best.ckpt'}"
        wide = ("subnet.width_multiplier=1.6", "subnet.expand_multiplier=2.2", "data.batch_size=64")
        results = []
        for i, chosen in enumerate([(), ("recalibrate_batches=2",), wide, (*wide, "recalibrate_batches=2")]):
            evaluate(composed(tmp_path / str(i), "trainer.accelerator=cpu", checkpoint, *chosen, config_name="eval"))
            results.append(json.loads((tmp_path / str(i) / "results.json").read_text()))
        assert len({result["test_loss"] for result in results}) == 4
        assert results[0]["params"] < results[2]["params"] and results[0]["macs"] < results[2]["macs"]
        with pytest.raises(UserError, match=r"subnet\.width_multiplier=3: .*best\.ckpt was trained up to 2\.2"):
            evaluate(composed(tmp_path / "x", checkpoint, "subnet.width_multiplier=3", config_name="eval"))

    def test_resuming_another_operator_or_net_is_refused(self, run: Path, tmp_path: Path) -> None:
        ckpt = f"ckpt_path={run}/checkpoints/last.ckpt"
        for change, message in (
            ("op=add", r"was trained with op\.name=shift, this run has op\.name=add"),
            ("sharing=heterogeneous", r"was trained with sharing\.name=none, this run has sharing\.name=heterogeneous"),
            ("net=resnet20", r"was trained with net\.name=mbv2_micro, this run has net\.name=resnet20"),
        ):
            with pytest.raises(UserError, match=message):
                run_little(tmp_path / "other", change, ckpt)


class _Stop(pl.Callback):
    """Raise after an epoch's checkpoint, as a kill would."""

    only_watches = True

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


WHOLE_METHOD = (
    *("op=add", "aug=full", "sharing=heterogeneous", "reorder=l1", "block_variant=blend", "bn=recalibrated"),
    *("callbacks=ema", "aug.distill_weight=1", "callbacks.block_variant.end=1.0"),
)
"""Layers turn until the last epoch."""
MASKS = (
    *("data=shapes", "data.image_size=[24,32]", "data.train_images=40", "data.batch_size=8", "net.stem_stride=2"),
    "net.stages=[{block: inverted_bottleneck, channels: 16, expand: 2, stride: 2, depth: 2}]",
    "arch.decoder_channels=[16,16]",
)
"""Segmentation."""


@pytest.mark.parametrize(
    "arguments",
    [
        ("op=shift",),
        ("op=add", "callbacks=ema", "bn=recalibrated", "task.mixup=0.2", "trainer.gradient_clip_val=5"),
        WHOLE_METHOD,
        (*WHOLE_METHOD, "block_variant=layer"),
        (*WHOLE_METHOD, "block_variant=layer", "sharing=affine"),
        (*WHOLE_METHOD, *MASKS, "block_variant=layer"),
    ],
)
@pytest.mark.slow
def test_stopped_at_any_epoch_and_resumed_is_the_same(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    arguments = (*arguments, "trainer.max_epochs=3")
    wanted = run_little(tmp_path / "whole", *arguments)
    for epoch in (1, 2):
        stop = f"+callbacks.stop={{_target_: {__name__}._Stop, epoch: {epoch}}}"
        stopped = tmp_path / f"stopped{epoch}"
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_little(stopped, *arguments, stop)
        resumed = tmp_path / f"resumed{epoch}"
        results = run_little(resumed, *arguments, f"ckpt_path={stopped}/checkpoints/last.ckpt")
        assert_same(weights(resumed), weights(tmp_path / "whole"))
        whole_curve = read_history(tmp_path / "whole")["train/loss"]
        assert read_history(resumed)["train/loss"] == whole_curve
        headline = wanted["headline"]
        same = (
            f"val_{headline}_percent",
            f"test_{headline}_percent",
            "test_loss",
        )  # so the same checkpoint was the best
        assert {key: results[key] for key in same} == {key: wanted[key] for key in same}


def test_loggers_are_told_the_whole_configuration(tmp_path: Path) -> None:
    run_little(tmp_path / "run", "trainer.max_epochs=1", "logger=tensorboard", "reorder=l1", "sharing=heterogeneous")
    told = OmegaConf.load(tmp_path / "run" / "tensorboard" / "hparams.yaml")
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    del kept.paths
    assert {key: told[key] for key in kept} == kept and "paths" not in told
    assert told.code == json.loads((tmp_path / "run" / "run.json").read_text())["code"]
    table = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().PluginTagToContent("hparams")
    assert b"callbacks/reorder/until" in table["_hparams_/session_start_info"]
    assert b"final/test_top1_percent" in table["_hparams_/experiment"]


def test_killed_before_deployment_and_resumed_reports_what_was_trained(tmp_path: Path) -> None:
    little = ("op=shift", "trainer.max_epochs=1")
    whole = run_little(tmp_path / "run", *little)
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "moved").mkdir()
    (tmp_path / "run").rename(tmp_path / "moved" / "run")
    resumed = run_little(tmp_path / "resumed", *little, f"ckpt_path={tmp_path}/moved/run/checkpoints/last.ckpt")
    same = ("train_top1_percent", "val_top1_percent", "test_top1_percent", "epochs")
    assert {key: resumed[key] for key in same} == {key: whole[key] for key in same}
    assert resumed["train_seconds"] >= 0.5 * whole["train_seconds"] > 0


@pytest.mark.parametrize(("split", "batches"), [("train", 40), ("val", 5), ("test", 12)])
def test_less_than_one_batch_is_refused_before_training(split: str, batches: int, tmp_path: Path) -> None:
    share = f"trainer.limit_{split}_batches={0.9 / batches:.4f}"
    with pytest.raises(UserError, match=rf"trainer\.limit_{split}_batches=0\..*: is less than one of the {batches}"):
        run_little(tmp_path / "run", share.replace("trainer", "++trainer"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_killed_and_resumed_is_the_same(tmp_path: Path) -> None:
    """SIGKILL of a real process, every mechanism active, and `ckpt_path=last`."""
    arguments = [*LITTLE, *WHOLE_METHOD, "trainer.max_epochs=4", f"paths.log_dir={tmp_path}/logs"]
    line = [sys.executable, str(ROOT / "src" / "train.py"), *arguments]
    killed = tmp_path / "logs" / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*line, f"hydra.run.dir={killed}"], env=environment)
    last = killed / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    epoch = read_checkpoint(last)["epoch"]
    resumed = tmp_path / "logs" / "resumed"
    subprocess.run([*line, f"hydra.run.dir={resumed}", "ckpt_path=last"], env=environment, check=True, timeout=300)
    run_little(tmp_path / "whole", *WHOLE_METHOD, "trainer.max_epochs=4")
    assert epoch < 3
    assert_same(weights(resumed), weights(tmp_path / "whole"))


def test_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    poison = f"+callbacks.poison={{_target_: {__name__}._Poison, epoch: 1}}"
    with pytest.raises(
        TrainingDiverged, match=r"the loss became nan at step 4 \(epoch 1\); last good checkpoint: (.*);"
    ):
        run_little(tmp_path / "run", "trainer.max_epochs=3", poison)
    good = weights(tmp_path / "run")
    assert all(value.isfinite().all() for value in good.values())
    assert (tmp_path / "run" / "curves.png").exists()


def test_statistics_that_are_no_numbers_stop_it_too(tmp_path: Path) -> None:
    """The loss is one all the while: batch-norm divides by an infinite deviation."""
    stages = "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]"
    line = r"^[\w.]+running_var became inf or nan at step 3 \(epoch 0\); last good checkpoint: none yet; try"
    with pytest.raises(TrainingDiverged, match=line):
        run_little(tmp_path / "run", "op=add", "data.std=[1e-20]", "aug=none", stages, "trainer.max_epochs=3")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


class _FullDisk(pl.Callback):
    """Let no file grow beyond 40 kB from the second epoch on, as a disk that is full."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    stages = "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(UserError, match=r"^.*/(best|last)\.ckpt: could not be written \("):
            run_little(
                tmp_path / "run",
                "aug=none",
                stages,
                "trainer.max_epochs=3",
                f"+callbacks.full._target_={__name__}._FullDisk",
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert {read_checkpoint(path)["epoch"] for path in folder.iterdir()} == {0}


class _Poison(pl.Callback):
    """Make a weight NaN after the first step of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            pl_module.net.classifier.weight.data.fill_(float("nan"))


@pytest.mark.slow
def test_one_seed_one_result_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_little(tmp_path / name, "trainer.max_epochs=1", f"seed={seed}")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    with pytest.raises(AssertionError):
        assert_same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_shift_ps_trains_alone(tmp_path: Path) -> None:
    results = run_little(tmp_path / "run", "op=shift_ps", "aug=none", "trainer.max_epochs=1")
    assert results["supernet_params"] > results["params"]  # a sign and a shift for each weight
    assert results["extraction_max_difference"] == 0


def test_images_may_be_rectangles(tmp_path: Path) -> None:
    """Trained, checked, saved, loaded and evaluated at 16 x 24 pixels."""
    from shiftaddaug.commands.evaluate import evaluate

    run = tmp_path / "run"
    results = run_little(run, "op=shift", "trainer.max_epochs=1", "data.image_size=[16,24]")
    assert results["extraction_max_difference"] == 0
    assert load_target(run / "target").net.plan.image_size == (16, 24)
    little = [argument for argument in LITTLE if "test_batches" in argument or "accelerator" in argument]
    for path in ("checkpoints/best.ckpt", "target"):
        top1 = evaluate(composed(tmp_path / path, *little, f"ckpt_path={run / path}", config_name="eval"))
        assert round(100 * top1, 2) == results["test_top1_percent"]
