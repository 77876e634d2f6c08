"""A checkpoint that lacks something is refused before anything is recorded or trained, in one line that says what."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shiftaddaug.errors import UserError
from shiftaddaug.runs.checkpoints import check_resumed, read_checkpoint
from shiftaddaug.runs.prepare import prepare
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import LITTLE, composed, run_little

TINY = ("net.stages=[{block: basic, channels: 8, depth: 1, act: relu}]", "optim.warmup_epochs=0")
WEIGHT = "net.stem.conv.weight"

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of one epoch saved."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    run_little(folder, *TINY, "trainer.max_epochs=1")
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def resumed(saved: dict[str, Any], edit: Edit, folder: Path, last_step: Callable[..., Any]) -> str:
    """Edit a checkpoint, and return what resuming it says up to a step of the run."""
    content = copy.deepcopy(saved)
    edit(content)
    torch.save(content, folder / "edited.ckpt")
    line = [*LITTLE, *TINY, "trainer.max_epochs=1", f"ckpt_path={folder}/edited.ckpt"]
    settings = read_settings(composed(folder / "run", *line))
    with pytest.raises(UserError) as caught:
        last_step(settings)
    assert not (folder / "run").exists()
    start = f"ckpt_path={folder}/edited.ckpt: cannot be resumed: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def optimizer(content: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = content["optimizer_states"][0]
    return state


def without(name: str) -> Edit:
    return lambda content: content.pop(name)


def fit_loop(content: dict[str, Any]) -> dict[str, Any]:
    loop: dict[str, Any] = content["loops"]["fit_loop"]
    return loop


def without_best(content: dict[str, Any]) -> None:
    content["callbacks"] = {key: state for key, state in content["callbacks"].items() if not key.startswith("Best")}


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        *(
            (without(name), f"has no {name}")
            for name in ("epoch", "global_step", "lr_schedulers", "callbacks", "loops")
        ),
        (without("optimizer_states"), "has no optimizer_states; it holds weights alone (save_weights_only); options: "),
        (lambda c: c.update(epoch="one"), "epoch=one: must be a whole number >= 0"),
        (lambda c: c.update(callbacks=[1]), "callbacks=[]: must be a group of keys"),
        (lambda c: c.update(optimizer_states=[]), "has 0 optimizer_states; a run has one"),
        (lambda c: c.update(epoch=7), "epoch is 7, and loops.fit_loop.epoch_progress.current.completed is 0"),
        (
            lambda c: fit_loop(c).pop("epoch_progress"),
            "epoch is 0, and loops.fit_loop.epoch_progress.current.completed",
        ),
        (without_best, "callbacks has no BestCheckpoint, so that the best epoch is unknown"),
    ],
)
def test_without_torch(saved: dict[str, Any], edit: Edit, line: str, tmp_path: Path) -> None:
    assert resumed(saved, edit, tmp_path, check_resumed).startswith(line)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda c: c["state_dict"].pop(WEIGHT), f"state_dict has no {WEIGHT}"),
        (lambda c: c["state_dict"].update({"net.foo": torch.ones(1)}), "state_dict has net.foo, which this network"),
        (lambda c: c["state_dict"].update({WEIGHT: torch.ones(3)}), f"{WEIGHT} in state_dict has the shape (3,), and"),
        (lambda c: c["state_dict"].update({WEIGHT: 3}), f"{WEIGHT} in state_dict is a int, no tensor"),
        (lambda c: c["state_dict"][WEIGHT].fill_(float("inf")), f"{WEIGHT} in state_dict holds values that are no num"),
        (lambda c: c.update(state_dict=[1]), "state_dict is a list"),
        (lambda c: optimizer(c).pop("state"), "optimizer_states is not of this run's optimiser (KeyError: 'state')"),
        (lambda c: optimizer(c)["param_groups"].pop(), "optimizer_states is not of this run's optimiser (ValueError"),
        (lambda c: optimizer(c)["param_groups"][0].pop("lr"), "optimizer_states has no lr"),
        (
            lambda c: optimizer(c)["state"][0].update(momentum_buffer=torch.ones(2)),
            "momentum_buffer of stem.conv.weight in optimizer_states has the shape (2,), and the weight has (",
        ),
    ],
)
def test_with_its_tensors(saved: dict[str, Any], edit: Edit, line: str, tmp_path: Path) -> None:
    assert resumed(saved, edit, tmp_path, prepare).startswith(line)


def test_what_only_lightning_can_read_is_one_line_too(saved: dict[str, Any], tmp_path: Path) -> None:
    content = copy.deepcopy(saved)
    content["lr_schedulers"] = [{"foo": 1}]
    torch.save(content, tmp_path / "edited.ckpt")
    with pytest.raises(UserError, match=r"^ckpt_path=.*edited\.ckpt: cannot be resumed \(KeyError: 'lr_lambdas'\)$"):
        run_little(tmp_path / "run", *TINY, "trainer.max_epochs=1", f"ckpt_path={tmp_path}/edited.ckpt")
