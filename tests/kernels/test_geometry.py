"""What makes no convolution: said once, for every implementation."""

import pytest
import torch

from shiftaddaug.kernels.geometry import check_output_gradient, conv2d_geometry
from tests.kernels.cases import MISTAKES, WRONG_GRADIENTS, mistaken

DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_what_makes_no_convolution_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv2d_geometry(**DEFAULTS | mistaken(changes))


@pytest.mark.parametrize("gradient", WRONG_GRADIENTS)
def test_a_gradient_unlike_the_output_is_refused(gradient: torch.Tensor) -> None:
    geometry = conv2d_geometry(**DEFAULTS | mistaken({}))
    assert geometry.output_shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="output"):
        check_output_gradient(gradient, torch.zeros(2, 4, 6, 6), geometry)
