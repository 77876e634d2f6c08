"""The table at the end of a multirun, from folders that jobs left."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shiftaddaug.report.multirun import MultirunTable, job_rows, jobs_in

RESULT = {
    "val_top1_percent": 91.25,
    "test_top1_percent": 90.5,
    "params": 66570,
    "macs": 492368,
    "energy_mj_paper": 0.08110,
    "energy_mj_fair": 0.202244,
    "latency_ms_paper": 0.0364168,
    "peak_sram_kib": 60.0,
    "train_seconds": 12.5,
    "seed": 0,
}
MULTIPLIERS = ["aug.width_multipliers=[1.0,1.6,2.2]", "aug.expand_multipliers=[1.0,1.6,2.2,2.8]", "optim.lr=0.0123456"]
ADD, SHIFT = " ".join(["op=add", *MULTIPLIERS]), "op=shift"
ROWS = [
    ["0", ADD, "91.25", "90.5", "66570", "492368", "0.0811", "0.2022", "0.03642", "60.0", "12.5"],
    ["1", SHIFT, "failed", "", "", "", "", "", "", "", ""],
]


def end_job(table: MultirunTable, folder: Path, overrides: list[str], result: dict[str, Any] | None) -> None:
    folder.mkdir()
    if result is not None:
        (folder / "results.json").write_text(json.dumps(result))
    hydra = {"overrides": {"task": overrides}, "runtime": {"output_dir": str(folder)}}
    table.on_job_end(OmegaConf.create({"hydra": hydra}), job_return=None)


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Cells of the rows printed after a job that succeeded and one that failed; both had `seed=3`."""
    monkeypatch.setenv("COLUMNS", "80")
    table = MultirunTable()
    end_job(table, tmp_path / "0", ["seed=3", "op=add", *MULTIPLIERS], RESULT)
    end_job(table, tmp_path / "1", ["op=shift", "seed=3"], None)
    table.on_multirun_end(OmegaConf.create())
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_prints_every_job_whole_and_the_failed_one_too(printed: list[list[str]]) -> None:
    assert len(ADD) > 80
    assert printed == ROWS


def test_what_cannot_be_read_is_an_empty_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, told in (("0", "- op=add"), ("1", "{"), ("2", "3")):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(told)
        (tmp_path / name / "results.json").write_text("[")
    jobs = jobs_in(tmp_path)
    assert [overrides for overrides, _ in jobs] == [["op=add"], [], []]
    assert [row["overrides"] for row in job_rows(jobs)] == ["op=add", "", ""]
    assert len(caplog.records) == 5


@pytest.mark.usefixtures("printed")
def test_writes_the_same_beside_the_jobs(tmp_path: Path) -> None:
    with (tmp_path / "jobs.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        "job",
        "overrides",
        "val top-1 %",
        "test top-1 %",
        "params",
        "MACs",
        "mJ (paper)",
        "mJ (fair)",
        "ms (paper)",
        "SRAM, KiB",
        "s",
    ]
    assert rows == ROWS


def test_a_job_alone_shows_all_its_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = MultirunTable()
    end_job(table, tmp_path / "0", ["op=add", "seed=3"], RESULT)
    table.on_multirun_end(OmegaConf.create())
    assert "│ op=add seed=3 │" in capsys.readouterr().out


def test_searched_architectures_show_what_they_score_with_inherited_weights(tmp_path: Path) -> None:
    table = MultirunTable()
    for seed, score in enumerate((14.0, 17.5)):
        found = {"inherited_val_top1_percent": score, "macs": 447328, "params": 22866}
        end_job(table, tmp_path / str(seed), [f"seed={seed}", "stage=target"], found)
    table.on_multirun_end(OmegaConf.create())
    with (tmp_path / "jobs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["inherited val top1 %"] for row in rows] == ["14.0", "17.5"]
    assert "test top-1 %" not in rows[0]


def test_without_jobs_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    MultirunTable().on_multirun_end(OmegaConf.create())
    assert capsys.readouterr().out == ""


def test_jobs_of_other_processes_are_read_from_their_folders(tmp_path: Path) -> None:
    for number, ending in ((0, "results.json"), (1, "pruned.json"), (10, None), (2, "reused.json")):
        job = tmp_path / str(number)
        (job / ".hydra").mkdir(parents=True)
        (job / ".hydra" / "overrides.yaml").write_text(f"- seed={number}\n- op=add\n")
        content = {"reused.json": {"folder": str(tmp_path / "0")}}.get(ending or "", {"val_top1_percent": 12.5})
        if ending is not None:
            (job / ending).write_text(json.dumps(content))
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    search = OmegaConf.merge(config, {"hydra": {"sweeper": {"_target_": "an.OptunaSweeper"}}})
    MultirunTable().on_multirun_end(search)  # whose trials may fail
    with pytest.raises(SystemExit) as end:
        MultirunTable().on_multirun_end(config)
    assert str(end.value.__cause__).startswith("1 of the jobs failed, the first in ")
    rows = list(csv.DictReader((tmp_path / "jobs.csv").open()))
    assert [(row["overrides"], row["val top-1 %"]) for row in rows] == [
        *(("seed=0", "12.5"), ("seed=1", "pruned"), ("seed=2", "12.5"), ("seed=10", "failed")),
    ]


def test_seeds_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = MultirunTable()
    scores = {("op=add", 0): 80.0, ("op=add", 1): 82.0, ("op=shift", 0): 90.0, ("op=shift", 1): None}
    for number, ((op, seed), score) in enumerate(scores.items()):
        result = None if score is None else RESULT | {"test_top1_percent": score, "seed": seed}
        end_job(table, tmp_path / str(number), [op, f"seed={seed}", "net=mbv2_micro"], result)
    table.on_multirun_end(OmegaConf.create())
    assert "over seeds: mean ± standard deviation" in capsys.readouterr().out
    with (tmp_path / "seeds.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["overrides", "seeds", "val top-1 %", "test top-1 %"],
            ["op=add", "2", "91.25 ± 0.00", "81.00 ± 1.41"],
            ["op=shift", "1", "91.25", "90.00"],
        ]


@pytest.mark.parametrize("content", ["{", "[1]", '{"val_top1_percent": "x"}'])
def test_damaged_results_of_a_seed_do_not_count(content: str, tmp_path: Path) -> None:
    table = MultirunTable()
    for seed in range(3):
        end_job(table, tmp_path / str(seed), [f"seed={seed}"], RESULT)
    (tmp_path / "2" / "results.json").write_text(content)
    table.on_multirun_end(OmegaConf.create())
    (row,) = csv.DictReader((tmp_path / "seeds.csv").open())
    assert (row["seeds"], row["val top-1 %"]) == ("2", "91.25 ± 0.00")


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    table = MultirunTable()
    for number, op in enumerate(("op=add", "op=shift")):
        end_job(table, tmp_path / str(number), [op, "seed=3"], RESULT)
    table.on_multirun_end(OmegaConf.create())
    assert not (tmp_path / "seeds.csv").exists()
