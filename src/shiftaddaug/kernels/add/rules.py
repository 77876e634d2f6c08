"""The gradients that AdderNet's study compares with the published ones, in terms of any implementation's.

Chen et al., CVPR 2020, arXiv 1912.13200, sections 3.2 and 3.3. By name:

    dY/dX   "clipped": HardTanh(W - X), the published one    "full": W - X    "sign": sign(W - X), the derivative
    dY/dW   "full": X - W, the published one                 "sign": sign(X - W), the derivative

NOTE: sign(0) is 0: equal values ask for no change.

NOTE: signs are computed as HardTanh(2^s (W - X)), of arguments that are scaled before they are subtracted: the
functions of HardTanh serve, and NaN stays visible. Two different numbers of p significant bits, the larger of which is
at least 2^e, are at least 2^(e - p) apart. So the result is the sign itself wherever the larger magnitude of the two is
at least 2^(p - s) and below 2^(128 - s) (2^(1024 - s) in float64). That is from 1.4e-17 to 2.8e14 in float32, from
6.7e-139 to 1.3e154 in float64; half precision is computed in float32. Smaller pairs give a value between 0 and the
sign, and larger ones may give NaN.
"""

from types import ModuleType

import torch
from torch import Tensor

from shiftaddaug.kernels.add.blocks import blocks, buffer_elements, patches_view, slab_of
from shiftaddaug.kernels.add.naive import DENSE_SHARE
from shiftaddaug.kernels.geometry import Geometry, Pair, check_output_gradient, conv2d_geometry
from shiftaddaug.kernels.layout import memory_format_of, plain_weight

INPUT_GRADIENTS = ("clipped", "full", "sign")
WEIGHT_GRADIENTS = ("full", "sign")

SIGN_EXPONENT = {torch.float32: 80, torch.float64: 512}
"""s above, by the dtype that is computed in."""


def check(weight_gradient: str = WEIGHT_GRADIENTS[0], input_gradient: str = INPUT_GRADIENTS[0]) -> tuple[str, str]:
    """Return both rules, if they are known.

    Raises:
        ValueError: one is not.
    """
    for key, rule, known in (
        ("weight_gradient", weight_gradient, WEIGHT_GRADIENTS),
        ("input_gradient", input_gradient, INPUT_GRADIENTS),
    ):
        if rule not in known:
            raise ValueError(f"{key}={rule}: must be one of {', '.join(known)}")
    return weight_gradient, input_gradient


@torch.no_grad()
def input_grad(
    implementation: ModuleType,
    rule: str,
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    scale: float,
) -> Tensor:
    """Gradient with respect to x by one of INPUT_GRADIENTS.

    Args:
        implementation: with the functions of `naive`, that can serve x, and x in float32.
        grad_y, x, w: as in `naive.add_conv2d_input_grad`.

    Returns:
        (N, C, H, W), of x's dtype and layout.

    Raises:
        ValueError: as `naive.add_conv2d_input_grad`; an unknown rule.
    """
    arguments = (stride, padding, dilation, groups, scale)
    if rule == "clipped":
        published: Tensor = implementation.add_conv2d_input_grad(grad_y, x, w, *arguments)
        return published
    if rule == "full":
        return _full_input_grad(grad_y, x, w, *arguments)
    check(input_gradient=rule)
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    far = 2.0 ** SIGN_EXPONENT[_compute_dtype(x)]
    g, inputs, weight = (t.to(_compute_dtype(x)) for t in (grad_y, x, w))
    dx: Tensor = implementation.add_conv2d_input_grad(g, inputs * far, weight * far, *arguments)
    return dx.to(x.dtype).contiguous(memory_format=memory_format_of(x))


