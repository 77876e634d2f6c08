"""What nodes without a module compute: enlargements, borders and gates, against torch's own modules."""

from collections.abc import Callable

import pytest
import torch
from tests.build import images
from torch import Tensor, nn

from shiftaddaug.nets.functions import FUNCTIONS
from shiftaddaug.nets.nodes import Node


def computed(kind: str, *inputs: Tensor, mode: str = "", multiple: int = 1) -> Tensor:
    node = Node("node", kind, ("x", "y")[: len(inputs)], "a", (1, 1), mode=mode, multiple=multiple)
    return FUNCTIONS[kind](node, inputs)


@pytest.mark.parametrize(
    ("mode", "theirs"),
    [
        ("", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)),
        ("aligned", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        ("nearest", nn.Upsample(scale_factor=2, mode="nearest")),
    ],
)
def test_an_enlargement_to_twice_the_size_is_torchs_by_a_factor(mode: str, theirs: nn.Module) -> None:
    x, like = images(size=(3, 5), dtype=torch.float64), images(channels=1, size=(6, 10))
    assert torch.equal(computed("upsample", x, like, mode=mode), theirs(x))


@pytest.mark.parametrize("size", [(5, 9), (8, 12), (1, 1)])
def test_what_is_padded_is_cropped_to_what_it_was(size: tuple[int, int]) -> None:
    x = images(size=size)
    padded = computed("pad", x, multiple=4)
    assert [side % 4 for side in padded.shape[2:]] == [0, 0]
    assert all(side - was < 4 for side, was in zip(padded.shape[2:], size, strict=True))
    assert torch.equal(computed("crop", padded, x), x)
    assert padded.count_nonzero() == x.count_nonzero()


@pytest.mark.parametrize(("mode", "function"), [("", nn.Hardsigmoid()), ("sigmoid", nn.Sigmoid())])
def test_a_gate_multiplies_by_what_its_mode_says(mode: str, function: Callable[[Tensor], Tensor]) -> None:
    x, gate = images(size=4), 4 * images(size=1, seed=2)
    assert torch.equal(computed("gate", x, gate, mode=mode), x * function(gate))
