"""What torch has to know of a convolution that is an operator of ours: shapes, gradients, FLOPs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shiftaddaug.kernels.geometry import Geometry
from shiftaddaug.kernels.layout import empty_input_grad, empty_output, register_conv_flops

Function = Callable[..., Tensor]


class Functions(NamedTuple):
    """A convolution and its gradients."""

    forward: Function
    """(x, w, *arguments) to y."""
    input_grad: Function
    """(grad_y, x, w, *arguments) to the gradient of x."""
    weight_grad: Function
    """(grad_y, x, w, *arguments) to the gradient of w (contiguous)."""


class Convolution:
    """A convolution, differentiable once, which `torch.compile`, autograd, autocast and FLOP counting see.

    On call: (x, w, *arguments) to y. Everything but autograd sees torch operators, `torch.ops.shiftaddaug.<name>`,
    `<name>_input_grad` and `<name>_weight_grad`. Where nothing else watches, autograd calls the kernels behind them
    directly: an operator written in Python takes dozens of microseconds, three times a layer, which together are a
    seventh of a small net's step on a CPU.

    Args:
        name: of the operator.
        forward, input_grad, weight_grad: as in `Functions`, annotated as `torch.library.custom_op` wants them.
        geometry: (x, w, *arguments) to that of y.
        autocast: dtype to compute in under autocast; by default that of the tensors.
    """

    def __init__(
        self,
        name: str,
        forward: Function,
        input_grad: Function,
        weight_grad: Function,
        geometry: Callable[..., Geometry],
        autocast: torch.dtype | None = None,
    ) -> None:
        self.kernels = Functions(forward, input_grad, weight_grad)
        self.operators = _operators(name, self.kernels, geometry, autocast)

    def __call__(self, x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
        if not _only_autograd_watches(x, w):
            return self.operators.forward(x, w, *arguments)
        y: Tensor = _Node.apply(x, w, self, arguments)
        return y


class _Node(torch.autograd.Function):
    """A convolution in the graph of autograd, without an operator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, convolution: Convolution, arguments: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.convolution, ctx.arguments = convolution, arguments
        return convolution.kernels.forward(x, w, *arguments)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, w = ctx.saved_tensors
        # operators refuse to be differentiated again; kernels would pass for constants
        direct = not torch.is_grad_enabled() and _only_autograd_watches(grad_y, x)
        functions = ctx.convolution.kernels if direct else ctx.convolution.operators
        return *_gradients(functions, ctx, grad_y, x, w), None, None


def _gradients(
    functions: Functions, ctx: Any, grad_y: Tensor, x: Tensor, w: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    dx = functions.input_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[0] else None
    dw = functions.weight_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[1] else None
    return dx, dw


def _only_autograd_watches(*tensors: Tensor) -> bool:
    """Whether no compiler, dispatch mode, function transform, autocast or tensor subclass waits for an operator."""
    return (
        not torch.compiler.is_compiling()
        and all(type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta for tensor in tensors)
        and not torch.is_autocast_enabled(tensors[0].device.type)
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
        and not torch.jit.is_tracing()
    )


def _operators(
    name: str, kernels: Functions, geometry: Callable[..., Geometry], autocast: torch.dtype | None
) -> Functions:
    """The kernels as operators of torch."""
    names = (name, f"{name}_input_grad", f"{name}_weight_grad")
    forward, input_grad, weight_grad = (
        torch.library.custom_op(f"shiftaddaug::{full_name}", kernel, mutates_args=())
        for full_name, kernel in zip(names, kernels, strict=True)
    )
    operators = Functions(forward, input_grad, weight_grad)

    def fake_forward(x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
        return empty_output(x, geometry(x, w, *arguments))

    def fake_input_grad(grad_y: Tensor, x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
        return empty_input_grad(x)

    def fake_weight_grad(grad_y: Tensor, x: Tensor, w: Tensor, *arguments: Any) -> Tensor:
        return torch.empty_like(w, memory_format=torch.contiguous_format)

    def keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, *ctx.arguments = inputs
        ctx.save_for_backward(x, w)

    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(operators, ctx, grad_y, *ctx.saved_tensors), *[None] * len(ctx.arguments)

    forward.register_fake(fake_forward)
    input_grad.register_fake(fake_input_grad)
    weight_grad.register_fake(fake_weight_grad)
    forward.register_autograd(backward, setup_context=keep_inputs)
    if autocast is not None:
        for device in ("cpu", "cuda"):
            forward.register_autocast(device, autocast)
    register_conv_flops(torch.ops.shiftaddaug, name)
    return operators
