"""The ablation's command: what is finished is not run again, and mistakes cost nothing."""

import errno
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from shiftaddaug.commands.ablate import _run, ablate
from shiftaddaug.commands.entry import run_command
from shiftaddaug.commands.train import train
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap_file import with_remap_file
from shiftaddaug.report.results import RESULTS, read_metrics
from shiftaddaug.runs.cells import Cell, locked
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.explain import compose_config
from tests.commands.running import LITTLE, composed, run_little

PERCENT = {"test_top1_percent": 20.0, "val_top1_percent": 21.0, "train_top1_percent": 22.0}


def finished(folder: Path, op: str, row: str, seed: int, top1: float) -> None:
    run = folder / op / row / f"seed{seed}"
    run.mkdir(parents=True)
    (run / RESULTS).write_text(json.dumps(PERCENT | {"test_top1_percent": top1, "params": 1, "macs": 2}))


def study(tmp_path: Path, *overrides: str) -> list[str]:
    folder = tmp_path / "study"
    ablate(composed(tmp_path / "run", f"folder={folder}", *overrides, config_name="ablate"))
    return (folder / "table.md").read_text(encoding="utf-8").splitlines()


def test_finished_runs_are_tabulated_and_not_run_again(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "study", "add", "mf_direct", seed, 20.0 + seed)
        finished(tmp_path / "study", "add", "full", seed, 24.0 + seed)
    table = study(tmp_path, "rows=[mf_direct,full]", "ops=[add]", "seeds=[0,1]")
    assert table[2].startswith("| add | mf_direct | 2 | 20.50 ± 0.71 |")
    assert "| +4.00 ± 0.71 |" in table[3]
    runs = (tmp_path / "study" / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert runs[0].startswith("op,row,seed,test_top1_percent,") and len(runs) == 5
    assert "add,full,1,25.0,21.0,22.0,1,2,,,," in runs
    again = study(tmp_path, "rows=[full]", "ops=[add]", "seeds=[0,1]")
    assert sorted(again) == sorted(table)  # those of earlier calls are not lost


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rows=[mf_direkt]", "rows=mf_direkt: no such option; options: .*block_variant, depth, distill, full"),
        ("ops=[ad]", "ops=ad: no such option; options: add, .*mult, .*shift_ps"),
        ("seeds=[]", "seeds=[]: must be a list of whole numbers >= 0 and <= 4294967295, one at least"),
        ("seeds=1", "seeds=1: must be a list of whole numbers >= 0 and <= 4294967295, one at least, such as [0]"),
        ("seeds=[a]", "seeds=[a]: must be a list of whole numbers >= 0"),
        ("seeds=[1.7]", "seeds=[1.7]: must be a list of whole numbers >= 0"),
        ("seeds=[4294967296]", "seeds=[4294967296]: must be a list of whole numbers >= 0 and <= 4294967295"),
        ("seeds=[0,1,0]", "seeds=[0,1,0]: names one twice"),
        ("jobs=0", "jobs=0: must be a whole number >= 1"),
        ("overrides=a", "overrides=a: must be a list"),
        ("overrides=['seed=5']", "overrides=seed=5: seed is the table's own, by rows, ops and seeds"),
        ("overrides=['aug=full']", "overrides=aug=full: aug is the table's own"),
        (
            "overrides=['aug.expand_multipliers=[1.0,2.2]']",
            "is the table's own, by rows, ops and seeds; net.expand_multipliers sets those of the rows that widen",
        ),
        ("overrides=['aug.distill_weight=1']", "overrides=aug.distill_weight=1: aug.distill_weight is the table's own"),
        (
            "overrides=['~callbacks.recalibrate']",
            "overrides=~callbacks.recalibrate: callbacks.recalibrate is the table's",
        ),
        ("overrides=['trainer.max_epochs=-2']", "trainer.max_epochs=-2: must be a whole number >= 1"),
        ("ops=[shift_ps]", "op=shift_ps: its trained tensors cannot be shared"),
    ],
)
def test_mistakes(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("]", r"\]")):
        study(tmp_path, override)
    assert not (tmp_path / "study").exists()


def test_a_typo_in_the_shared_overrides_is_answered_in_one_line_and_leaves_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = (f"folder={tmp_path / 'study'}", f"paths.log_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'hydra'}")
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ablate.py", "overrides=['trainer.max_epoch=2']", "rows=[mf_direct]", *folders])
    with pytest.raises(SystemExit) as exit_:
        run_command("ablate", ablate)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count("\n") == 1
    assert error.startswith(
        "error: overrides: trainer.max_epoch: no such key; did you mean trainer.max_epochs? options"
    )
    assert not (tmp_path / "study").exists()


def test_a_run_of_a_row_that_is_gone_is_named(tmp_path: Path) -> None:
    for row in ("old", "mf_direct"):
        finished(tmp_path / "study", "add", row, 0, 20.0)
    config = composed(tmp_path / "run", "experiment=ablation/mf_direct", "op=add")
    OmegaConf.save(config, tmp_path / "study/add/old/seed0/config.yaml", resolve=True)
    with pytest.raises(UserError, match=r"add/old/seed0 is of a row that is no more .*; move .*/add/old/seed0\* away"):
        study(tmp_path, "rows=[mf_direct]", "ops=[add]", "seeds=[0]")


