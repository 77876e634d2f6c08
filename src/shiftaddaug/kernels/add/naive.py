"""Add convolution in plain torch operations: the law for every faster path, on any device.

Forward and gradients as AdderNet publishes them (Chen et al., CVPR 2020, arXiv 1912.13200, sections 3.1 and 3.2):

    Y[n,f,p] = -sum_k |X[n,k,p] - W[f,k]|        k runs over the C / groups * kh * kw inputs of patch p
    dY/dX = HardTanh(W - X)                      clipped to [-1, 1]
    dY/dW = X - W                                the difference itself, not its sign

Outputs, and with them all gradients, are multiplied by `scale`. Padded inputs are zeros and take part like any other:
they contribute -|0 - w|.

Memory: no array of filters x inputs x positions exists. Work goes through blocks of images (of output rows where
one image is too large) whose buffers hold a bounded number of elements. Float16 and bfloat16 are computed in
float32 and returned in their own dtype. Arguments are never written to; nothing here records gradients.
"""

import torch
from torch import Tensor

from shiftaddaug.kernels.add.blocks import (
    add_slab,
    blocks,
    buffer_elements,
    input_rows,
    patches_view,
    slab_of,
    tap_inputs,
    taps,
)
from shiftaddaug.kernels.geometry import Geometry, Pair, check_output_gradient, conv2d_geometry
from shiftaddaug.kernels.layout import memory_format_of, plain_weight

DENSE_SHARE, DEPTHWISE_SHARE = 2, 8
"""A block's buffer holds at most this fraction of the layer's larger tensor: a few of them live at once, and together
they should not outgrow what a convolution copies to lay out its arguments (tests/kernels measure both)."""


@torch.no_grad()
def add_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Return Y = -scale * sum |X - W| over each patch.

    Args:
        x: (N, C, H, W), floating.
        w: (F, C / groups, kh, kw), of the same dtype and device; depthwise if groups = C.

    Returns:
        (N, F, H', W') of x's dtype and layout.

    Raises:
        ValueError: arguments that make no convolution (see `conv2d_geometry`).
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    dtype = _compute_dtype(x)
    y = torch.empty(geometry.output_shape, dtype=dtype, device=x.device, memory_format=memory_format_of(x))
    forward = _depthwise_forward if geometry.depthwise else _dense_forward
    forward(x.to(y.dtype), w.to(y.dtype), y, geometry)
    return y.mul_(scale).to(x.dtype)


@torch.no_grad()
def add_conv2d_input_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Gradient with respect to x: scale * sum over filters of grad_y * HardTanh(W - X).

    Args:
        grad_y: (N, F, H', W'), shaped and typed like the output.
        x, w: as in `add_conv2d`.

    Returns:
        (N, C, H, W), of x's dtype and layout.

    Raises:
        ValueError: arguments that make no convolution, or a gradient unlike the output.
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    dtype = _compute_dtype(x)
    dx = torch.zeros(x.shape, dtype=dtype, device=x.device).contiguous(memory_format=memory_format_of(x))
    backward = _depthwise_input_grad if geometry.depthwise else _dense_input_grad
    backward(grad_y.to(dtype), x.to(dtype), w.to(dtype), dx, geometry)
    return dx.mul_(scale).to(x.dtype)


