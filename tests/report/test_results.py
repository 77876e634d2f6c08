"""What a run leaves behind: metrics read, the commit, tables that can be copied from."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.report.recorded import headline_in
from shiftaddaug.report.results import (
    code_hash,
    git_commit,
    print_result,
    print_table,
    read_history,
    read_json,
    read_metrics,
    shortest_path,
    write_json,
)
from shiftaddaug.tasks.figures import PERCENT, Figure

TOP1 = Figure("top1", "top-1", PERCENT)
METRICS = """\
epoch,lr,step,train/loss,val/top1
0,0.1,0,,
0,0.2,1,,
0,,1,2.5,
0,,1,,0.25
1,0.3,2,,
1,,3,1.5,
2,,5,,0.5
"""
LONG = "/a/folder/" + "/".join(f"run-{i:02d}-of-many" for i in range(12)) + "/target"


@pytest.fixture
def metrics_csv(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    return path


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


class TestMetrics:
    def test_gaps_are_left_out_and_the_last_row_of_an_epoch_counts(self, metrics_csv: Path) -> None:
        assert read_metrics(metrics_csv) == {
            "lr": {0: 0.2, 1: 0.3},
            "train/loss": {0: 2.5, 1: 1.5},
            "val/top1": {0: 0.25, 2: 0.5},
        }

    @pytest.mark.parametrize(
        ("cut", "rates"),
        [
            ("3", {}),
            ("3,0.4", {}),  # of 0.45, perhaps
            ("3,0.4,", {3: 0.4}),
            ("3,0.4,6,1.", {3: 0.4}),
            ("3,0.4,6,,0.5\n", {3: 0.4}),
            ("3,0.4,6,,0.5\r\n4,0.5", {3: 0.4}),
            ("3,0.4,6,,0.5\n" + 4096 * "\0", {3: 0.4}),
            ("3,0.4,6" + 4096 * "\0", {3: 0.4}),
            ("3,0.4,6\0\0\n4,0.5,7,,\n", {3: 0.4}),
        ],
    )
    def test_what_a_killed_run_had_begun_to_write_is_read_as_far_as_it_is_whole(
        self, cut: str, rates: dict[int, float], metrics_csv: Path
    ) -> None:
        metrics_csv.write_text(METRICS + cut)
        read = read_metrics(metrics_csv)
        assert read["lr"] == {0: 0.2, 1: 0.3, **rates}
        assert read["train/loss"] == {0: 2.5, 1: 1.5}

    @pytest.mark.parametrize("row", [",0.4,7,,", "none,0.4,7,,", "nan,0.4,7,,", "inf,0.4,7,,", "", ",,,,,,,"])
    def test_a_row_without_an_epoch_is_no_epochs(self, row: str, metrics_csv: Path) -> None:
        before = read_metrics(metrics_csv)
        metrics_csv.write_text(METRICS.replace("1,0.3", f"{row}\n1,0.3"))
        assert read_metrics(metrics_csv) == before

    def test_a_cell_that_is_no_number_is_left_out(self, metrics_csv: Path) -> None:
        metrics_csv.write_bytes(METRICS.encode() + b"3,0.4,6,no number,\xff\xfe\n3,,7,,0.75,and,more\n")
        read = read_metrics(metrics_csv)
        assert (read["lr"][3], read["val/top1"][3], max(read["train/loss"])) == (0.4, 0.75, 1)

    @pytest.mark.parametrize("content", ["", "epoch,lr", "no,epochs\n1,2\n", "\0\0"])
    def test_of_a_file_that_says_nothing(self, content: str, metrics_csv: Path) -> None:
        metrics_csv.write_text(content)
        assert read_metrics(metrics_csv) == {}

    def test_of_no_epoch(self, metrics_csv: Path) -> None:
        metrics_csv.write_text(METRICS.splitlines()[0] + "\n")
        assert read_metrics(metrics_csv) == {}


def write_run(folder: Path, losses: dict[int, float] | None, resumed_from: Path | None = None) -> Path:
    """A run that logged a loss in some epochs (None: was killed before), and perhaps resumed another; its folder."""
    folder.mkdir()
    write_json(folder / "run.json", {"seed": 0, "resumed_from": resumed_from})
    if losses is not None:
        rows = [f"{epoch},{epoch},{loss}\n" for epoch, loss in losses.items()]
        (folder / "metrics.csv").write_text("epoch,step,train/loss\n" + "".join(rows))
    return folder


class TestHistory:
    @pytest.mark.parametrize("run", ["[1]", "{", '{"resumed_from": "x"}', '{"resumed_from": 7}', "ITSELF"])
    def test_a_damaged_run_json_costs_the_earlier_epochs_alone(self, run: str, metrics_csv: Path) -> None:
        itself = json.dumps({"resumed_from": str(metrics_csv.parent / "checkpoints" / "last.ckpt")})
        (metrics_csv.parent / "run.json").write_text(itself if run == "ITSELF" else run)
        assert read_history(metrics_csv.parent) == read_metrics(metrics_csv)
        assert headline_in(metrics_csv.parent).name == "top1"

    def test_of_a_run_that_resumed_none_is_its_metrics(self, metrics_csv: Path) -> None:
        assert read_history(metrics_csv.parent) == read_metrics(metrics_csv)

    def test_goes_back_through_every_resumed_run(self, tmp_path: Path) -> None:
        """The first was resumed from its epoch 1 though it had gone on; what it did then is no part of the last."""
        first = write_run(tmp_path / "first", {0: 3.0, 1: 2.0, 2: 9.0, 3: 9.5})
        second = write_run(tmp_path / "second", {2: 1.5}, first / "checkpoints" / "best.ckpt")
        third = write_run(tmp_path / "third", {3: 1.25, 4: 1.0}, second / "checkpoints" / "last.ckpt")
        assert read_history(third) == {"train/loss": {0: 3.0, 1: 2.0, 2: 1.5, 3: 1.25, 4: 1.0}}
        assert list(read_history(third)["train/loss"]) == [0, 1, 2, 3, 4]  # in the order in which they are drawn

    def test_a_figure_that_only_the_earlier_run_went_on_to_log_is_no_part(self, tmp_path: Path) -> None:
        first = write_run(tmp_path / "first", {0: 3.0})
        (first / "metrics.csv").write_text("epoch,step,train/loss,val/top1\n0,0,3.0,0.25\n1,1,9.0,0.75\n")
        second = write_run(tmp_path / "second", {1: 2.0}, first / "checkpoints" / "last.ckpt")
        assert read_history(second) == {"train/loss": {0: 3.0, 1: 2.0}, "val/top1": {0: 0.25}}

    def test_of_a_resumed_run_that_is_gone_is_what_is_left(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", {2: 1.5}, tmp_path / "gone" / "checkpoints" / "last.ckpt")
        assert read_history(run) == {"train/loss": {2: 1.5}}

    def test_of_a_resumed_run_that_is_damaged_is_what_is_left(self, tmp_path: Path) -> None:
        first = write_run(tmp_path / "first", {0: 3.0})
        second = write_run(tmp_path / "second", {1: 2.0}, first / "checkpoints" / "last.ckpt")
        third = write_run(tmp_path / "third", {2: 1.5}, second / "checkpoints" / "last.ckpt")
        (second / "run.json").write_text("{")
        assert read_history(third) == {"train/loss": {1: 2.0, 2: 1.5}}

    def test_of_another_file_is_read_by_what_reads_it(self, tmp_path: Path) -> None:
        first = write_run(tmp_path / "first", {0: 3.0})
        second = write_run(tmp_path / "second", {1: 2.0}, first / "checkpoints" / "last.ckpt")
        for run in (first, second):
            (run / "other.csv").write_text((run / "metrics.csv").read_text().replace("train/loss", "other"))
            (run / "metrics.csv").unlink()
        assert read_history(second, "other.csv") == {"other": {0: 3.0, 1: 2.0}}
        epochs = {"first": 0, "second": 1}
        read = read_history(second, "other.csv", lambda path: {"length": {epochs[path.parent.name]: 1.0}})
        assert read == {"length": {0: 1.0, 1: 1.0}}

    def test_of_a_run_killed_before_its_first_step_is_empty(self, tmp_path: Path) -> None:
        assert read_history(write_run(tmp_path / "run", None)) == {}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git: install it")
class TestGitCommit:
    @pytest.fixture
    def repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for key in [key for key in os.environ if key.startswith("GIT_")]:
            monkeypatch.delenv(key)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        folder = tmp_path / "repository"
        (folder / "inside").mkdir(parents=True)
        (folder / "file").write_text("one")
        self.git(folder, "init", "-q")
        self.git(folder, "add", "file")
        self.git(folder, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "first")
        return folder

    @staticmethod
    def git(folder: Path, *arguments: str) -> str:
        line = ["git", "-C", str(folder), *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    def test_is_the_checkouts(self, repository: Path) -> None:
        commit = self.git(repository, "rev-parse", "HEAD")
        assert len(commit) == 40
        assert git_commit(repository) == git_commit(repository / "inside") == commit

    def test_tells_of_edits_but_not_of_new_files(self, repository: Path) -> None:
        commit = git_commit(repository)
        (repository / "new").touch()
        assert git_commit(repository) == commit
        (repository / "file").write_text("two")
        assert git_commit(repository) == f"{commit}+dirty"

    def test_of_no_repository_is_unknown(self, repository: Path) -> None:
        (repository.parent / "elsewhere").mkdir()
        assert git_commit(repository.parent / "elsewhere") == "unknown"
        assert git_commit(repository.parent / "nowhere") == "unknown"

    def test_without_git_is_unknown(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(repository))
        assert git_commit(repository) == "unknown"


def test_the_hash_of_code_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("one")
    (tmp_path / "sub" / "b.c").write_text("two")
    before = code_hash(tmp_path)
    assert len(before) == 12
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub" / "b.so").touch()
    assert code_hash(tmp_path) == before
    (tmp_path / "sub" / "b.c").write_text("three")
    edited = code_hash(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert len({before, edited, code_hash(tmp_path)}) == 3
    (tmp_path / "c.py").rename(tmp_path / "a.py")
    (tmp_path / "sub" / "b.c").write_text("two")
    assert code_hash(tmp_path) == before


class TestTables:
    def test_a_path_is_whole_and_on_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table("two jobs", [{"job": "0", "target": LONG, "s": 1.5}, {"job": "1", "target": None, "s": None}])
        title, *_, first, second, _bottom = capsys.readouterr().out.splitlines()
        assert len(LONG) > 160
        assert title.strip() == "two jobs"
        assert [cell.strip() for cell in first.split("│")[1:-1]] == ["0", LONG, "1.5"]
        assert [cell.strip() for cell in second.split("│")[1:-1]] == ["1", "", ""]

    def test_columns_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table("t", [{"job": "0", "test top-1 %": 93.5}])
        assert [cell.strip() for cell in capsys.readouterr().out.splitlines()[2].split("┃")[1:-1]] == [
            "job",
            "test top-1 %",
        ]

    def test_a_result_has_a_line_for_each_value(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_result("a run", {"top-1 (test)": "93.50 %", "target": LONG})
        title, _top, first, second, _bottom = capsys.readouterr().out.splitlines()
        assert title.strip() == "a run"
        assert [cell.strip() for cell in first.split("│")[1:-1]] == ["top-1 (test)", "93.50 %"]
        assert [cell.strip() for cell in second.split("│")[1:-1]] == ["target", LONG]

    def test_a_title_is_never_folded(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_table(LONG, [{"job": "0"}])
        print_result(LONG, {"top-1": "93.50 %"})
        lines = capsys.readouterr().out.splitlines()
        assert lines.count(LONG) == 2 and len(lines) == 1 + 5 + 1 + 3

    @pytest.mark.parametrize(
        "value", ["net.mult_layers=[stem,classifier]", "/data/[old]/target", "/data/:star:/target"]
    )
    def test_what_looks_like_markup_is_printed_as_it_is(self, value: str, capsys: pytest.CaptureFixture[str]) -> None:
        print_table("jobs", [{"overrides": value}])
        print_result("a run", {"overrides": value})
        assert capsys.readouterr().out.count(value) == 2


class TestShortestPath:
    def test_is_relative_below_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert shortest_path(tmp_path / "a" / "b") == "a/b"
        assert shortest_path(Path("a/b")) == "a/b"

    def test_is_absolute_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert shortest_path(tmp_path / "there") == str(tmp_path / "there")
        assert shortest_path(tmp_path / "here-not") == str(tmp_path / "here-not")


def test_json_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"a": 1})

    def fill(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(UserError, match=r"a\.json: could not be written \(No space left on device\)$"):
        write_json(tmp_path / "a.json", {"a": 2})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"top1": 0.1 + 0.2, "none": None, "list": [1, "a"], "path": tmp_path}
    write_json(tmp_path / "results.json", content)
    assert read_json(tmp_path / "results.json") == {**content, "path": str(tmp_path)}
