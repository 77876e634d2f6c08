"""The depthwise Triton kernels of `gpu`: every result is independent, and loads limit them. Importing imports triton.

The kernel's columns are unrolled, its rows are not: with both, a 7 x 7 kernel takes half a minute to compile.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc"
# Triton reads annotations itself: none but tl.constexpr may stand in a kernel.

import triton
import triton.language as tl

from shiftaddaug.kernels.add.gpu_kernels import COUNTS, positions, wide
from shiftaddaug.kernels.add.gpu_tuning import DEPTHWISE_TILES, tuned


@tuned(DEPTHWISE_TILES, across="channels")
@triton.jit(do_not_specialize=[*COUNTS])
def depthwise_forward(
    x_ptr,
    w_ptr,
    y_ptr,
    x_strides,
    w_strides,
    y_strides,
    images,
    channels,
    filters,  # of a channel
    height,
    width,
    out_height,
    out_width,
    kernel_h,
    kernel_w: tl.constexpr,
    stride,
    padding,
    dilation,
    scale,
    size_class,
    ADJACENT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Compute the outputs. Programs: (positions x filters,)."""
    x_n, x_c, x_h, x_w = wide(x_strides)
    y_n, y_c, y_h, y_w = wide(y_strides)
    tiles = tl.cdiv(channels * filters, BLOCK_C)
    f = (tl.program_id(0) % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    first_p = (tl.program_id(0) // tiles).to(tl.int64) * BLOCK_P
    n, row, column = positions(first_p, tl.arange(0, BLOCK_P), out_height, out_width)
    top = row * stride[0] - padding[0]
    left = column * stride[1] - padding[1]
    mask = (f < channels * filters)[:, None] & (n < images)[None]
    x_patch = x_ptr + (f // filters * x_c)[:, None] + (n * x_n + top * x_h + left * x_w)[None]

    total = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    for i in range(kernel_h):
        down = i * dilation[0]
        x_row = x_patch + down * x_h
        if ADJACENT:
            x_row = tl.multiple_of(tl.max_contiguous(x_row, (1, BLOCK_P)), (1, 1))
        row_mask = mask & ((top + down >= 0) & (top + down < height))[None]
        for j in tl.static_range(kernel_w):
            across = j * dilation[1]
            inside = (left + across >= 0) & (left + across < width)
            x_tap = x_row + across * x_w
            if ADJACENT:
                x_tap = tl.multiple_of(tl.max_contiguous(x_tap, (1, BLOCK_P)), (1, 1))
            x = tl.load(x_tap, mask=row_mask & inside[None], other=0.0).to(tl.float32)
            w_tap = w_ptr + f * w_strides[0] + (i * w_strides[2] + j * w_strides[3])
            w = tl.load(w_tap, mask=f < channels * filters, other=0.0).to(tl.float32)
            total += tl.abs(x - w[:, None])

    place = (f * y_c)[:, None] + (n * y_n + row * y_h + column * y_w)[None]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, BLOCK_P)), (1, 1))
    tl.store(y_ptr + place, (-scale * total).to(y_ptr.dtype.element_ty), mask=mask)


@tuned(DEPTHWISE_TILES, across="channels")
@triton.jit(do_not_specialize=[*COUNTS])
def depthwise_input_grad(
    g_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    g_strides,
    x_strides,
    w_strides,
    dx_strides,
    images,
    channels,
    filters,  # of a channel
    height,
    width,
    out_height,
    out_width,
    kernel_h,
    kernel_w: tl.constexpr,
    stride,
    padding,
    dilation,
    scale,
    size_class,
    ADJACENT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Compute the input gradient. Programs: (positions of a phase x channels, 1, phases), as in `dense_input_grad`."""
    g_n, g_c, g_h, g_w = wide(g_strides)
    x_n, x_c, x_h, x_w = wide(x_strides)
    dx_n, dx_c, dx_h, dx_w = wide(dx_strides)
    tiles = tl.cdiv(channels, BLOCK_C)
    c = (tl.program_id(0) % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    first_p = (tl.program_id(0) // tiles).to(tl.int64) * BLOCK_P
    phase_h = tl.program_id(2) // stride[1]
    phase_w = tl.program_id(2) % stride[1]
    rows = tl.cdiv(height, stride[0])
    columns = tl.cdiv(width, stride[1])
    n, row, column = positions(first_p, tl.arange(0, BLOCK_P), rows, columns)
    top = row * stride[0] + phase_h
    left = column * stride[1] + phase_w
    mask = (c < channels)[:, None] & ((n < images) & (top < height) & (left < width))[None]
    place = (c * x_c)[:, None] + (n * x_n + top * x_h + left * x_w)[None]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, BLOCK_P)), (1, 1))
    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)

    total = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    for multiple in range(filters):
        f = c * filters + multiple
        g_image = g_ptr + (f * g_c)[:, None] + (n * g_n + row * g_h + column * g_w)[None]
        for i in range(kernel_h):
            down = phase_h + padding[0] - i * dilation[0]
            if down % stride[0] == 0:
                d_row = down // stride[0]
                g_row = g_image + d_row * g_h
                if ADJACENT:
                    g_row = tl.multiple_of(tl.max_contiguous(g_row, (1, BLOCK_P)), (1, 1))
                row_mask = mask & ((row + d_row >= 0) & (row + d_row < out_height))[None]
                for j in tl.static_range(kernel_w):
                    across = phase_w + padding[1] - j * dilation[1]
                    if across % stride[1] == 0:
                        d_column = across // stride[1]
                        inside = (column + d_column >= 0) & (column + d_column < out_width)
                        g_tap = g_row + d_column * g_w
                        if ADJACENT:
                            g_tap = tl.multiple_of(tl.max_contiguous(g_tap, (1, BLOCK_P)), (1, 1))
                        g = tl.load(g_tap, mask=row_mask & inside[None], other=0.0).to(tl.float32)
                        w_tap = w_ptr + f * w_strides[0] + (i * w_strides[2] + j * w_strides[3])
                        w = tl.load(w_tap, mask=c < channels, other=0.0).to(tl.float32)
                        slope = tl.clamp(w[:, None] - x, -1.0, 1.0, tl.PropagateNan.ALL)
                        total += tl.where(row_mask & inside[None], g * slope, 0.0)  # 0 * nan would be nan

    place = (c * dx_c)[:, None] + (n * dx_n + top * dx_h + left * dx_w)[None]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, BLOCK_P)), (1, 1))
    tl.store(dx_ptr + place, (scale * total).to(dx_ptr.dtype.element_ty), mask=mask)
