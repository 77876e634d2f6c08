"""The diagnostics' numbers, and that looking changes nothing."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.build import free_layers, images, make_supernet
from tests.commands.running import run_little

from shiftaddaug.callbacks.diagnostics import block_ranks, effective_rank


def test_effective_rank_of_known_features() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 8))[0]
    basis = basis - basis.mean(0)
    one = torch.randn(64, 1) @ torch.randn(1, 8)
    assert effective_rank(one) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.ones(5, 3)) == 0
    spread = torch.linalg.qr(basis)[0]
    spread = torch.linalg.qr(spread - spread.mean(0))[0]
    assert effective_rank(spread) == pytest.approx(8, abs=0.1)
    assert math.isnan(effective_rank(torch.tensor([[0.0, 1.0], [torch.inf, 2.0]])))
    two = torch.zeros(4, 2)
    two[0, 0], two[1, 0], two[2, 1], two[3, 1] = 1, -1, 1, -1  # two equal singular values
    assert effective_rank(two) == pytest.approx(2)


def test_a_run_writes_them_and_computes_the_same(tmp_path: Path) -> None:
    with_them = run_little(tmp_path / "with", "op=add", "trainer.max_epochs=2")
    without = run_little(tmp_path / "without", "op=add", "trainer.max_epochs=2", "callbacks.diagnostics=null")
    assert with_them["val_loss"] == without["val_loss"]
    lines = (tmp_path / "with" / "diagnostics.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,name,effective_rank,max_rank,relative_update"
    assert {line.split(",")[0] for line in lines[1:]} == {"0", "1"}
    assert any(",blocks.0," in line for line in lines) and any("blocks.0.project.conv.weight" in line for line in lines)


def test_a_step_is_measured_once_the_optimiser_takes_it(tmp_path: Path) -> None:
    run_little(tmp_path / "run", "op=add", "aug=none", "trainer.max_epochs=2", "trainer.accumulate_grad_batches=2")
    lines = [line.split(",") for line in (tmp_path / "run" / "diagnostics.csv").read_text().splitlines()[1:]]
    steps = {epoch: [float(line[5]) for line in lines if line[0] == epoch and line[5]] for epoch in ("0", "1")}
    assert steps["0"] and steps["1"]
    assert all(step > 0 for step in steps["0"] + steps["1"])


def test_a_collapse_is_warned_of_at_the_first_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """AdderNet's own initialisation in a narrow net (METHOD: the channels say nearly the same)."""
    with caplog.at_level(logging.WARNING):
        run_little(tmp_path / "run", "op=add", "aug=none", "op.init_std=0.3", "trainer.max_epochs=1")
    assert "effective rank" in caplog.text


def test_ranks_leave_running_statistics_alone() -> None:
    net = make_supernet("mbv2_micro", "add", width_multipliers=(1.0, 1.6))
    free = free_layers(net)
    before = {name: value.clone() for name, value in net.named_buffers()}
    ranks = block_ranks(net, images(8))
    assert list(ranks) == [f"blocks.{i}" for i in range(12)]
    channels = net.plan.channels()
    for unit, nodes in net.plan.units().items():  # pixels, where they are fewer
        assert ranks[unit][1] == min(channels[nodes[-1].space], 8 * math.prod(nodes[-1].size))
    early = block_ranks(net, images(8), replace(net.target_spec, multiplied=frozenset(free)))
    assert early["blocks.3"] != ranks["blocks.3"]
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
