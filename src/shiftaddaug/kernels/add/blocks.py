"""Cutting a convolution into blocks of images and output rows, and viewing the inputs that a block reads."""

from collections.abc import Iterator

import torch
from torch import Tensor

from shiftaddaug.kernels.geometry import Geometry

CPU_BUFFER_ELEMENTS = (2**15, 2**18)
"""Least and most elements of a block's buffer. Measured: smaller ones drown in the cost of calling an operation,
larger ones leave the cache; both with 1 and with 2 threads."""
ACCELERATOR_BUFFER_ELEMENTS = (2**20, 2**24)
"""NOTE: chosen for few kernel launches, not measured."""


def buffer_elements(x: Tensor, geometry: Geometry, share: int) -> int:
    """Elements of one buffer of a block: a share of the layer's larger tensor, so that the few buffers of a block
    stay below it together, within bounds that keep the work fast."""
    least, most = CPU_BUFFER_ELEMENTS if x.device.type == "cpu" else ACCELERATOR_BUFFER_ELEMENTS
    n, filters, height, width = geometry.output_shape
    return min(most, max(least, max(x.numel(), n * filters * height * width) // share))


def blocks(geometry: Geometry, elements: int, buffer_elements: int) -> Iterator[tuple[slice, slice]]:
    """Images and output rows, block by block; one output position needs that many elements of a buffer."""
    images, _, height, width = geometry.output_shape
    rows_at_once = max(1, buffer_elements // (elements * width))
    images_at_once = max(1, rows_at_once // height)
    for first_image, last_image in _even_split(images, images_at_once):
        for first_row, last_row in _even_split(height, rows_at_once):
            yield slice(first_image, last_image), slice(first_row, last_row)


def _even_split(total: int, most: int) -> Iterator[tuple[int, int]]:
    parts = -(-total // most)
    for part in range(parts):
        yield part * total // parts, (part + 1) * total // parts


def input_rows(rows: slice, geometry: Geometry) -> tuple[int, int]:
    """First and one-past-last input row that these output rows read; rows outside the image are padding."""
    top = rows.start * geometry.stride[0] - geometry.padding[0]
    last = (rows.stop - 1) * geometry.stride[0] - geometry.padding[0]
    return top, last + geometry.dilation[0] * (geometry.kernel[0] - 1) + 1


def slab_of(
    x: Tensor,
    images: slice,
    rows: slice,
    geometry: Geometry,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """The zero-padded input that these output rows read: (n, C, input rows, padded width); a view if unpadded."""
    top, bottom = input_rows(rows, geometry)
    pad = geometry.padding[1]
    inside = [min(max(row, 0), x.shape[2]) for row in (top, bottom)]
    part = x[images, :, inside[0] : inside[1]]
    if pad == 0 and inside == [top, bottom]:
        return part
    shape = (part.shape[0], x.shape[1], bottom - top, x.shape[3] + 2 * pad)
    slab = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format).zero_()
    if part.shape[2]:
        slab[:, :, inside[0] - top : inside[1] - top, pad : pad + x.shape[3]] = part
    return slab


def add_slab(dx: Tensor, slab: Tensor, images: slice, rows: slice, geometry: Geometry) -> None:
    """Adds to dx what a slab (as `slab_of` gives) holds inside the image."""
    top, bottom = input_rows(rows, geometry)
    pad = geometry.padding[1]
    inside = [min(max(row, 0), dx.shape[2]) for row in (top, bottom)]
    if inside[0] < inside[1]:
        part = slab[:, :, inside[0] - top : inside[1] - top, pad : pad + dx.shape[3]]
        dx[images, :, inside[0] : inside[1]] += part


def patches_view(slab: Tensor, geometry: Geometry) -> Tensor:
    """View of a slab as (n, C, output rows, W', kh, kw)."""
    patches = slab
    for axis in (0, 1):
        span = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1
        patches = patches.unfold(2 + axis, span, geometry.stride[axis])[..., :: geometry.dilation[axis]]
    return patches


def taps(geometry: Geometry) -> Iterator[tuple[int, int]]:
    """Row and column of each kernel element."""
    return ((i, j) for i in range(geometry.kernel[0]) for j in range(geometry.kernel[1]))


def tap_inputs(slab: Tensor, i: int, j: int, rows: slice, geometry: Geometry) -> Tensor:
    """View of the slab's elements that kernel element (i, j) meets: (n, C, output rows, W')."""
    (down, across), (top, left) = geometry.stride, (i * geometry.dilation[0], j * geometry.dilation[1])
    bottom = top + (rows.stop - rows.start - 1) * down + 1
    right = left + (geometry.output_shape[3] - 1) * across + 1
    return slab[:, :, top:bottom:down, left:right:across]
