"""The benchmark of training steps: the MACs of sub-networks, and a tiny run."""

import csv
import random
import statistics
from pathlib import Path

import pytest
import torch
import training_step
from torch import nn

from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.cost import total_macs
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.mult.operator import Mult

WIDENING = ((1.0, 1.6, 2.2), (1.0, 1.6))


def seen_macs(net: Supernet, spec: object) -> int:
    """Counted on the shapes that the layers meet when two images run through a sub-network."""
    counted = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> None:
        x = inputs[0]
        per_output = 1 if layer.depthwise else x.shape[1]
        counted.append(y[0].numel() * per_output * torch.Size(layer.full_shape[2:]).numel())
        assert isinstance(layer, HybridConv2d) or x.dim() == 2

    for layer in net.modules():
        if isinstance(layer, HybridWeight):
            layer.register_forward_hook(count)
    side, _ = net.plan.image_size
    with torch.no_grad():
        net(torch.randn(2, 3, side, side), spec)
    return sum(counted)


@pytest.mark.parametrize("net", training_step.NETS)
def test_macs_of_the_target_are_the_cost_models(net: str) -> None:
    plan = training_step.plan_of(net, 33)
    assert training_step.spec_macs(plan, Widening(plan, *WIDENING).target()) == total_macs(plan)


@pytest.mark.parametrize("net", ["mbv3_w035", "mcunet", "resnet20"])
def test_macs_of_a_sub_network_are_what_its_layers_compute(net: str) -> None:
    supernet = build_supernet(
        training_step.plan_of(net, 33), assign(training_step.plan_of(net, 33), Mult(), ()), *WIDENING
    )
    spec = supernet.widening.sample(random.Random(0))
    assert spec.channels != supernet.target_spec.channels
    assert training_step.spec_macs(supernet.plan, spec) == seen_macs(supernet, spec)


def test_macs_of_a_step() -> None:
    plan, table = training_step.plan_of("mbv2_micro", 16), training_step.read_config("net", "mbv2_micro")
    plain, augmented = (training_step.Step(plan, table, "mult", aug, 2, 3) for aug in ("none", "width_expand"))
    target = total_macs(plan)
    assert plain.macs() == target
    assert plain.specs == [None] * 3
    assert augmented.macs() == target + statistics.mean(training_step.spec_macs(plan, s) for s in augmented.specs)


def test_image_sizes() -> None:
    assert training_step.plan_of("mcunet", None).image_size == (96, 96)
    assert training_step.plan_of("mbv2_w035", None).image_size == (32, 32)
    assert training_step.plan_of("mcunet", 64).image_size == (64, 64)


def test_a_tiny_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--nets mbv2_micro --image-size 16 --batch 2 --specs 1 --rounds 2 --threads 1 --out"
    training_step.main([*arguments.split(), str(tmp_path)])
    assert "training step: mbv2_micro, 16 px, batch 2, 1 threads" in capsys.readouterr().out
    with (tmp_path / "training_step.csv").open() as file:
        rows = {(row["aug"], row["op"]): row for row in csv.DictReader(file)}
    assert set(rows) == {(aug, op) for aug in training_step.AUGS for op in training_step.OPS}
    for (aug, op), row in rows.items():
        least = float(row["min_ms"])
        assert float(row["ratio_to_mult"]) == pytest.approx(least / float(rows[aug, "mult"]["min_ms"]))
        assert row["n"] == "2"
        if aug == "none":
            assert row["time_over_macs"] == ""
        else:
            time_ratio = least / float(rows["none", op]["min_ms"])
            assert float(row["macs_to_plain"]) > 1
            assert float(row["time_over_macs"]) == pytest.approx(time_ratio / float(row["macs_to_plain"]))
    assert (tmp_path / "training_step.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ("--nets mcunet --image-size 8", "error: --image-size: data.image_size=8: too small for net=mcunet"),
        ("--rounds 3 --specs 4", "error: --rounds 3: at least --specs 4"),
        ("--batch 1", "error: --batch 1: at least 2"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: str, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        training_step.main([*arguments.split(), "--out", str(tmp_path)])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(start)
    assert message.count("\n") == 1
