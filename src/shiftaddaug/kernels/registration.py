"""What torch has to know of a convolution that is an operator of ours: shapes, gradients, FLOPs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

from shiftaddaug.kernels.geometry import Geometry
from shiftaddaug.kernels.layout import empty_input_grad, empty_output, register_conv_flops


def register_convolution(
    name: str,
    forward: CustomOpDef,
    input_grad: CustomOpDef,
    weight_grad: CustomOpDef,
    geometry: Callable[..., Geometry],
) -> None:
    """Let `torch.compile`, autograd and FLOP counting see a convolution and its two gradients.

    Args:
        name: of the operator, in the namespace `shiftaddaug`.
        forward: (x, w, *arguments) to y.
        input_grad, weight_grad: (grad_y, x, w, *arguments) to the gradient of x, of w (contiguous).
        geometry: (x, w, *arguments) to that of y.
    """

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
        x, w = ctx.saved_tensors
        dx = input_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[0] else None
        dw = weight_grad(grad_y, x, w, *ctx.arguments) if ctx.needs_input_grad[1] else None
        return dx, dw, *[None] * len(ctx.arguments)

    forward.register_fake(fake_forward)
    input_grad.register_fake(fake_input_grad)
    weight_grad.register_fake(fake_weight_grad)
    forward.register_autograd(backward, setup_context=keep_inputs)
    register_conv_flops(torch.ops.shiftaddaug, name)