def test_finished_runs_need_their_data_no_more(tmp_path: Path) -> None:
    finished(tmp_path / "study", "add", "mf_direct", 0, 20.0)
    shared = f"overrides=['data=imagenet','data.data_dir={tmp_path}/gone']"
    assert len(study(tmp_path, "rows=[mf_direct]", "ops=[add]", "seeds=[0]", shared)) == 3


@pytest.mark.parametrize(("baseline", "told"), [("mf_direct", True), ("full", False)])
def test_a_baseline_that_is_not_there_is_told(
    baseline: str, told: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    finished(tmp_path / "study", "add", "full", 0, 20.0)
    study(tmp_path, "rows=[full]", "ops=[add]", "seeds=[0]", f"baseline={baseline}")
    line = "warning: no effect, because no such run has finished with op=add: baseline=mf_direct\n"
    assert (line in capsys.readouterr().out) == told


def test_other_overrides_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    finished(tmp_path / "study", "add", "mf_direct", 0, 20.0)
    one = ("rows=[mf_direct]", "ops=[add]", "seeds=[0]")
    study(tmp_path, *one, "overrides=['trainer.max_epochs=2']")
    with pytest.raises(UserError, match=r"have \['trainer.max_epochs=2'\]; repeat them, or choose another folder"):
        study(tmp_path, *one)


def test_a_finished_run_that_would_be_trained_otherwise_by_now_is_refused(tmp_path: Path) -> None:
    """After a change to a row or a default, old results beside new ones would compare two methods."""
    folder = tmp_path / "study"
    finished(folder, "add", "distill", 0, 20.0)
    config = composed(folder / "add/distill/seed0", "experiment=ablation/distill", "op=add", "data.data_dir=elsewhere")
    one = ("rows=[distill]", "ops=[add]", "seeds=[0]")
    OmegaConf.save(config, folder / "add/distill/seed0/config.yaml", resolve=True)
    study(tmp_path, *one)
    config.aug.distill_weight = 0.5
    OmegaConf.save(config, folder / "add/distill/seed0/config.yaml", resolve=True)
    message = r"distill/seed0 was trained with aug.distill_weight=0.5, and distill has aug.distill_weight=1.0 now; cho"
    with pytest.raises(UserError, match=message):
        study(tmp_path, *one)


def test_a_remap_file_is_compared_by_what_it_holds(tmp_path: Path) -> None:
    """A run's configuration holds its contents, in the place of its path."""
    (tmp_path / "remap.yaml").write_text("form: replace\nlaplace_scale: 7.0\n")
    shared = f"sharing.remap_file={tmp_path / 'remap.yaml'}"
    config = with_remap_file(plain(composed(tmp_path / "run", "experiment=ablation/distill", "op=add", shared)))
    finished(tmp_path / "study", "add", "distill", 0, 20.0)
    OmegaConf.save(config, tmp_path / "study/add/distill/seed0/config.yaml")
    one = ("rows=[distill]", "ops=[add]", "seeds=[0]", f"overrides=['{shared}']")
    study(tmp_path, *one)
    (tmp_path / "remap.yaml").write_text("form: replace\nlaplace_scale: 8.0\n")
    with pytest.raises(UserError, match=r"was trained with op\.remap\.laplace_scale=7\.0, and distill has"):
        study(tmp_path, *one)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (({}, {}, {}), "the table's runs are of several commits (runs.csv): a, b"),  # of before the hash was recorded
        (({"code": "1"}, {"code": "1"}, {}), "the table's runs are of several commits (runs.csv): a, b"),
        (({"code": "1"}, {"code": "2"}, {"code": "1"}), "the code changed between the table's runs (runs.csv): 1, 2"),
        (({"code": "1"}, {"code": "1"}, {"code": "1"}), None),  # commits that change no code
    ],
)
def test_code_that_changed_between_runs_is_warned_of(
    code: tuple[dict[str, str], ...], told: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, commit in enumerate(("b", "a", "a")):
        finished(tmp_path / "study", "add", "mf_direct", seed, 20.0)
        path = tmp_path / "study" / "add" / "mf_direct" / f"seed{seed}" / RESULTS
        path.write_text(json.dumps(json.loads(path.read_text()) | {"git_commit": commit} | code[seed]))
    study(tmp_path, "rows=[mf_direct]", "ops=[add]", "seeds=[0,1,2]")
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warnings == ([] if told is None else [f"warning: {told}"])


def test_a_remap_of_another_operator_is_met_before_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "remap.yaml").write_text("op: add\nform: replace\nlaplace_scale: 7.0\n")
    given = f"overrides=['sharing.remap_file={tmp_path / 'remap.yaml'}']"
    with pytest.raises(UserError, match=r"remap\.yaml: was fitted for op=add, this run has op=shift"):
        study(tmp_path, "rows=[heterogeneous]", "ops=[shift,add]", "seeds=[0]", given)
    assert not (tmp_path / "study").exists()


