"""Runs that validate nothing (`data.val_fraction=0`): the last weights are deployed, and no score is made up."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.runs.settings import read_settings
from shiftaddaug.tasks.optimizers import build_optim
from tests.commands.running import LITTLE, composed, run_little

STAGES = "net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]"
SMALL = ("experiment=addernet_cifar", "data=digits", "data.val_fraction=0", STAGES, "trainer.max_epochs=3")
STOP = "tests.commands.test_training._Stop"


def test_the_last_weights_are_deployed_and_no_validation_is_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    score = train(composed(folder, *LITTLE, *SMALL, "bn=recalibrated"))
    results = json.loads((folder / "results.json").read_text())
    assert math.isnan(score)
    assert (results["validated"], results["deployed"]) == (False, "last epoch")
    assert not [key for key in results if key.startswith("val_")]
    assert results["test_top1_percent"] >= 0 and results["images_per_s"] > 0
    assert results["idle"]["best_checkpoint"] == "nothing is validated with data.val_fraction=0"
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    assert "val/" not in (folder / "metrics.csv").read_text()
    assert "none: data.val_fraction=0, the last epoch is deployed" in capsys.readouterr().out
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    target = load_file(folder / "target" / "model.safetensors")
    assert torch.equal(target["classifier.norm.running_mean"], last["net.classifier.norm.running_mean"])
    assert torch.equal(target["blocks.0.conv1.conv.weight"], last["net.blocks.0.conv1.conv.weight"])


def test_a_resumed_one_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, stopped, resumed = (tmp_path / name for name in ("whole", "stopped", "resumed"))
    run_little(whole, *SMALL)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_little(stopped, *SMALL, f"+callbacks.stop={{_target_: {STOP}, epoch: 2}}")
    results = run_little(resumed, *SMALL, f"ckpt_path={stopped}/checkpoints/last.ckpt")
    assert results["deployed"] == "last epoch"
    one, other = (load_file(folder / "target" / "model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_validated_run_says_which_epoch_it_deploys(tmp_path: Path) -> None:
    results = run_little(tmp_path / "run", STAGES, "aug=none", "trainer.max_epochs=1")
    assert (results["validated"], results["deployed"]) == (True, "best epoch on validation")
    assert "val_top1_percent" in results


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("callbacks=ema", "bn=recalibrated"),
            r"^bn=recalibrated: measures statistics of averaged weights .*bn=running",
        ),
        (
            ("+callbacks.stop={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/top1}",),
            r"^callbacks\.stop\.monitor=val/top1: nothing is validated with data\.val_fraction=0",
        ),
    ],
)
def test_what_needs_validation_is_refused(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_settings(composed(tmp_path / "run", "data.val_fraction=0", *overrides))


def test_a_search_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shiftaddaug.runs.joint_checks.is_search", lambda: True)
    read_settings(composed(tmp_path / "run"))
    with pytest.raises(UserError, match=r"^data\.val_fraction=0: leaves a search no score on validation"):
        read_settings(composed(tmp_path / "run", "data.val_fraction=0"))


def test_the_recipe_is_addernets(tmp_path: Path) -> None:
    """Rates, momentum and decay as its main.py has them: 0.05 (1 + cos(pi e / 400)), plain momentum, decay on all."""
    cfg = composed(tmp_path / "run", "experiment=addernet_cifar", "data=digits", "data.val_fraction=0")
    make, scheduler = build_optim(read_settings(cfg).optim, 400)
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = make([{"params": [weight]}])
    schedule = scheduler(optimizer, total_steps=400 * 3, epochs=400)
    for epoch in range(400):
        wanted = 0.05 * (1 + math.cos(math.pi * epoch / 400))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted, abs=1e-12)
        optimizer.step()
        for _ in range(3):
            schedule.step()
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"], group["dampening"]) == (0.9, False, 5e-4, 0)
    cfg = composed(tmp_path / "run", "experiment=addernet_cifar")
    assert (cfg.data.name, cfg.data.batch_size, cfg.data.val_fraction) == ("cifar10", 256, 0)
    assert cfg.optim.decay_norms and cfg.trainer.max_epochs == 400
    assert (cfg.op.eta, cfg.op.init_std, cfg.op.output_scale, cfg.op.rate) == (0.2, 1.0, False, "adaptive")
    assert {"stem", "classifier"} <= {*cfg.net.mult_layers} and cfg.net.classifier_norm
