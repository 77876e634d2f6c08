"""A convolution as the C core sees it: `Problem` of c/core.h, filled from tensors."""

import ctypes

import torch
from torch import Tensor

from shiftaddaug.kernels.geometry import Geometry

ADD, MULT = 0, 1
FORWARD, INPUT_GRAD, WEIGHT_GRAD = 0, 1, 2

_Pair, _Triple, _Quadruple = ctypes.c_int64 * 2, ctypes.c_int64 * 3, ctypes.c_int64 * 4


class Problem(ctypes.Structure):
    """The struct of c/core.h, field by field."""

    _fields_ = [
        ("arithmetic", ctypes.c_int32),
        ("direction", ctypes.c_int32),
        ("x", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("x_stride", _Triple),
        ("y_stride", _Triple),
        ("out_stride", _Triple),
        ("w_stride", _Quadruple),
        ("images", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("size", _Pair),
        ("filters", ctypes.c_int64),
        ("out_size", _Pair),
        ("kernel", _Pair),
        ("stride", _Pair),
        ("padding", _Pair),
        ("dilation", _Pair),
        ("groups", ctypes.c_int64),
        ("scale", ctypes.c_float),
    ]


def make_problem(
    arithmetic: int, direction: int, x: Tensor, w: Tensor, y: Tensor, out: Tensor, geometry: Geometry, scale: float
) -> Problem:
    """The problem of computing `out`; all tensors float32, on the CPU, with adjacent channels (but for w).

    Args:
        arithmetic: ADD or MULT.
        direction: FORWARD (out is y), INPUT_GRAD (out is dx) or WEIGHT_GRAD (out is dw, contiguous; depthwise only).
        y: (N, F, H', W'), the output or its gradient.
    """
    for tensor in (x, w, y, out):
        assert tensor.dtype is torch.float32, tensor.dtype  # the core would write beyond a narrower one
    images, channels, height, width = x.shape
    filters, out_height, out_width = y.shape[1:]
    (x_image, _, x_row, x_column), (y_image, _, y_row, y_column) = x.stride(), y.stride()
    out_image, _, out_row, out_column = out.stride()
    pointwise = geometry.kernel == geometry.stride == (1, 1) and geometry.padding == (0, 0)
    depthwise = geometry.groups == channels == filters  # divided by images, and its weight gradient summed by them
    if pointwise and not depthwise and all(map(_uniform, (x, y, out) if direction == INPUT_GRAD else (x, y))):
        # one column of pixels: work is then divided, and tiles filled, across images
        images, height, width, out_height, out_width = 1, images * height * width, 1, images * height * width, 1
        x_row, y_row, out_row = x_column, y_column, out_column
    return Problem(
        arithmetic,
        direction,
        x.data_ptr(),
        w.data_ptr(),
        y.data_ptr(),
        out.data_ptr(),
        _Triple(x_image, x_row, x_column),
        _Triple(y_image, y_row, y_column),
        _Triple(out_image, out_row, out_column),
        _Quadruple(*w.stride()),
        images,
        channels,
        _Pair(height, width),
        filters,
        _Pair(out_height, out_width),
        _Pair(*geometry.kernel),
        _Pair(*geometry.stride),
        _Pair(*geometry.padding),
        _Pair(*geometry.dilation),
        geometry.groups,
        scale,
    )


def _uniform(x: Tensor) -> bool:
    """Whether all pixels of all images lie at equal distances."""
    image, _, row, column = x.stride()
    _, _, height, width = x.shape
    return row == width * column and image == height * row
