"""Finding, reading and refusing checkpoints."""

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.runs.checkpoints import (
    check_resumed,
    find_checkpoint,
    read_checkpoint,
    read_config,
    refuse_other_run,
)
from shiftaddaug.runs.held import hold
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import composed
from tests.operators.adder_study import STUDY

CONFIG: dict[str, Any] = {
    "net": {"name": "mcunet"},
    "op": {"name": "add"},
    "data": {"name": "digits", "image_size": 32},
    "aug": {"width_multipliers": [1.0], "expand_multipliers": [1.0]},
}

COMPLETE: dict[str, Any] = {
    **{"state_dict": {}, "epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.5.0"},
    **{"optimizer_states": [{}], "lr_schedulers": [{}], "callbacks": {"BestCheckpoint{}": {}}},
    "loops": {
        "fit_loop": {
            "epoch_progress": {"current": {"completed": 0}},
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": {"total": {"completed": 0}}}},
        }
    },
}
"""What a checkpoint holds beside its configuration, as far as it is looked at without torch."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    torch.save({"config": CONFIG, "state_dict": {"w": torch.arange(1000.0)}}, path)
    return path


def test_read(checkpoint: Path) -> None:
    assert torch.equal(read_checkpoint(checkpoint)["state_dict"]["w"], torch.arange(1000.0))


def test_read_the_configuration_alone(tmp_path: Path) -> None:
    """Among what checkpoints hold besides."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], momentum=0.9)
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    state = OrderedDict(w=torch.arange(6.0).view(2, 3).T, half=torch.ones(2, dtype=torch.bfloat16), n=torch.tensor(3))
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # as nn.Module's state dicts have
    others = {"optimizer_states": [optimizer.state_dict()], "size": torch.Size([2]), "scale": float("inf")}
    torch.save({"config": CONFIG, "state_dict": state} | others, tmp_path / "a.ckpt")
    assert read_config(tmp_path / "a.ckpt") == read_checkpoint(tmp_path / "a.ckpt")["config"] == CONFIG


@pytest.mark.parametrize("read", [read_checkpoint, read_config])
@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_truncated(checkpoint: Path, keep: int, read: Callable[[Path], Any]) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"not a readable checkpoint, perhaps truncated") as caught:
        read(checkpoint)
    assert "\n" not in str(caught.value)


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("bomb",)


def test_reading_executes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"config": _Bomb()}, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    torch.save({"config": {"seed": 0}, "state_dict": _Bomb()}, tmp_path / "bomb.ckpt")
    assert read_config(tmp_path / "bomb.ckpt") == {"seed": 0}
    assert not (tmp_path / "bomb").exists()