@torch.no_grad()
def weight_grad(
    implementation: ModuleType,
    rule: str,
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    scale: float,
) -> Tensor:
    """Gradient with respect to w by one of WEIGHT_GRADIENTS; signs in plain torch, whatever the implementation.

    Args and errors as in `input_grad`.

    Returns:
        (F, C / groups, kh, kw), of w's dtype. As accurate as the device's convolutions and matrix products.
    """
    arguments = (stride, padding, dilation, groups, scale)
    if rule == "full":
        published: Tensor = implementation.add_conv2d_weight_grad(grad_y, x, w, *arguments)
        return published
    check(weight_gradient=rule)
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    dtype = _compute_dtype(x)
    dw = _sign_weight_grad(grad_y.to(dtype), x.to(dtype), w.to(dtype), geometry)
    return dw.mul_(scale).to(w.dtype)


def _full_input_grad(
    grad_y: Tensor, x: Tensor, w: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int, scale: float
) -> Tensor:
    """Return scale * (a convolution's own gradient - X * what reaches X of grad_y).

    Input X[c,q] meets tap t of filter f at the one output position p(q, t), if there is one. So

        sum_{f,t} g[f,p(q,t)] (W[f,c,t] - X[c,q]) = sum_{f,t} g[f,p(q,t)] W[f,c,t] - X[c,q] sum_t G[p(q,t)],

    where f runs over the filters of c's group, and G is the sum of g over those. Both sums over t are transposed
    convolutions; the second has one channel for each group, and weights that are 1. Padding is no input: what would
    reach it falls away in both.
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    if x.shape[0] == 0:
        return torch.zeros_like(x)
    dtype = _compute_dtype(x)
    grad, inputs, weight = grad_y.to(dtype), x.to(dtype), w.to(dtype)
    dx = _transposed(grad, inputs.shape, weight, geometry)
    sums = grad.unflatten(1, (groups, -1)).sum(2)  # (N, G, H', W')
    reaching = _transposed(sums, (x.shape[0], groups, *x.shape[2:]), weight.new_ones(groups, 1, *w.shape[2:]), geometry)
    by_group = (1, (groups, -1))
    dx = dx.unflatten(*by_group).addcmul(inputs.unflatten(*by_group), reaching.unsqueeze(2), value=-1).flatten(1, 2)
    return dx.mul_(scale).to(x.dtype).contiguous(memory_format=memory_format_of(x))


def _transposed(grad_y: Tensor, shape: tuple[int, ...], w: Tensor, geometry: Geometry) -> Tensor:
    """Gradient of a convolution with w with respect to its input, which has that shape."""
    dx: Tensor
    dx, _, _ = torch.ops.aten.convolution_backward(
        grad_y,
        grad_y.new_empty(1).expand(shape),  # its values are not read
        plain_weight(w),
        None,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        False,
        (0, 0),
        geometry.groups,
        (True, False, False),
    )
    return dx


def _sign_weight_grad(grad_y: Tensor, x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    """Unscaled gradient: block by block, filter by filter of a group, the signs of all inputs times grad_y."""
    groups, far = geometry.groups, 2.0 ** SIGN_EXPONENT[w.dtype]
    weight = (w * far).unflatten(0, (groups, -1)).flatten(2).transpose(0, 1).unsqueeze(3)  # (F/G, G, C/G*kh*kw, 1)
    dw = torch.zeros_like(weight)
    for images, rows in blocks(geometry, weight[0].numel(), buffer_elements(x, geometry, DENSE_SHARE)):
        patches = patches_view(slab_of(x, images, rows, geometry), geometry).unflatten(1, (groups, -1))
        # Positions last, as in `naive`: every operation then runs over long rows that share one weight.
        columns = patches.permute(1, 2, 5, 6, 0, 3, 4).reshape(*weight.shape[1:3], -1) * far
        difference = torch.empty_like(columns)
        grad = grad_y[images, :, rows].unflatten(1, (groups, -1)).permute(2, 1, 0, 3, 4)  # (F/G, G, n, rows, W')
        for total, g, f in zip(dw.unbind(0), grad.unbind(0), weight.unbind(0), strict=True):
            torch.sub(columns, f, out=difference).clamp_(-1, 1)
            total.baddbmm_(difference, g.reshape(groups, -1, 1))
    return dw.squeeze(3).transpose(0, 1).reshape(w.shape)


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
