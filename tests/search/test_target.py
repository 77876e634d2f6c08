"""Both stages of a search on digits: what they write, and what they refuse."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.commands.running import composed

from shiftaddaug.catalogue import PACKAGE_ONLY
from shiftaddaug.errors import UserError
from shiftaddaug.nets.searched import read_searched
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.runs.search_settings import SearchSettings, read_search
from shiftaddaug.search.supernet import read_supernet, train_supernet
from shiftaddaug.search.target import read_trained, search_target

LITTLE = (
    *("data=digits", "space.image_sizes=[16]", "space.width_mults=[0.1]", "search.deep_draws=3"),
    *("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "trainer.enable_progress_bar=false"),
    *("search.score_images=64", "search.calibration_batches=1", "search.storage=null"),
)
SEARCHED = ("hardware=eyeriss_168", "search.population=3", "search.evaluations=4", "stage=target")
ENERGY = "energy_mj_fair"


def settings_of(folder: Path, *overrides: str) -> tuple[Any, SearchSettings]:
    cfg = composed(folder, *LITTLE, *overrides, config_name="search")
    return cfg, read_search(cfg, PACKAGE_ONLY)


def target(folder: Path, supernet: Path, *typed: str) -> float:
    """Search for a target as the command does, everything typed."""
    return search_target(settings_of(folder, *SEARCHED, f"supernet={supernet}", *typed)[1], typed)


def _train(folder: Path, *typed: str) -> None:
    cfg, settings = settings_of(folder, "stage=supernet", *typed)
    train_supernet(cfg, settings, typed, 0.0)


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "supernet"
    _train(folder)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, supernet: Path) -> Path:
    folder = tmp_path_factory.mktemp("search") / "target"
    target(folder, supernet)
    return folder


def points(folder: Path) -> list[dict[str, str]]:
    with (folder / "points.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_deep_subnetwork_is_as_deep_as_the_supernet_and_no_worse_than_most(supernet: Path) -> None:
    contents = json.loads((supernet / "supernet.json").read_text())
    assert contents["deep_score"] >= contents["median_score"]
    depths = {name: value for name, value in contents["deep"].items() if name.startswith("depth.")}
    assert depths == {"depth.blocks.1": 2, "depth.blocks.3": 2, "depth.blocks.5": 3, "depth.blocks.8": 2,
                      "depth.blocks.10": 2}  # fmt: skip
    assert (supernet / contents["checkpoint"]).exists()
    results = json.loads((supernet / "results.json").read_text())
    assert results["val_top1_percent"] == pytest.approx(100 * contents["deep_score"], abs=0.01)


def test_another_supernet_is_another_run(tmp_path: Path, supernet: Path) -> None:
    """What trains a supernet identifies its run; how a target is searched in it does not."""
    from shiftaddaug.nas.tinynas import Setting
    from shiftaddaug.runs.identity import first_difference

    chosen = Setting(16, 0.1, np.zeros(1), 1, 0.0, 0.0)

    def config(*overrides: str) -> Any:
        cfg, settings = settings_of(tmp_path, "stage=supernet", *overrides)
        return read_supernet(cfg, settings, chosen, ()).config

    plain = config()
    assert first_difference(plain, config("search.evaluations=7", "search.sampler=random")) is None
    for key in ("distill_weight=0.5", "sandwich=false", "random_subnets=1", "kernel_transform=false"):
        assert first_difference(plain, config(f"search.{key}")) is not None
    assert first_difference(plain, config("space.kernels=[3]")) is not None
    assert config("search=one_stage")["sharing"]["name"] == "heterogeneous" != plain["sharing"]["name"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["op=shift"], r"^op=shift: a supernet multiplies; options: mult, and space.operators"),
        (["aug=width"], r"^aug=width: a supernet is surrounded by nothing; options: none"),
        (["sharing=kl"], r"^sharing=kl: is a penalty of a training, and a search reads weights"),
        (["sharing=affine"], r"^sharing=affine: trains factors for a layer.s one operator, and a search reads"),
        (["data.val_fraction=0"], r"^data.val_fraction=0: sub-networks are scored on images"),
        (["callbacks.last_checkpoint=null"], r"^callbacks.last_checkpoint=null: a supernet without a checkpoint"),
        (["search.random_subnets=0", "search.sandwich=false"], r"^search.random_subnets=0: with search.sandwich=false"),
        (["search.operators=[xor]"], r"^space.operators: op=xor: no such operator"),
        (["search.deep_draws=0"], r"^search.deep_draws=0: must be"),
        (["hardware.sram_kib=1"], r"^hardware.sram_kib=1: no network of the space takes less than"),
    ],
)
def test_mistakes_before_a_supernet_is_trained(tmp_path: Path, typed: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _train(tmp_path / "run", *typed)
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_supernet_itself_need_not_fit(tmp_path: Path) -> None:
    from shiftaddaug.nas.tinynas import choose
    from shiftaddaug.nas.tinynas import settings_of as drawn

    cfg, settings = settings_of(tmp_path, "stage=supernet", "hardware.sram_kib=10", "hardware.flash_kib=40")
    found = drawn(settings.table, settings.space, 10, 1, settings.hardware, 200, 0)
    chosen = choose(found, settings.hardware, 0.8)
    assert 0 < chosen.fitting < 1
    assert read_supernet(cfg, settings, chosen, ()).plan.num_classes == 10


def test_what_was_found_is_a_net_that_costs_what_was_priced(found: Path) -> None:
    from shiftaddaug import operators
    from shiftaddaug.hardware.price import price
    from shiftaddaug.nets.assignment import assignment_from

    hardware = settings_of(found, *SEARCHED)[1].hardware
    rows = points(found)
    assert len(rows) == 4
    for row in rows:
        searched = read_searched(found / "networks" / f"{row['trial']}.json")
        plan = plan_net(searched.table, 10, 1, searched.image_size)
        assignment = assignment_from(searched.operators, plan, operators.settings_from)
        record = price(plan, assignment, hardware).record()
        assert record[ENERGY] == pytest.approx(float(row[ENERGY]))
        assert record["flash_kib"] == pytest.approx(float(row["flash_kib"]))
    best = max(rows, key=lambda row: float(row["inherited_val_top1_percent"]))["inherited_val_top1_percent"]
    results = json.loads((found / "results.json").read_text())
    assert results["inherited_val_top1_percent"] == float(best)
    assert (found / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_a_seed_finds_the_same(tmp_path: Path, supernet: Path, found: Path) -> None:
    target(tmp_path / "again", supernet)
    assert (tmp_path / "again" / "points.csv").read_text() == (found / "points.csv").read_text()


def test_networks_keep_the_limits(tmp_path: Path, supernet: Path, found: Path) -> None:
    most = min(float(row[ENERGY]) for row in points(found))
    target(tmp_path / "run", supernet, f"limits.energy_mj={most}", "space.operators=[shift]")
    rows = points(tmp_path / "run")
    kept = [row for row in rows if row["within_limits"] == "True"]
    assert len(kept) == 4
    assert all((float(row[ENERGY]) <= most) == (row["within_limits"] == "True") for row in rows)
    chosen = {value for row in kept for name, value in row.items() if name.startswith("operator.")}
    assert chosen == {"shift"}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["limits.energy_mj=1e-6"], r"^limits.energy_mj=1e-06: no network of the space has less than 0\.0"),
        (["limits.flash_kib=1"], r"^limits.flash_kib=1: no network of the space has less than \d+\.\d+"),
        (["space.kernels=[3,7]"], r"^space.kernels: 7: supernet=.* has no such choice; options: 3, 5$"),
        (["space.operators=[shift_ps]"], r"^space.operators: shift_ps: its layers train no weight"),
        (["space.operators=[xor]"], r"^space.operators: op=xor: no such operator"),
        (["hardware=stm32f412", "limits.energy_mj=1"], r"^limits.energy_mj=1: hardware=stm32f412 has no energy"),
        (["limits.mode=paper", "limits.latency_ms=1e-6"], r"^limits.latency_ms=1e-06: no network of the space"),
        (["supernet=null"], r"^supernet=null: stage=target searches inside of a trained supernet"),
        (["supernet=nowhere"], r"^supernet=nowhere: no supernet.json there; options: a finished run of stage=supernet"),
        (["search.population=1"], r"^search.population=1: must be"),
        (["limits.energy=1"], r"^limits.energy=1: no such key; did you mean limits.energy_mj\?"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, supernet: Path, typed: Sequence[str], message: str) -> None:
    typed = [each if "limits.energy=" not in each else f"+{each}" for each in typed]
    with pytest.raises(UserError, match=message):
        target(tmp_path / "run", supernet, *typed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, r"supernet.json is of format 9, this version reads 1"),
        ({"deep": {}}, r"its deep sub-network has width.stem=None"),
        ({"deep": None}, r"not a readable supernet"),
        ({"space": {"name": "micro"}}, r"not a readable supernet"),
        ({"checkpoint": "gone.ckpt"}, r"no gone.ckpt there"),
        ({"checkpoint": "config.yaml"}, r"^supernet: .*config.yaml: not a readable checkpoint"),
    ],
)
def test_damaged_supernets(tmp_path: Path, supernet: Path, change: dict[str, Any], message: str) -> None:
    copied = tmp_path / "supernet"
    shutil.copytree(supernet, copied)
    contents = json.loads((copied / "supernet.json").read_text())
    (copied / "supernet.json").write_text(json.dumps(contents | change))
    with pytest.raises(UserError, match=message):
        target(tmp_path / "run", copied)


def test_what_comes_next_is_printed_and_operators_without_a_price_are_said(
    tmp_path: Path, supernet: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    target(tmp_path / "run", supernet, "hardware=stm32f412", "search.evaluations=1")
    assert "aug=searched data=digits data.image_size=16" in capsys.readouterr().out
    assert "hardware=stm32f412 has no energy: networks are compared by their MACs" in caplog.text


def test_an_operator_that_trains_more_than_a_weight_is_refused_by_its_key(supernet: Path, tmp_path: Path) -> None:
    from shiftaddaug.search.making import alternatives_of, make_supernet

    trained = read_trained(settings_of(tmp_path, *SEARCHED, f"supernet={supernet}")[1], PACKAGE_ONLY)
    with pytest.raises(UserError, match=r"^space.operators: shift_ps: "):
        make_supernet(trained.config, trained.plan, alternatives_of(["shift_ps"], PACKAGE_ONLY))


def test_the_key_of_an_empty_choice_is_named(tmp_path: Path, supernet: Path) -> None:
    """The deep sub-network is narrower than what is left."""
    copied = tmp_path / "supernet"
    shutil.copytree(supernet, copied)
    contents = json.loads((copied / "supernet.json").read_text())
    contents["deep"]["width.stem"] = 0.5
    (copied / "supernet.json").write_text(json.dumps(contents))
    message = r"^space.widths: nothing is as small as the deep .* at stem; options: 0.5 and less"
    with pytest.raises(UserError, match=message):
        target(tmp_path / "run", copied, "space.widths=[1.0]")


@pytest.mark.parametrize("content", ["a: : [", "", "net: ${nowhere}", "[1, 2]"])
def test_damaged_configurations_of_supernets(tmp_path: Path, supernet: Path, content: str) -> None:
    copied = tmp_path / "supernet"
    shutil.copytree(supernet, copied)
    (copied / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"^supernet=.*: not a readable supernet"):
        target(tmp_path / "run", copied)


def test_a_supernet_says_what_it_was_trained_with(supernet: Path, tmp_path: Path) -> None:
    trained = read_trained(settings_of(tmp_path, *SEARCHED, f"supernet={supernet}")[1], PACKAGE_ONLY)
    assert trained.space.kernels == [3, 5]
    assert trained.plan.image_size == (16, 16)
