"""`src/cost.py`: what it prints and writes is what a run records, and mistakes are one line."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.commands.cost import cost
from shiftaddaug.errors import UserError
from shiftaddaug.report.cost import CostReport, cost_record, print_report, save_report
from shiftaddaug.report.results import read_json
from shiftaddaug.runs.compose import catalogue_in
from shiftaddaug.runs.cost import read_cost
from shiftaddaug.runs.explain import compose_config
from tests.commands.running import command, composed, run_little
from tests.nets.searching import written
from tests.operators.toy import write_plugin

SHORT = ("trainer.max_epochs=1", "optim.warmup_epochs=0")


def report_of(*overrides: str, folder: Path = Path("/logs/run")) -> CostReport:
    return read_cost(composed(folder, *overrides, config_name="cost"), overrides, catalogue_in(overrides))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cost") / "run"
    run_little(folder, "op=add", *SHORT)
    return folder


def test_a_run_its_target_and_its_configuration_cost_the_same(run: Path) -> None:
    results = read_json(run / "results.json")
    assert results["hardware"] == "eyeriss_168" and results["energy_mj_fair"] > results["energy_mj_paper"] > 0
    described = report_of("op=add", "data.image_size=16").chosen.price
    deployed = report_of(f"target={run}").chosen.price
    assert described.record() == deployed.record()
    assert {name: results[name] for name in described.record()} == pytest.approx(described.record(), rel=1e-12)
    assert (results["macs"], results["params"]) == (deployed.net.macs, deployed.net.params)


def test_operators_stand_side_by_side_each_with_its_own_exemptions(run: Path) -> None:
    found = {each.title: each for each in report_of("op=add").operators}
    assert list(found) == ["mult", "add", "shift", "shift_ps"]
    assert [each.multiplied for each in found.values()] == ["all", "stem, classifier", "stem", "stem"]
    assert found["shift"].price == report_of("op=shift").chosen.price
    same = {each.title: each.multiplied for each in report_of("op=shift", "net.mult_layers=[blocks]").operators}
    assert same == {"mult": "all", "add": "blocks", "shift": "blocks", "shift_ps": "blocks"}
    kept = {each.title: each.multiplied for each in report_of(f"target={run}").operators}
    assert kept["shift"] == kept["add"] == "stem, classifier"


def test_a_searched_net_is_priced_with_the_operators_of_its_layers(tmp_path: Path) -> None:
    typed = ("net=searched", f"net.path={written(tmp_path)}")
    found = {each.title: each for each in report_of(*typed).operators}
    assert list(found) == ["mult", "add", "shift", "shift_ps", "shift+add"]
    assert re.fullmatch(r"stem, blocks \(\d+ of \d+\), (head, )?classifier", found["shift+add"].multiplied)
    energies = [found[title].price.record()["energy_mj_paper"] for title in ("add", "shift+add", "mult")]
    assert energies == sorted(energies)
    assert found["add"].price == report_of(*typed, "op=add").chosen.price


def test_what_is_typed_of_the_operator_counts() -> None:
    plain, narrow = report_of("op=shift"), report_of("op=shift", "op.weight_bits=3")
    assert narrow.chosen.price.flash < plain.chosen.price.flash
    assert narrow.chosen in narrow.operators


def test_tables_hold_every_layer_and_both_modes(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("op=add")
    print_report(report)
    printed = capsys.readouterr().out
    assert all(layer.name in printed for layer in report.chosen.price.layers)
    total = report.chosen.price.costs
    for text in (f"{total['paper'].energy:.4f}", f"{total['fair'].energy:.4f}", "one memory rule", "saves paper"):
        assert text in printed


def test_files_hold_what_adds_up(tmp_path: Path) -> None:
    report = report_of("op=shift", f"save={tmp_path / 'costs'}")
    save_report(report, tmp_path / "costs")
    saved: Any = read_json(tmp_path / "costs" / "cost.json")
    with (tmp_path / "costs" / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    for key in ("energy_mj_paper", "energy_mj_fair", "latency_ms_fair", "dram_mj_fair", "macs"):
        assert sum(float(row[key]) for row in rows) == pytest.approx(saved["totals"][key], rel=1e-9)
    assert saved["totals"] == saved["operators"]["shift"]
    gap = saved["totals"]["energy_mj_fair"] - saved["totals"]["energy_mj_paper"]
    assert sum(saved["differences_mj"].values()) == pytest.approx(gap)
    assert (tmp_path / "costs" / "layers.png").stat().st_size > 10_000
    with pytest.raises(UserError, match=r"^save=.*costs: holds something already, which is never overwritten"):
        report_of(f"save={tmp_path / 'costs'}")


def test_data_need_not_be_there_and_a_budget_is_told_after_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = composed(Path("/logs/run"), "data=imagenet", "net=mcunet", "hardware=stm32f412", config_name="cost")
    with pytest.raises(UserError, match=r"^hardware=stm32f412: activations take 275.0 KiB at blocks.2.depthwise.conv"):
        cost(cfg)
    assert "operators side by side" in capsys.readouterr().out


def test_a_layer_without_rows_to_spread_is_priced_with_more_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("net=mcunet", "data.image_size=16")
    print_report(report)
    assert "priced with more rows" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^hardware=eyeriss_168: layer .* one row of outputs .* options: .*pad=true"):
        report_of("net=mcunet", "data.image_size=16", "hardware.accelerator.pad=false")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["target=/nowhere"], r"^target=/nowhere: no such file; options: last, a run"),
        (["net.mult_layers=[nix]"], r"^net.mult_layers=nix: no such layer"),
        (["op.weight_bits=99"], r"^op.weight_bits=99: "),
        (["data.image_size=0"], r"^data.image_size=0: "),
        (["save=3"], r"^save=3: must be a path or null"),
        (["save=/proc/costs"], r"^save=/proc/costs: cannot write there"),
        (["+savee=costs"], r"^savee=costs: no such key"),
    ],
)
def test_a_mistake_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        report_of(*overrides)


def test_energies_that_are_all_nothing_have_no_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "free.yaml").write_text("{name: a, source: b, precisions: {p: {bits: 8, mult: 0, add: 0, shift: 0}}}")
    memory = [
        f"hardware.accelerator.memory.{key}=0" for key in ("dram", "buffer", "noc", "noc_psum", "rf", "rf_weight")
    ]
    technology = f"hardware.accelerator.technology={tmp_path / 'free.yaml'}"
    report = report_of(technology, "hardware.accelerator.precision=p", *memory)
    print_report(report)
    assert report.chosen.price.costs["fair"].energy == 0 and "nan" not in capsys.readouterr().out


def test_what_is_typed_besides_a_target_is_told_to_have_no_effect(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    report_of(f"target={run}", "op=shift", "hardware=eyeriss_192", "net.width_mult=2")
    assert "no effect, because a target's network is priced as it is: op=shift, net.width_mult=2" in caplog.text


def test_an_operator_that_cannot_be_priced_is_left_out_of_the_others_and_refused_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_plugin(tmp_path).rename(tmp_path / "unpriced_plugin")  # other tests have imported the other name
    for path in folder.rglob("*.py"):
        path.write_text(path.read_text().replace("ternary_plugin", folder.name))
    settings = folder / "operators" / "toy" / "settings.py"
    settings.write_text(settings.read_text().replace('{"add": 1}', '{"lookup": 1}'))

    def report_with(*overrides: str) -> CostReport:
        typed = ["paths.output_dir=/logs/run", f"plugins=['{folder}']", *overrides]
        return read_cost(compose_config("cost", typed), typed, catalogue_in(typed))

    report = report_with("op=shift")
    assert [each.title for each in report.operators] == ["mult", "add", "shift", "shift_ps"]
    assert "op=toy is not among those side by side: " in caplog.text
    with pytest.raises(UserError, match=r"states no energy of the operation lookup; .* \(op=toy, layer blocks"):
        report_with("op=toy")
    found = report_with("op=toy", "hardware=stm32f746").chosen
    recorded = cost_record(found.plan, found.assignment, report.hardware)
    assert recorded == {"hardware": "eyeriss_168", **found.price.record()}
    assert "energy and latency are not told: " in caplog.text


def test_a_size_that_evaluation_sees_is_told_and_can_be_priced(caplog: pytest.LogCaptureFixture) -> None:
    trained = report_of("data=shapes", "data.eval_size=[96,128]").chosen.price
    assert "image of 64 px; evaluation sees [96,128] px at once" in caplog.text
    assert "data.image_size=[96,128]" in caplog.text
    caplog.clear()
    seen = report_of("data=shapes", "data.image_size=[96,128]", "data.eval_size=[96,128]").chosen.price
    assert seen.net.macs > trained.net.macs and seen.sram.bytes == 3 * trained.sram.bytes
    report_of("data=shapes", "data.eval_size=[96,128]", "task.window=64")
    assert "evaluation sees" not in caplog.text


def test_the_command_leaves_nothing(tmp_path: Path) -> None:
    done = command("op=add", script="cost", cwd=tmp_path)
    assert done.returncode == 0 and "side by side" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_training_over_the_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hardware=stm32f412: activations take"):
        run_little(tmp_path / "run", "net=mcunet", "hardware=stm32f412", "data.image_size=200")
    assert not (tmp_path / "run").exists()
