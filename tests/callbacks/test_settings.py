"""A callback that watches a figure looks for the better value of it, not for the worse."""

from typing import Any

import pytest

from shiftaddaug.callbacks.settings import check_callbacks
from shiftaddaug.errors import UserError

BETTER = {"top1": "max", "loss": "min"}
OURS = {"_target_": "shiftaddaug.callbacks.checkpoint.BestCheckpoint", "dirpath": "a"}
STOPPING = {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}


@pytest.mark.parametrize(
    ("name", "callback", "message"),
    [
        ("best_checkpoint", OURS | {"monitor": "val/loss"}, r"best_checkpoint\.mode: is max by default, and val/loss"),
        ("best_checkpoint", OURS | {"monitor": "val/loss", "mode": "max"}, r"best_checkpoint\.mode=max, and val/loss"),
        ("best_checkpoint", OURS | {"monitor": "val/top1", "mode": "min"}, r"best_checkpoint\.mode=min, and val/top1"),
        (
            "stop",
            STOPPING | {"monitor": "val/top1"},
            r"stop\.mode: is min by default, and val/top1 is better the other",
        ),
    ],
)
def test_the_worst_is_never_taken_for_the_best(name: str, callback: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"^callbacks\.{message}.*; options: (min|max)$"):
        check_callbacks({name: callback}, BETTER)


def test_the_best_and_what_is_no_figure_pass() -> None:
    best = OURS | {"monitor": "val/loss", "mode": "min"}
    stops = [STOPPING | {"monitor": "val/loss"}, STOPPING | {"monitor": "val/top1", "mode": "max"}]
    check_callbacks({"best_checkpoint": best, "a": stops[0], "b": stops[1], "c": STOPPING | {"monitor": "lr"}}, BETTER)
