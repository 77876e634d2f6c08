"""The convolutions that benchmarks/operators.py compares: shapes, our layers, torch's, and two common formulations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from shiftaddaug.kernels.add import add_conv2d

FLOAT_BYTES = 4
CDIST_BLOCK_ELEMENTS = 2**18
"""Of the columns whose gradient is computed at once: 1 MiB stays in the cache."""


@dataclass(frozen=True)
class Shape:
    """A square convolution with padding kernel // 2."""

    name: str
    channels: int
    filters: int
    kernel: int
    size: int
    """Side of the input, pixels."""
    stride: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def inputs(self) -> int:
        """Per output: C / groups * kernel^2."""
        return self.channels // self.groups * self.kernel**2

    @property
    def output_size(self) -> int:
        """Side of the output, pixels."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def positions(self) -> int:
        return self.output_size**2

    @property
    def macs(self) -> int:
        """Accumulations per image."""
        return self.filters * self.inputs * self.positions

    def __str__(self) -> str:
        kind = f"{'depthwise ' if self.groups > 1 else ''}{self.kernel}x{self.kernel}"
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.name}: {kind}{stride}, {self.channels}-{self.filters} channels, {self.size} px"


def _depthwise(name: str, channels: int, kernel: int, size: int, stride: int = 1) -> Shape:
    return Shape(name, channels, channels, kernel, size, stride, groups=channels)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("a1", 16, 16, 3, 32),
        Shape("a2", 32, 32, 3, 16),
        Shape("a3", 64, 64, 3, 8),
        Shape("b1", 48, 192, 1, 16),
        Shape("b2", 96, 480, 1, 8),
        _depthwise("c1", 192, 3, 16),
        _depthwise("c2", 480, 7, 8),
        Shape("s1", 32, 64, 3, 16, stride=2),
        _depthwise("s2", 144, 5, 16, stride=2),
        Shape("o1", 24, 144, 1, 15),
        Shape("o2", 20, 36, 3, 13),
    )
}
"""Letters: a dense 3x3, b 1x1, c depthwise, s stride 2, o odd sizes."""

Convolution = Callable[[Tensor, Tensor, Shape], Tensor]


@dataclass(frozen=True)
class Candidate:
    """A differentiable convolution of x (N, C, H, W) with w (F, C / groups, kh, kw)."""

    name: str
    convolution: Convolution
    adds: bool = True
    """Computes what `add_conv2d` computes, not what `F.conv2d` does."""
    channels_last: bool = False
    bytes_per_image: Callable[[Shape], int] = lambda shape: 0
    """Of the temporaries of a formulation that has large ones."""

    @property
    def family(self) -> str:
        return self.name.split()[0]


def candidates(shape: Shape) -> Iterator[Candidate]:
    """Those that can compute this shape."""
    in_layouts: list[tuple[str, Convolution, bool]] = [("ours", _ours, True), ("conv", _torchs, False)]
    depthwise = depthwise_convolution() if shape.groups > 1 else None
    if depthwise is not None:
        in_layouts.append(("depthwise", depthwise, False))
    for family, convolution, adds in in_layouts:
        yield Candidate(f"{family} channels_last", convolution, adds, channels_last=True)
        yield Candidate(f"{family} NCHW", convolution, adds)
    if shape.groups == 1:
        yield Candidate("cdist", _cdist, bytes_per_image=_column_bytes)
    yield Candidate("public", broadcasting, bytes_per_image=_difference_bytes)


FAMILIES = ("ours", "conv", "depthwise", "cdist", "public")


def depthwise_convolution() -> Convolution | None:
    """Our multiplicative depthwise convolution, where this version of the package has one."""
    try:
        from shiftaddaug.kernels.depthwise import depthwise_conv2d  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return lambda x, w, shape: depthwise_conv2d(x, w, shape.stride, shape.padding)


def _ours(x: Tensor, w: Tensor, shape: Shape) -> Tensor:
    return add_conv2d(x, w, shape.stride, shape.padding, 1, shape.groups)


def _torchs(x: Tensor, w: Tensor, shape: Shape) -> Tensor:
    return F.conv2d(x, w, None, shape.stride, shape.padding, 1, shape.groups)


def _unfold(x: Tensor, shape: Shape) -> Tensor:
    """(N, C * kernel^2, positions)."""
    return F.unfold(x, shape.kernel, padding=shape.padding, stride=shape.stride)


class _Broadcasting(torch.autograd.Function):
    """-sum_k |columns - w| of columns (N, G, 1, K, P) and w (G, F / G, K, 1), every difference at once."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(columns, w)
        return -(columns - w).abs().sum(3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor]:
        columns, w = ctx.saved_tensors
        g = grad_y.unsqueeze(3)
        dw = ((columns - w) * g).sum((0, 4)).unsqueeze(3)
        return ((w - columns).clamp(-1, 1) * g).sum(2, keepdim=True), dw


