"""The dense Triton kernels of `gpu`, and what they share with the depthwise ones. Importing this imports triton.

A dense kernel keeps a tile of results in registers and goes once over all inputs of a patch. What limits it is the
rate of instructions: 2 per MAC forward (subtract; add the magnitude, the sign costs nothing), 3 for the input
gradient (subtract; clip, one xorsign.abs minimum on Hopper; multiply-add). All else has to be rare:

* Registers are tiled by shape. Triton spreads a tensor's last axes over lanes and warps and leaves the rest to each
  thread. So tiles have the axes (A, B, LANES_A, LANES_B), with LANES_A * LANES_B threads that own A x B results each:
  at 8 x 8 and BLOCK_K = 4, 16 loads of 128 bits from shared memory serve 512 additions. Of a plain 128 x 64 tile a
  thread would own 64 x 1 results, and need four times the loads.
* The BLOCK_K inputs of a step are a fifth axis of the differences, in front, which is summed at once; it exists in
  registers only. A loop over single inputs that subtracts a row from a column would be the textbook's, but Triton
  cannot take these out of a block in shared memory: every thread would load its own from global memory.
* What depends on the kernel element (places, masks) stays outside the loop over channels.
* Neighbouring lanes should touch neighbouring elements. Triton sees by itself that channels are adjacent (stride 1),
  but not that positions are, and some versions then spread lanes over other axes. Hence max_contiguous, where the
  caller says ADJACENT. It is not true at the ends of rows: multiple_of 1 keeps every access to a single element.
  Both count only where the last operation makes the places: not before, and not in a function called with them.

Compiled for Hopper, the terms are 9 of 10 instructions of the inner loop (3.25 to 3.5 per MAC of the input gradient:
the sum over BLOCK_K is not all multiply-adds).

The terms of a result are added in an order that no tile changes: results do not depend on the tuning. Strides count
elements; places in x, y and their gradients have 64 bits, places in w 32.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc"
# Triton reads annotations itself: none but tl.constexpr may stand in a kernel.

import triton
import triton.language as tl

from shiftaddaug.kernels.add.gpu_tuning import FORWARD_TILES, INPUT_GRAD_TILES, tuned

BLOCK_K = tl.constexpr(4)
"""Inputs per step; a thread's share of 8 does not fit into its registers."""
COUNTS = ("images", "height", "width", "out_height", "out_width", "kernel_h", "size_class")
"""Integers for which no kernel of its own is compiled where they are 1 or divisible by 16: it would not be faster."""


@triton.jit
def wide(strides):
    """Strides in 64 bits."""
    return (
        tl.cast(strides[0], tl.int64),
        tl.cast(strides[1], tl.int64),
        tl.cast(strides[2], tl.int64),
        tl.cast(strides[3], tl.int64),
    )


@triton.jit
def positions(first, index, height, width):
    """Image, row and column of positions first + index, counted through images of that size."""
    image = first // (height * width)  # of a scalar: one 64-bit division a tile
    rest = (first - image * (height * width)).to(tl.int32) + index
    return image + rest // (height * width), rest % (height * width) // width, rest % width


@triton.jit
def _owned(OWN: tl.constexpr, LANES: tl.constexpr):
    """Return (OWN, LANES) indices: neighbouring lanes own neighbours."""
    return tl.arange(0, OWN)[:, None] * LANES + tl.arange(0, LANES)[None, :]


@triton.jit
def _flat(tile, A: tl.constexpr, B: tl.constexpr, LANES_A: tl.constexpr, LANES_B: tl.constexpr):
    """Return (A, B, LANES_A, LANES_B) as (filters or channels, positions)."""
    return tl.reshape(tl.permute(tile, (1, 3, 0, 2)), (B * LANES_B, A * LANES_A))


