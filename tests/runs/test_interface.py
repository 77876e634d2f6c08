"""What data modules state of themselves; what plugins' state wrongly is warned of and left out."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug import tasks
from shiftaddaug.data.in_memory import InMemoryDataModule
from shiftaddaug.nets.interface import Interface
from shiftaddaug.runs.interface import interface_of
from tests.build import plan_of, read_yaml
from tests.data.builders import module_of

PLAN = plan_of("mbv2_micro", 10, 1, 32)


def stated(data: Any) -> Interface:
    return interface_of(tasks.build(read_yaml("task", "classification"), 10), data, PLAN)


def test_a_data_module_of_the_package() -> None:
    data = module_of("digits")
    known = stated(data)
    assert known.task == "classification" and known.classes == tuple("0123456789")
    assert known.preprocessing == data.preprocessing() is not None


def test_one_that_states_nothing() -> None:
    assert stated(SimpleNamespace()) == Interface(task="classification")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"class_names": lambda: 1 / 0}, "does not carry the names of its classes (ZeroDivisionError"),
        ({"class_names": lambda: [None] * 10}, "does not carry the names of its classes (UserError"),
        ({"preprocessing": lambda: {"size": 3}}, "preprocessing returned a dict; must be a Preprocessing, or None"),
        ({"preprocessing": module_of("cifar10", data_dir="a").preprocessing}, "the network reads images of 1 channels"),
    ],
)
def test_a_plugins_mistake_costs_no_run(made: Any, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert stated(SimpleNamespace(**made)) == Interface(task="classification")
    assert message in caplog.text


def test_names_of_another_number_of_classes_are_none() -> None:
    assert stated(SimpleNamespace(class_names=lambda: ["a", "b"])).classes is None


def test_a_set_in_memory_that_transforms_its_own_way_states_nothing() -> None:
    class Own(InMemoryDataModule):
        def load(self) -> Any: ...

        def transform(self, images: Any, train: bool) -> Any:
            return images

    keys = {"name": "own", "num_classes": 10, "in_channels": 1, "mean": [0.5], "std": [0.5]}
    assert Own(**keys).preprocessing() is None