def broadcasting(x: Tensor, w: Tensor, shape: Shape) -> Tensor:
    """The formulation that AdderNet's public code trains with (arXiv 1912.13200): unfold, then every difference.

    Nothing is cut into blocks, as there. NOTE: the public code also rescales dW, which is the layer's business here,
    and has no groups.
    """
    columns = _unfold(x, shape).view(len(x), shape.groups, 1, shape.inputs, shape.positions)
    y: Tensor = _Broadcasting.apply(columns, w.reshape(shape.groups, -1, shape.inputs, 1))
    return y.reshape(len(x), shape.filters, shape.output_size, shape.output_size)


def _difference_bytes(shape: Shape) -> int:
    return 2 * FLOAT_BYTES * shape.macs


class _Cdist(torch.autograd.Function):
    """cdist's own backward pass has the derivative of |x - w|, its sign, for both; hence this one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.shape = shape
        patches = _unfold(x, shape).transpose(1, 2).reshape(-1, shape.inputs)
        y = torch.cdist(patches, w.flatten(1), p=1).neg_()
        return y.view(len(x), shape.output_size, shape.output_size, shape.filters).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
        (x, w), shape = ctx.saved_tensors, ctx.shape
        gradient, filters = grad_y.flatten(2), w.flatten(1).unsqueeze(2)
        dx = torch.empty_like(x)
        images = max(1, CDIST_BLOCK_ELEMENTS // (shape.inputs * shape.positions))
        for block in torch.arange(len(x)).split(images):
            part = slice(int(block[0]), int(block[-1]) + 1)
            columns = _unfold(x[part], shape)
            d_columns = torch.zeros_like(columns)
            for f in range(shape.filters):
                d_columns.addcmul_((filters[f] - columns).clamp_(-1, 1), gradient[part, f : f + 1])
            dx[part] = F.fold(d_columns, x.shape[2:], shape.kernel, padding=shape.padding, stride=shape.stride)
        dw = conv2d_weight(x, w.shape, grad_y, shape.stride, shape.padding)
        return dx, dw - w * grad_y.sum((0, 2, 3))[:, None, None, None], None


def _cdist(x: Tensor, w: Tensor, shape: Shape) -> Tensor:
    y: Tensor = _Cdist.apply(x, w, shape)
    return y


def _column_bytes(shape: Shape) -> int:
    return 2 * FLOAT_BYTES * shape.channels * shape.kernel**2 * shape.positions


class Layer:
    """A candidate with its tensors: standard normal input, weight and output gradient, in the candidate's layout."""

    def __init__(
        self, candidate: Candidate, shape: Shape, batch: int, dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        layout = torch.channels_last if candidate.channels_last else torch.contiguous_format

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=generator).to(dtype)

        self.convolution, self.shape = candidate.convolution, shape
        self.x = normal(batch, shape.channels, shape.size, shape.size).contiguous(memory_format=layout)
        self.w = normal(shape.filters, shape.channels // shape.groups, shape.kernel, shape.kernel)
        self.g = normal(batch, shape.filters, shape.output_size, shape.output_size).contiguous(memory_format=layout)

    @torch.no_grad()
    def forward(self) -> Tensor:
        return self.convolution(self.x, self.w, self.shape)

    def forward_backward(self) -> tuple[Tensor, ...]:
        """Output and both gradients."""
        x, w = self.x.detach().requires_grad_(), self.w.detach().requires_grad_()
        y = self.convolution(x, w, self.shape)
        return (y.detach(), *torch.autograd.grad(y, (x, w), self.g))


def errors(candidate: Candidate, shape: Shape, batch: int) -> tuple[float, ...]:
    """Largest error of output, dX and dW over the largest magnitude, against the formulas in float64."""
    reference = Candidate("reference", broadcasting if candidate.adds else _torchs)
    actual = Layer(candidate, shape, batch).forward_backward()
    expected = Layer(reference, shape, batch, torch.float64).forward_backward()
    pairs = zip(actual, expected, strict=True)
    return tuple(float((a.double() - e).abs().max() / e.abs().max()) for a, e in pairs)