@tuned(FORWARD_TILES, across="filters")
@triton.jit(do_not_specialize=[*COUNTS, "kernel_w"])
def dense_forward(
    x_ptr,
    w_ptr,
    y_ptr,
    x_strides,
    w_strides,
    y_strides,
    images,
    channels,  # of a group
    filters,  # of a group
    height,
    width,
    out_height,
    out_width,
    kernel_h,
    kernel_w,
    stride,
    padding,
    dilation,
    scale,
    size_class,
    ADJACENT: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    LANES_A: tl.constexpr,
    LANES_B: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute the outputs. Programs: (positions x filters of a group, groups)."""
    x_n, x_c, x_h, x_w = wide(x_strides)
    y_n, y_c, y_h, y_w = wide(y_strides)
    tiles = tl.cdiv(filters, B * LANES_B)
    first_f = (tl.program_id(0) % tiles) * (B * LANES_B)
    first_p = (tl.program_id(0) // tiles).to(tl.int64) * (A * LANES_A)
    group = tl.program_id(1)

    n, row, column = positions(first_p, _owned(A, LANES_A), out_height, out_width)
    top = row * stride[0] - padding[0]
    left = column * stride[1] - padding[1]
    x_patch = x_ptr + group * channels * x_c + n * x_n + top * x_h + left * x_w
    f = first_f + _owned(B, LANES_B)
    w_filter = w_ptr + (group * filters + f) * w_strides[0]
    k = tl.arange(0, BLOCK_K)[:, None, None]

    total = tl.zeros((A, B, LANES_A, LANES_B), tl.float32)
    for i in range(kernel_h):
        for j in range(kernel_w):
            down = i * dilation[0]
            across = j * dilation[1]
            inside = (top + down >= 0) & (top + down < height) & (left + across >= 0) & (left + across < width)
            x_mask = (inside & (n < images))[None]
            x_tap = x_patch[None] + (down * x_h + across * x_w) + k * x_c
            if ADJACENT:
                x_tap = tl.multiple_of(tl.max_contiguous(x_tap, (1, 1, LANES_A)), (1, 1, 1))
            w_tap = w_filter[None] + (i * w_strides[2] + j * w_strides[3]) + k * w_strides[1]
            for c in tl.range(0, channels, BLOCK_K, num_stages=STAGES):
                x = tl.load(x_tap, mask=x_mask & (c + k < channels), other=0.0).to(tl.float32)
                w = tl.load(w_tap, mask=(f < filters)[None] & (c + k < channels), other=0.0).to(tl.float32)
                total += tl.sum(tl.abs(x[:, :, None, :, None] - w[:, None, :, None, :]), axis=0)
                x_tap += BLOCK_K * x_c
                w_tap += BLOCK_K * w_strides[1]

    n, row, column = positions(first_p, tl.arange(0, A * LANES_A), out_height, out_width)
    f = first_f + tl.arange(0, B * LANES_B)
    place = ((group * filters + f) * y_c)[:, None] + (n * y_n + row * y_h + column * y_w)[None]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, A * LANES_A)), (1, 1))
    y = _flat(-scale * total, A, B, LANES_A, LANES_B).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + place, y, mask=(f < filters)[:, None] & (n < images)[None])


@tuned(INPUT_GRAD_TILES, across="channels")
@triton.jit(do_not_specialize=[*COUNTS, "kernel_w"])
def dense_input_grad(
    g_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    g_strides,
    x_strides,
    w_strides,
    dx_strides,
    images,
    channels,  # of a group
    filters,  # of a group
    height,
    width,
    out_height,
    out_width,
    kernel_h,
    kernel_w,
    stride,
    padding,
    dilation,
    scale,
    size_class,
    ADJACENT: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    LANES_A: tl.constexpr,
    LANES_B: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Compute the input gradient. Programs: (positions of a phase x channels of a group, groups, phases).

    Gradients are gathered. Inputs whose rows and columns leave the same remainders by the stride meet the same kernel
    elements, and neighbours among them meet neighbouring outputs: they are a phase, which spends nothing on gradients
    that are not.
    """
    g_n, g_c, g_h, g_w = wide(g_strides)
    x_n, x_c, x_h, x_w = wide(x_strides)
    dx_n, dx_c, dx_h, dx_w = wide(dx_strides)
    tiles = tl.cdiv(channels, B * LANES_B)
    first_c = (tl.program_id(0) % tiles) * (B * LANES_B)
    first_p = (tl.program_id(0) // tiles).to(tl.int64) * (A * LANES_A)
    group = tl.program_id(1)
    phase_h = tl.program_id(2) // stride[1]
    phase_w = tl.program_id(2) % stride[1]
    rows = tl.cdiv(height, stride[0])
    columns = tl.cdiv(width, stride[1])

    n, row, column = positions(first_p, _owned(A, LANES_A), rows, columns)
    top = row * stride[0] + phase_h
    left = column * stride[1] + phase_w
    c = first_c + _owned(B, LANES_B)
    live = (n < images) & (top < height) & (left < width)
    place = (n * x_n + top * x_h + left * x_w)[:, None, :, None] + ((group * channels + c) * x_c)[None, :, None, :]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, 1, LANES_A, 1)), (1, 1, 1, 1))
    x = tl.load(x_ptr + place, mask=live[:, None, :, None] & (c < channels)[None, :, None, :], other=0.0).to(tl.float32)
    g_image = g_ptr + group * filters * g_c + n * g_n + row * g_h + column * g_w
    w_channel = w_ptr + group * filters * w_strides[0] + c * w_strides[1]
    k = tl.arange(0, BLOCK_K)[:, None, None]

    total = tl.zeros((A, B, LANES_A, LANES_B), tl.float32)
    for i in range(kernel_h):
        down = phase_h + padding[0] - i * dilation[0]
        for j in range(kernel_w):
            across = phase_w + padding[1] - j * dilation[1]
            if (down % stride[0] == 0) & (across % stride[1] == 0):
                d_row = down // stride[0]
                d_column = across // stride[1]
                inside = (row + d_row >= 0) & (row + d_row < out_height)
                inside &= (column + d_column >= 0) & (column + d_column < out_width)
                g_mask = (live & inside)[None]
                g_tap = g_image[None] + (d_row * g_h + d_column * g_w) + k * g_c
                if ADJACENT:
                    g_tap = tl.multiple_of(tl.max_contiguous(g_tap, (1, 1, LANES_A)), (1, 1, 1))
                w_tap = w_channel[None] + (i * w_strides[2] + j * w_strides[3]) + k * w_strides[0]
                for f in tl.range(0, filters, BLOCK_K, num_stages=STAGES):
                    g = tl.load(g_tap, mask=g_mask & (f + k < filters), other=0.0).to(tl.float32)
                    w = tl.load(w_tap, mask=(c < channels)[None] & (f + k < filters), other=0.0).to(tl.float32)
                    slope = tl.clamp(w[:, None, :, None, :] - x[None], -1.0, 1.0, tl.PropagateNan.ALL)
                    total += tl.sum(g[:, :, None, :, None] * slope, axis=0)
                    g_tap += BLOCK_K * g_c
                    w_tap += BLOCK_K * w_strides[0]

    n, row, column = positions(first_p, tl.arange(0, A * LANES_A), rows, columns)
    top = row * stride[0] + phase_h
    left = column * stride[1] + phase_w
    c = first_c + tl.arange(0, B * LANES_B)
    place = ((group * channels + c) * dx_c)[:, None] + (n * dx_n + top * dx_h + left * dx_w)[None]
    if ADJACENT:
        place = tl.multiple_of(tl.max_contiguous(place, (1, A * LANES_A)), (1, 1))
    dx = _flat(scale * total, A, B, LANES_A, LANES_B).to(dx_ptr.dtype.element_ty)
    tl.store(dx_ptr + place, dx, mask=(c < channels)[:, None] & ((n < images) & (top < height) & (left < width))[None])
