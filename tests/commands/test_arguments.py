"""Arguments that Hydra would meet with a traceback, and names that users must not give."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from shiftaddaug.commands.ablate import _checked_overrides
from shiftaddaug.commands.arguments import refuse_arguments
from shiftaddaug.commands.folders import refuse_within_runs
from shiftaddaug.errors import UserError


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("op=null", r"op=null: no such group; options: paths, trainer, hardware$"),
        ("trainer=3", r"trainer=3: no such option; options: cpu, ddp, default, gpu$"),
        ("experiment/ablation=_base", r"experiment/ablation=_base: no such group; options: paths, trainer, hardware$"),
        ("+experiment=cifar100_w02", r"\+experiment=cifar100_w02: no such group; options: paths, trainer, hardware$"),
    ],
)
def test_a_command_answers_with_its_own_groups(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        refuse_arguments([argument], "eval")


def test_what_hydra_understands_is_left_to_it() -> None:
    arguments = ["-m", "op=shift,add", "logger=[csv,tensorboard]", "+experiment/ablation=full", "seed=1,2", "a(b)=3"]
    refuse_arguments(
        [*arguments, "optim.name=lamb", "logger.wandb.name=x", "~callbacks.reseed", "op='shift'", "trainer={a: 1}"],
        "train",
    )


def test_a_group_takes_one_option() -> None:
    message = r"^data=\[digits,cifar10\]: takes one option; options: data=NAME, or -m data=digits,cifar10$"
    with pytest.raises(UserError, match=message):
        refuse_arguments(["data=[digits,cifar10]"], "train")
    with pytest.raises(UserError, match=r"^op=\[\]: takes one option"):
        refuse_arguments(["op=[]"], "train")


@pytest.mark.parametrize(
    ("argument", "command", "message"),
    [
        (
            "--epochs=3",
            "train",
            r"^--epochs=3: keys are typed without dashes, .*; did you mean trainer\.max_ep.*=3",
        ),
        ("--batch-size", "eval", r"did you mean data\.batch_size=\.\.\.\?$"),
        ("--seed=1", "search", r"did you mean seed=1\?$"),
    ],
)
def test_keys_have_no_dashes(argument: str, command: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        refuse_arguments([argument], command)
    refuse_arguments(["--multirun", "--config-dir=x", "--cfg", "job"], command)


def test_an_ablation_gives_no_other_names() -> None:
    with pytest.raises(UserError, match=r"^net\.name=mine: is the name of what net= chooses; options: net=mbv2_micro"):
        _checked_overrides(["net.name=mine"])


@pytest.mark.parametrize(
    ("key", "folder", "command", "refused"),
    [
        ("hydra.run.dir", "run/target", "train", True),
        ("paths.log_dir", "run/logs/deep", "train", True),
        ("folder", "'run/study'", "ablate", True),
        ("hydra.run.dir", "run/checkpoints/x", "eval", True),
        ("hydra.run.dir", "run/eval", "eval", False),
        ("hydra.run.dir", "run", "train", False),  # which is refused as a run that is there already
        ("hydra.run.dir", "other", "train", False),
    ],
)
def test_no_run_is_inside_of_another(
    key: str, folder: str, command: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    arguments = [f"{key}={folder}"]
    message = rf"^{key}=run/.*: is inside of {tmp_path}/run, which holds a run; give a"
    with pytest.raises(UserError, match=message) if refused else nullcontext():
        refuse_within_runs(arguments, command)