def test_runs_import_the_code_of_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the checkout which happens to be installed, from whatever folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shiftaddaug.commands.ablate.PACKAGE", tmp_path / "src" / "shiftaddaug")
    (tmp_path / "src" / "shiftaddaug").mkdir(parents=True)
    (tmp_path / "src" / "shiftaddaug" / "__init__.py").touch()
    cell = Cell("add", "full", 0, tmp_path / "study" / "seed0")
    with (tmp_path / "lock").open("w") as lock:
        assert _run(cell, [sys.executable, "-c", "import shiftaddaug; print(shiftaddaug.__file__)"], 1, lock)
    assert (tmp_path / "study" / "seed0.log").read_text().split() == [str(tmp_path / "src/shiftaddaug/__init__.py")]


def test_one_call_at_a_time_runs_in_a_folder(tmp_path: Path) -> None:
    """Until the last of its runs has ended, even if the call itself was killed."""
    (tmp_path / "study").mkdir()
    one = ("rows=[mf_direct]", "ops=[add]", "seeds=[0]")
    finished(tmp_path / "study", "add", "mf_direct", 0, 20.0)
    with locked(tmp_path / "study") as lock:
        run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with pytest.raises(UserError, match="another ablation, or a run that one left behind, is at work there"):
        study(tmp_path, *one)
    run.communicate(b"\n")
    study(tmp_path, *one)


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("shiftaddaug.runs.cells.fcntl.flock", refuse)
    finished(tmp_path / "study", "add", "mf_direct", 0, 20.0)
    table = study(tmp_path, "rows=[mf_direct]", "ops=[add]", "seeds=[0]")
    assert table[2].startswith("| add | mf_direct | 1 | ")
    assert "can't be locked (No locks available): no other ablation may run there" in capsys.readouterr().out


def test_a_call_that_is_refused_leaves_no_plan(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    with locked(tmp_path / "study"), pytest.raises(UserError, match="is at work there"):
        study(tmp_path, "rows=[mf_direct]", "ops=[add]", "overrides=['trainer.max_epochs=2']")
    assert not (tmp_path / "study" / "ablation.json").exists()


@pytest.mark.slow
def test_adders_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The weight gradient and its rate, two by two, in this process; no row trains what another does."""

    def run(cell: Cell, command: list[str], *_: object) -> bool:
        caplog.clear()
        train(compose_config("train", command[3:]))
        slow.append("op.weight_gradient=sign: computed in plain torch" in caplog.text)
        return True

    slow: list[bool] = []
    monkeypatch.setattr("shiftaddaug.commands.ablate._run", run)
    little = [*LITTLE, "data=digits", "net=mbv2_micro", "trainer.max_epochs=1", "callbacks.diagnostics=null"]
    quoted = ",".join(f"'{override}'" for override in [*little, "optim.warmup_epochs=0"])
    rows = [f"adder_{gradient}_{rate}" for gradient in ("full", "sign") for rate in ("adaptive", "uniform")]
    table = study(
        tmp_path, f"rows=[{','.join(rows)}]", "ops=[add]", "seeds=[0]", f"overrides=[{quoted}]", f"baseline={rows[0]}"
    )
    assert [line.split("|")[2].strip() for line in table[2:]] == rows
    assert slow == [False, False, True, True]
    losses = [
        (*read_metrics(tmp_path / "study" / "add" / row / "seed0" / "metrics.csv")["train/loss"].values(),)
        for row in rows
    ]
    assert len({*losses}) == 4 and all(math.isfinite(loss) for run in losses for loss in run)


@pytest.mark.slow
def test_a_real_run_that_was_stopped_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its second epoch, after checkpoints that name each other by path."""
    little = [*LITTLE, "data=digits", "net=mbv2_micro", "trainer.max_epochs=2", "callbacks.diagnostics=null"]
    quoted = ",".join(f"'{override}'" for override in little)
    arguments = ("rows=[mf_direct]", "ops=[shift]", "seeds=[0]", f"overrides=[{quoted}]")
    cell = Cell("shift", "mf_direct", 0, tmp_path / "study" / "shift" / "mf_direct" / "seed0")
    with pytest.raises(KeyboardInterrupt):
        run_little(
            cell.folder, "experiment=ablation/mf_direct", "op=shift", *little[len(LITTLE) :],
            "+callbacks.stop._target_=tests.commands.test_training._Stop", "+callbacks.stop.epoch=1",
        )  # fmt: skip
    assert cell.attempts() == [cell.folder] and cell.results() is None
    table = study(tmp_path, *arguments)
    assert table[2].startswith("| shift | mf_direct | 1 | ")
    assert cell.results() == cell.folder.with_name("seed0_attempt2") / RESULTS
    monkeypatch.setattr("shiftaddaug.commands.ablate._run", lambda *_: pytest.fail("was run again"))
    assert study(tmp_path, *arguments) == table
