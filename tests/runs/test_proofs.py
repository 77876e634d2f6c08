"""A target that multiplies where it may not, or differs from what was trained, is not deployed."""

import pytest
import torch

from shiftaddaug.errors import UserError
from shiftaddaug.runs import proofs as deploy
from shiftaddaug.runs.proofs import extract_checked, refuse_difference
from tests.tasks.little import make_task

CONFIG = {"data": {"name": "digits", "data_dir": "/where/it/lay"}, "task": {"name": "classification"}}


def test_what_is_extracted_says_what_task_and_data_but_not_where() -> None:
    task = make_task("shift")
    target = extract_checked(task.net, CONFIG)
    assert target.config == CONFIG | {"data": {"name": "digits", "data_dir": None}}
    assert extract_checked(task.net, {}).config == {}
    assert refuse_difference(task.net.eval(), target.net, task.net.plan) == 0


def test_layers_that_multiply_against_the_plan_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        deploy,
        "unexpected_multiplications",
        lambda _: {"blocks.1.expand.conv": "it executes aten::mm", "head": "its codes"},
    )
    with pytest.raises(
        UserError, match=r"op=shift: layer blocks\.1\.expand\.conv multiplies, for it executes .*, and 1 more"
    ):
        extract_checked(make_task("shift").net, CONFIG)


def test_one_weight_that_differs_by_a_bit_is_noticed() -> None:
    task = make_task("shift")
    target = extract_checked(task.net, CONFIG)
    with torch.no_grad():
        target.net.classifier.bias[0] += 1e-6
    with pytest.raises(AssertionError, match="the extracted target differs from the supernet's target path by"):
        refuse_difference(task.net.eval(), target.net, task.net.plan)