@torch.no_grad()
def add_conv2d_weight_grad(
    grad_y: Tensor,
    x: Tensor,
    w: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Gradient with respect to w: scale * (a convolution's own - W * sum(grad_y) over images and positions).

    sum_p g[f,p] (X[k,p] - W[f,k]) = sum_p g[f,p] X[k,p] - W[f,k] sum_p g[f,p]; padded X are zeros, and their
    positions count in the second sum, so it runs over all outputs.

    Args and errors as in `add_conv2d_input_grad`.

    Returns:
        (F, C / groups, kh, kw), of w's dtype. As accurate as the device's convolutions (which may use TF32).
    """
    geometry = conv2d_geometry(x, w, stride, padding, dilation, groups)
    check_output_gradient(grad_y, x, geometry)
    dtype = _compute_dtype(x)
    grad, inputs, weight = grad_y.to(dtype), x.to(dtype), w.to(dtype)
    if x.shape[0] == 0:
        return torch.zeros_like(w)
    if geometry.depthwise:
        dw = torch.zeros_like(weight)
        image = max(x[0].numel(), grad_y[0].numel())
        step = max(1, buffer_elements(x, geometry, DEPTHWISE_SHARE) // image)
        for first in range(0, x.shape[0], step):
            # Torch's depthwise weight gradient is several times faster in channels_last, copies included.
            g, i = (t[first : first + step].contiguous(memory_format=torch.channels_last) for t in (grad, inputs))
            dw += _convolution_weight_grad(g, i, weight, geometry)
    else:
        dw = _convolution_weight_grad(grad, inputs, weight, geometry)
    dw.addcmul_(weight, grad.sum((0, 2, 3)).view(-1, 1, 1, 1), value=-1)
    return dw.mul_(scale).to(w.dtype)


def _convolution_weight_grad(grad_y: Tensor, x: Tensor, w: Tensor, geometry: Geometry) -> Tensor:
    dw: Tensor
    _, dw, _ = torch.ops.aten.convolution_backward(
        grad_y,
        x,
        plain_weight(w),
        None,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        False,
        (0, 0),
        geometry.groups,
        (False, True, False),
    )
    return dw


def _dense_forward(x: Tensor, w: Tensor, y: Tensor, geometry: Geometry) -> None:
    groups = geometry.groups
    weight = w.unflatten(0, (groups, -1)).permute(0, 1, 3, 4, 2).flatten(2)  # (G, F/G, kh*kw*C/G)
    elements = max(weight[:, 0].numel(), w.shape[0])
    for images, rows in blocks(geometry, elements, buffer_elements(x, geometry, DENSE_SHARE)):
        slab = slab_of(x, images, rows, geometry, torch.channels_last)
        patches = patches_view(slab, geometry).unflatten(1, (groups, -1))  # (n, G, C/G, rows, W', kh, kw)
        columns = patches.permute(1, 0, 3, 4, 5, 6, 2).reshape(groups, -1, weight.shape[2])
        distance = torch.cdist(weight, columns, p=1.0)
        part = y[images, :, rows].unflatten(1, (groups, -1))
        n, _, _, height, width = part.shape
        part.copy_(distance.neg_().view(groups, -1, n, height, width).permute(2, 0, 1, 3, 4))


def _dense_input_grad(grad_y: Tensor, x: Tensor, w: Tensor, dx: Tensor, geometry: Geometry) -> None:
    groups = geometry.groups
    weight = w.unflatten(0, (groups, -1)).flatten(2).transpose(0, 1).unsqueeze(3)  # (F/G, G, C/G*kh*kw, 1)
    elements = weight[0].numel()
    for images, rows in blocks(geometry, elements, buffer_elements(x, geometry, DENSE_SHARE)):
        patches = patches_view(slab_of(x, images, rows, geometry), geometry).unflatten(1, (groups, -1))
        # Positions last: every operation below then runs over long rows that share one weight.
        columns = patches.permute(1, 2, 5, 6, 0, 3, 4).reshape(*weight.shape[1:3], -1).contiguous()
        difference, total = torch.empty_like(columns), torch.zeros_like(columns)
        grad = grad_y[images, :, rows].unflatten(1, (groups, -1)).permute(2, 1, 0, 3, 4)  # (F/G, G, n, rows, W')
        filters_per_copy = max(1, elements // groups)
        for some_grad, some_weight in zip(grad.split(filters_per_copy), weight.split(filters_per_copy), strict=True):
            rows_of_grad = some_grad.reshape(some_grad.shape[0], groups, 1, -1).contiguous()
            for g, f in zip(rows_of_grad.unbind(0), some_weight.unbind(0), strict=True):
                torch.sub(f, columns, out=difference).clamp_(-1, 1)
                total.addcmul_(difference, g)
        _add_patches(dx, total, images, rows, geometry)


def _add_patches(dx: Tensor, columns: Tensor, images: slice, rows: slice, geometry: Geometry) -> None:
    """Adds columns (G, C/G*kh*kw, n*rows*W') to the elements of dx that they were read from."""
    values = columns.view(dx.shape[1], *geometry.kernel, -1, rows.stop - rows.start, geometry.output_shape[3])
    top, bottom = input_rows(rows, geometry)
    width = dx.shape[3] + 2 * geometry.padding[1]
    slab = columns.new_zeros(values.shape[3], dx.shape[1], bottom - top, width)
    for i, j in taps(geometry):
        tap_inputs(slab, i, j, rows, geometry).add_(values[:, i, j].transpose(0, 1))
    add_slab(dx, slab, images, rows, geometry)


def _depthwise_forward(x: Tensor, w: Tensor, y: Tensor, geometry: Geometry) -> None:
    weight = w.unflatten(0, (geometry.groups, -1))  # (C, filters per channel, 1, kh, kw)
    for images, rows in blocks(geometry, x.shape[1], buffer_elements(x, geometry, DEPTHWISE_SHARE)):
        # Channels last: the weights of a tap then lie along the inputs that they meet.
        slab = slab_of(x, images, rows, geometry, torch.channels_last).contiguous(memory_format=torch.channels_last)
        part = y[images, :, rows].unflatten(1, (geometry.groups, -1))
        difference, total = (_channels_last_like(part[:, :, 0]) for _ in range(2))
        for multiple in range(weight.shape[1]):
            total.zero_()
            for i, j in taps(geometry):
                tap_weight = weight[:, multiple, :, i, j, None].contiguous()
                inputs = tap_inputs(slab, i, j, rows, geometry)
                total.sub_(torch.sub(inputs, tap_weight, out=difference).abs_())
            part[:, :, multiple] = total


def _depthwise_input_grad(grad_y: Tensor, x: Tensor, w: Tensor, dx: Tensor, geometry: Geometry) -> None:
    weight = w.unflatten(0, (geometry.groups, -1))
    for images, rows in blocks(geometry, x.shape[1], buffer_elements(x, geometry, DEPTHWISE_SHARE)):
        slab = slab_of(x, images, rows, geometry, torch.channels_last).contiguous(memory_format=torch.channels_last)
        total = torch.zeros_like(slab)
        part = grad_y[images, :, rows].unflatten(1, (geometry.groups, -1))
        difference = _channels_last_like(part[:, :, 0])
        for multiple in range(weight.shape[1]):
            grad = part[:, :, multiple].contiguous(memory_format=torch.channels_last)
            for i, j in taps(geometry):
                tap_weight = weight[:, multiple, :, i, j, None].contiguous()
                inputs = tap_inputs(slab, i, j, rows, geometry)
                torch.sub(tap_weight, inputs, out=difference).clamp_(-1, 1)
                tap_inputs(total, i, j, rows, geometry).addcmul_(difference, grad)
        add_slab(dx, total, images, rows, geometry)


def _channels_last_like(part: Tensor) -> Tensor:
    return torch.empty(part.shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
