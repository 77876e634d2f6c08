"""Nodes that name what is built of them: arguments are checked against its signature."""

from typing import Any, Literal

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.settings import PositiveNumber

SGD: dict[str, Any] = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
REORDER: dict[str, Any] = {"_target_": "shiftaddaug.callbacks.reorder.ReorderChannels"}
STOPPING: dict[str, Any] = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
COSINE: dict[str, Any] = {"_target_": "shiftaddaug.tasks.schedule.cosine", "_partial_": True}


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (SGD | {"nesterov": "maybe"}, "n.nesterov=maybe: must be true or false"),
        (SGD | {"momentun": 0.9}, "n.momentun=0.9: torch.optim.SGD takes no such argument; did you mean momentum? opt"),
        (SGD | {"_target_": "torch.optim.SDG"}, "n._target_=torch.optim.SDG: no such class or function; did you mean"),
        (SGD | {"_target_": 7}, "n._target_=7: must be a word"),
        (SGD | {"_target_": "no.such.Thing"}, "n._target_=no.such.Thing: no such package as no"),
        (REORDER | {"until": 2}, "n.until=2: must be a number >= 0 and <= 1"),
        (REORDER | {"every_n_epochs": None}, "n.every_n_epochs=null: must be a whole number >= 1"),
        ({"_target_": STOPPING["_target_"]}, "n.monitor: is missing; lightning.pytorch.callbacks.EarlyStopping needs"),
        (STOPPING | {"patience": "long"}, "n.patience=long: must be a whole number"),
        ({"a": {"b": REORDER | {"until": -1}}}, "n.a.b.until=-1: must be a number >= 0 and <= 1"),
        (STOPPING | {"inner": REORDER | {"x": 1}}, "n.inner.x=1: shiftaddaug.callbacks.reorder.ReorderChannels takes"),
        (COSINE | {"total_steps": "some"}, "n.total_steps=some: must be a whole number"),
    ],
)
def test_mistakes(node: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_node("n", node)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    "node",
    [
        None,
        7,
        {},
        {"a": 1, "b": {"c": []}},
        SGD,
        SGD | {"_convert_": "all", "_recursive_": False},
        {"_target_": STOPPING["_target_"], "_partial_": True},
        {"_target_": STOPPING["_target_"], "_args_": ["val/loss"]},
        COSINE | {"total_steps": "run.total_steps"},
        STOPPING | {"patience": {"_target_": "builtins.int"}},
        {"_target_": "timm.optim.create_optimizer_v2", "_partial_": True, "anything": 1},
        {"_target_": "torch.relu", "anything": 1},
    ],
)
def test_what_passes(node: Any) -> None:
    check_node("n", node)


def test_ranges_say_more_than_the_signature_and_add_no_argument() -> None:
    ranges = {"lr": PositiveNumber, "momentun": PositiveNumber}
    with pytest.raises(UserError, match=r"^n\.lr=-1: must be a number > 0$"):
        check_node("n", SGD | {"lr": -1}, ranges)
    with pytest.raises(UserError, match=r"^n\.momentun=1: torch\.optim\.SGD takes no such argument"):
        check_node("n", SGD | {"momentun": 1}, ranges)


def test_keys_that_the_signature_does_not_have() -> None:
    more = {"interval": Literal["step", "epoch"]}
    check_node("n", COSINE | {"interval": "step"}, more=more)
    with pytest.raises(UserError, match=r"^n\.interval=day: no such option; options: step, epoch$"):
        check_node("n", COSINE | {"interval": "day"}, more=more)