def test_of_another_project(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for read in (read_checkpoint, read_config):
        with pytest.raises(UserError, match="holds no run of this project"):
            read(tmp_path / "other.ckpt")


@pytest.mark.parametrize(("group", "value"), [("net", "mbv2_tiny"), ("op", "shift"), ("data", "cifar10")])
def test_of_another_run(checkpoint: Path, group: str, value: str) -> None:
    ours = CONFIG | {group: CONFIG[group] | {"name": value}}
    theirs = CONFIG[group]["name"]
    with pytest.raises(
        UserError, match=rf"was trained with {group}\.name={theirs}, this run has {group}\.name={value}"
    ):
        refuse_other_run(checkpoint, read_checkpoint(checkpoint), ours)
    refuse_other_run(checkpoint, read_checkpoint(checkpoint), CONFIG)


def test_keys_that_an_operator_had_not_yet_are_its_defaults(checkpoint: Path) -> None:
    """A run of before AdderNet's study was selectable goes on as it was."""
    today: dict[str, Any] = OmegaConf.to_container(composed(checkpoint.parent, "op=add", "op.eta=0.5"), resolve=True)
    earlier = today | {"op": {key: value for key, value in today["op"].items() if key not in STUDY}}
    refuse_other_run(checkpoint, {"config": earlier}, today)
    other = today | {"op": today["op"] | {"rate": "uniform"}}
    with pytest.raises(UserError, match=r"was trained with op\.rate=adaptive, this run has op\.rate=uniform"):
        refuse_other_run(checkpoint, {"config": earlier}, other)


def test_a_run_of_before_there_were_tasks_is_a_classification(checkpoint: Path) -> None:
    today: dict[str, Any] = OmegaConf.to_container(composed(checkpoint.parent), resolve=True)
    new = ("name", "headline", "better")
    earlier = today | {"task": {key: value for key, value in today["task"].items() if key not in new}}
    assert len(earlier["task"]) == len(today["task"]) - 3
    refuse_other_run(checkpoint, {"config": earlier}, today)
    other = today | {"task": today["task"] | {"headline": "top5"}}
    with pytest.raises(UserError, match=r"was trained with task\.headline=top1, this run has task\.headline=top5"):
        refuse_other_run(checkpoint, {"config": earlier}, other)


def test_last_is_the_newest_run_that_has_not_finished_and_trains_the_same(tmp_path: Path) -> None:
    """Passed over are those that finished, that a finished one went on from, that train otherwise, that are damaged."""
    runs = {"oldest": 0, "older": 0, "resumed": 0, "other": 1, "damaged": 0, "finished": 0}
    for age, (name, seed) in enumerate(runs.items()):
        path = tmp_path / "train" / "runs" / name / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({"config": {"seed": seed}, "state_dict": {}}, path)
        os.utime(path, (1000 + age, 1000 + age))
    folder = tmp_path / "train" / "runs"

    def found(seed: int = 0) -> str:
        return find_checkpoint("last", tmp_path, {"seed": seed}).parts[-3]

    assert (found(), found(seed=1)) == ("finished", "other")
    assert found(seed=2) == "finished", "the newest of equally similar ones is refused by whoever reads it"
    (folder / "damaged" / "checkpoints" / "last.ckpt").write_bytes(b"")
    os.utime(folder / "damaged" / "checkpoints" / "last.ckpt", (1004, 1004))
    (folder / "finished" / "results.json").touch()
    assert found() == "resumed"
    went_on_from = {"resumed_from": str(folder / "resumed" / "checkpoints" / "last.ckpt")}
    (folder / "finished" / "run.json").write_text(json.dumps(went_on_from))
    assert found() == "older"
    for name in runs:
        (folder / name / "results.json").touch()
    with pytest.raises(UserError, match=r"^ckpt_path=last: all runs .* have finished, the newest in .*/finished;"):
        found(seed=2)
    with pytest.raises(UserError, match=r"^ckpt_path=last: the run of these overrides has finished \(.*/finished\);"):
        found()


def test_last_is_the_most_similar_run_if_none_trains_the_same(tmp_path: Path) -> None:
    """A run that trains the same and has finished is named first."""
    runs = {"same": {}, "one": {"seed": 1}, "three": {"seed": 1, "a": 2, "b": 3}}
    ours = {"seed": 0, "a": 0, "b": 0, "trainer": {"max_epochs": 3}}
    for age, (name, others) in enumerate(runs.items()):
        path = tmp_path / name / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({"config": ours | others, "state_dict": {}}, path)
        os.utime(path, (1000 + age, 1000 + age))
    assert find_checkpoint("last", tmp_path, ours | {"seed": 2}).parts[-3] == "one"
    assert find_checkpoint("last", tmp_path, ours).parts[-3] == "same"
    (tmp_path / "same" / "results.json").touch()
    with pytest.raises(UserError, match=r"these overrides has finished \(.*/same\); options: .*/same with .* above 3,"):
        find_checkpoint("last", tmp_path, ours)
    (tmp_path / "same" / "results.json").unlink()
    (tmp_path / "same" / "run.json").touch()
    with ExitStack() as held:
        hold(tmp_path / "same", held)
        with pytest.raises(UserError, match=r"the run of these overrides is still training \(.*/same\)$"):
            find_checkpoint("last", tmp_path, ours)


def test_a_run_stands_for_its_best_checkpoint_where_nothing_is_trained(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    torch.save({"config": {"seed": 0}, "state_dict": {}}, last)
    for trains, expected in ((False, last), (True, last), (False, best)):
        if expected == best:
            best.write_bytes(last.read_bytes())
        for named in (str(tmp_path / "run"), str(folder), "last"):
            assert find_checkpoint(named, tmp_path, {"seed": 0}, trains) == expected
    assert find_checkpoint(str(tmp_path / "run"), tmp_path, {"seed": 0}) == last
    assert find_checkpoint(str(last), tmp_path, {"seed": 0}, trains=False) == last, "a file is what it says"


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ckpt_path=last: no checkpoints/last\.ckpt in any run under"):
        find_checkpoint("last", tmp_path, {})
    with pytest.raises(UserError, match=r"ckpt_path=/no\.ckpt: no such file; options: a run's folder, a \.ckpt"):
        find_checkpoint("/no.ckpt", tmp_path, {})


def test_a_run_that_has_finished_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`last` would find it, if a newer run ended before its first checkpoint."""
    cfg = composed(tmp_path / "run")
    checkpoint = tmp_path / "older" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"config": OmegaConf.to_container(cfg, resolve=True)} | COMPLETE, checkpoint)
    cfg.ckpt_path, cfg.paths.log_dir = "last", str(tmp_path)
    check_resumed(read_settings(cfg))
    (tmp_path / "older" / "results.json").touch()
    monkeypatch.chdir(checkpoint.parent)
    with pytest.raises(UserError, match=r"^ckpt_path=last\.ckpt: that run has finished"):
        check_resumed(read_settings(composed(tmp_path / "run", "ckpt_path=last.ckpt")))
    with pytest.raises(UserError, match=rf"^ckpt_path=last: the run of these overrides has finished .{tmp_path}/older"):
        check_resumed(read_settings(cfg))


def test_resuming_with_other_devices_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = composed(tmp_path / "run")
    torch.save({"config": OmegaConf.to_container(cfg, resolve=True)} | COMPLETE, tmp_path / "last.ckpt")
    cfg.ckpt_path = str(tmp_path / "last.ckpt")
    check_resumed(read_settings(cfg))
    assert not caplog.records
    cfg.trainer.devices = "auto"  # perhaps the same
    check_resumed(read_settings(cfg))
    assert not caplog.records
    cfg.trainer.devices = 2
    check_resumed(read_settings(cfg))
    assert "was trained with trainer.devices=1, this run has trainer.devices=2" in caplog.text


@pytest.mark.parametrize(("pixels", "image_size", "share"), [(4, 32, 0.125), (2, 16, 0.125), (2, 32, 0.0625)])
def test_padding_in_pixels_is_what_runs_once_had(pixels: int, image_size: int, share: float, tmp_path: Path) -> None:
    old, now = (CONFIG | {"data": {"name": "a", "image_size": image_size, "crop_padding": p}} for p in (pixels, share))
    refuse_other_run(tmp_path, {"config": old}, now)
    with pytest.raises(UserError, match=rf"with data\.crop_padding={share}, this run has data\.crop_padding=0\.2"):
        refuse_other_run(tmp_path, {"config": old}, now | {"data": now["data"] | {"crop_padding": 0.2}})


@pytest.mark.parametrize(
    ("key", "overrides"),
    [
        ("op.clamp", ("op=shift",)),
        ("net.classifier_norm", ("op=mult", "net=resnet20")),
        ("optim.decay_norms", ("op=mult", "optim.decay_norms=true")),
    ],
)
def test_a_run_from_before_a_key_is_resumed_where_the_key_says_what_was_done(
    key: str, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    config: Any = OmegaConf.to_container(composed(tmp_path, *overrides), resolve=True)
    older = {name: dict(group) if isinstance(group, dict) else group for name, group in config.items()}
    group, name = key.split(".")
    del older[group][name]
    with pytest.raises(UserError, match=rf"was trained with {key}=false, this run has {key}=true"):
        refuse_other_run(tmp_path, {"config": older}, config)
    config[group][name] = False
    refuse_other_run(tmp_path, {"config": older}, config)


def test_no_flipped_bit_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    """Torch compares no checksums; a bit of a tensor would be another weight."""
    path = tmp_path / "last.ckpt"
    torch.save({"config": CONFIG, "state_dict": {"w": torch.arange(4096, dtype=torch.float32)}}, path)
    whole = path.read_bytes()
    tensor = whole.index(torch.arange(64, dtype=torch.float32).numpy().tobytes())
    for place in (tensor, tensor + 5000, tensor + 16383, whole.index(b"state_dict") + 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"^ckpt_path=.*last\.ckpt: not a readable checkpoint"):
            read_checkpoint(path)
    path.write_bytes(whole)
    assert read_checkpoint(path)["config"] == CONFIG
