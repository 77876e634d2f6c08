"""What a target says of its images and its outputs: written as plain data, read again, refused where it is damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.build import bottlenecks, make_supernet, plan_of

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import extract_target, load_target, save_target
from shiftaddaug.nets.interface import UNKNOWN, Interface, Preprocessing
from shiftaddaug.nets.target_files import target_folder

FORMAT1 = Path(__file__).parent / "format1"
IMAGES = Preprocessing(
    channels=3,
    size=(20, 30),
    mean=(0.5, 0.4, 0.3),
    std=(0.1, 0.2, 0.3),
    resize="cover",
    interpolation="bilinear",
    share=0.875,
)
KNOWN = Interface(task="classification", classes=("cat", "Käse", "dog"), preprocessing=IMAGES)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("interface", [KNOWN, UNKNOWN, Interface(task="regression"), Interface(classes=("a",))])
def test_it_is_plain_data(interface: Interface) -> None:
    assert Interface.from_dict(through_json(interface.to_dict())) == interface


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("channels", 2, "preprocessing.channels=2: no such option; options: 1, 3"),
        ("size", [3], "preprocessing.size=[3]: must be a height and a width (px)"),
        ("mean", [0.5], "preprocessing.mean=[0.5]: must be 3 numbers, one for each channel"),
        ("mean", [1, 2, 3], "preprocessing.mean=[1,2,3]: must be a list of numbers >= 0 and <= 1"),
        ("std", [0.5, 0.5, 0], "preprocessing.std=[0.5,0.5,0]: must be positive"),
        ("share", None, "preprocessing.share=null: must have a value with resize=cover"),
        ("fill", [1, 2, 3], "preprocessing.fill=[1,2,3]: must be null with resize=cover"),
        ("resize", "crop", "preprocessing.resize=crop: no such option; options: stretch, cover, fit"),
        ("colours", 3, "preprocessing.colours=3: no such key; options: preprocessing.channels"),
        ("classes", "cat", "interface.classes=cat: must be a list of names or null"),
        ("classes", [], "interface.classes=[]: must hold a name for each output, or be null"),
        ("task", 3, "interface.task=3: must be a name or null"),
        ("preprocessing", 3, "preprocessing=3: must be a group of keys"),
    ],
)
def test_damaged_values_are_one_line(key: str, value: Any, message: str) -> None:
    raw = through_json(KNOWN.to_dict())
    (raw if key in raw else raw["preprocessing"])[key] = value
    with pytest.raises(UserError) as caught:
        Interface.from_dict(raw)
    assert str(caught.value).startswith(message)


def test_it_is_of_the_network() -> None:
    KNOWN.check_outputs(3, 3)
    with pytest.raises(UserError, match=r"interface\.classes: has 3 names, and the network 5 outputs"):
        KNOWN.check_outputs(5, 3)
    with pytest.raises(UserError, match=r"preprocessing\.channels=3: the network reads images of 1 channels"):
        KNOWN.check_outputs(3, 1)


def test_a_target_carries_it_and_an_earlier_one_loads_without(tmp_path: Path) -> None:
    target = extract_target(make_supernet(plan_of(bottlenecks(1), classes=3)))
    target = type(target)(target.net, target.assignment, {"data": {}}, KNOWN)
    save_target(target, tmp_path / "target")
    for path in (tmp_path, tmp_path / "target", tmp_path / "target" / "architecture.json"):
        assert load_target(path).interface == KNOWN
    assert load_target(FORMAT1).interface == UNKNOWN


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(FORMAT1, tmp_path / "target")
    raw = json.loads((folder / "architecture.json").read_text())
    (folder / "architecture.json").write_text(json.dumps(raw | {"interface": {"classes": ["a"]}}))
    with pytest.raises(UserError, match=r"^target=.*: interface\.classes: has 1 names, and the network 3 outputs$"):
        load_target(folder, key="target")


def test_a_target_is_found_in_its_run(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    assert target_folder(tmp_path) == tmp_path / "target"
    assert target_folder(tmp_path / "target") == tmp_path / "target"
    assert target_folder(tmp_path / "target" / "model.safetensors") == tmp_path / "target"
