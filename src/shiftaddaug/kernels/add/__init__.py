"""Add convolution: Y = -sum |X - W| over each patch, with AdderNet's published gradients, or those of its study.

`add_conv2d` is differentiable. It and its gradients are torch operators (`torch.ops.shiftaddaug.*`), which
`torch.compile`, autocast and FLOP counting see; `implementation` is the one place that chooses how they are computed.
A pass that is recorded for elsewhere is computed by `recorded`.
"""

from types import ModuleType

import torch
from torch import Tensor

from shiftaddaug.kernels.add import gpu, naive, native, recorded, rules
from shiftaddaug.kernels.add.rules import INPUT_GRADIENTS, WEIGHT_GRADIENTS
from shiftaddaug.kernels.geometry import Geometry, Pair, conv2d_geometry, pair
from shiftaddaug.kernels.registration import Convolution
from shiftaddaug.kernels.tracing import is_recorded

__all__ = [
    "Geometry",
    "Pair",
    "add_conv2d",
    "add_conv2d_input_grad",
    "add_conv2d_weight_grad",
    "conv2d_geometry",
    "describe",
    "implementation",
]


def implementation(x: Tensor) -> ModuleType:
    """The module whose `add_conv2d`, `add_conv2d_input_grad` and `add_conv2d_weight_grad` serve such an input."""
    for fast in (native, gpu):
        if fast.available(x):
            return fast
    return naive


def describe(device: str = "cpu") -> str:
    """One line on how add convolutions are computed on a device, and why not faster."""
    if device == "cuda":
        return "Triton kernels" if gpu.has_triton() else "plain torch: triton is not installed"
    return native.describe()


def _forward(
    x: Tensor,
    w: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    scale: float,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Tensor:
    arguments = (_pair(stride), _pair(padding), _pair(dilation), groups, scale)
    y: Tensor = implementation(x).add_conv2d(x, w, *arguments)
    return y


def _input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    scale: float,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Tensor:
    arguments = (_pair(stride), _pair(padding), _pair(dilation), groups, scale)
    return rules.input_grad(implementation(x), input_gradient, grad_y, x, w, *arguments)


def _weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    scale: float,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Tensor:
    arguments = (_pair(stride), _pair(padding), _pair(dilation), groups, scale)
    return rules.weight_grad(implementation(x), weight_gradient, grad_y, x, w, *arguments).contiguous()


def _geometry(
    x: Tensor,
    w: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    scale: float,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Geometry:
    return conv2d_geometry(x, w, _pair(stride), _pair(padding), _pair(dilation), groups)


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


_add_conv2d = Convolution(
    "add_conv2d",
    _forward,
    _input_grad,
    _weight_grad,
    _geometry,
    autocast=torch.float32,  # a sum of many magnitudes needs the bits
)


def add_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Tensor:
    """Return Y[n,f,p] = -scale sum_k |X[n,k,p] - W[f,k]|, differentiable once (AdderNet, arXiv 1912.13200, 3.1-3.2).

    NOTE: the gradients are by default the published ones, dY/dX = scale HardTanh(W - X) and dY/dW = scale (X - W), not
    the derivatives. Under autocast x and w are cast to float32.

    Args:
        x: (N, C, H, W), floating; half precision is computed in float32.
        w: (F, C / groups, kh, kw), of the same dtype and device; depthwise if groups = C.
        stride, padding, dilation: integers or (vertical, horizontal) pairs; padding adds zeros that take part.
        scale: of the output.
        weight_gradient, input_gradient: by what rules gradients are computed (`rules`).

    Returns:
        (N, F, H', W') of x's dtype; laid out as x is.

    Raises:
        ValueError: arguments that make no convolution (see `conv2d_geometry`), or an unknown rule.
    """
    chosen = rules.check(weight_gradient, input_gradient)
    if is_recorded():
        return recorded.add_conv2d(x, w, stride, padding, dilation, groups, scale)
    geometry = (pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1), groups)
    return _add_conv2d(x, w, *geometry, scale, *chosen)


def add_conv2d_input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    input_gradient: str = INPUT_GRADIENTS[0],
) -> Tensor:
    """Gradient with respect to x; see `naive.add_conv2d_input_grad`, and `rules` for others."""
    arguments = (stride, padding, dilation, groups, scale)
    return rules.input_grad(implementation(x), input_gradient, grad_y, x, w, *arguments)


def add_conv2d_weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
    weight_gradient: str = WEIGHT_GRADIENTS[0],
) -> Tensor:
    """Gradient with respect to w; see `naive.add_conv2d_weight_grad`, and `rules` for others."""
    arguments = (stride, padding, dilation, groups, scale)
    return rules.weight_grad(implementation(x), weight_gradient, grad_y, x, w, *arguments)
