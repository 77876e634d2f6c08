"""What `shiftaddaug.load_target` gives to a program."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.nets.test_format1 import FOLDER, LOGITS

import shiftaddaug
from shiftaddaug.errors import UserError


def test_it_is_a_plain_network() -> None:
    net = shiftaddaug.load_target(str(FOLDER))
    images = torch.linspace(-3, 40, 2 * 3 * 16 * 16).view(2, 3, 16, 16).sin()
    torch.testing.assert_close(net(images), torch.tensor(LOGITS), rtol=1e-5, atol=1e-6)
    assert not net.training and not any(each.requires_grad for each in net.parameters())
    trainable = shiftaddaug.load_target(FOLDER, trainable=True)
    assert not trainable.training and all(each.requires_grad for each in trainable.parameters())
    assert trainable.state_dict().keys() == net.state_dict().keys()


def test_what_an_earlier_version_wrote_says_nothing_of_images() -> None:
    net = shiftaddaug.load_target(FOLDER)
    assert net.classes is net.preprocessing is net.task is None
    with pytest.raises(UserError, match="does not say how images are prepared"):
        net.transform(FOLDER / "a.png")


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^path={tmp_path}: no architecture\.json there$"):
        shiftaddaug.load_target(tmp_path)
    with pytest.raises(UserError, match=r"last\.ckpt: a supernet's checkpoint; options: its run's folder"):
        shiftaddaug.load_target(tmp_path / "last.ckpt")
    with pytest.raises(AttributeError, match="no attribute 'load_targets'"):
        shiftaddaug.load_targets  # noqa: B018


def test_importing_the_package_imports_next_to_nothing() -> None:
    line = (
        "import sys, shiftaddaug; dir(shiftaddaug); print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
