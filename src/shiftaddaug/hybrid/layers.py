"""Width-sliced layers: the target part computes with an operator, the augmented part with multiplication.

ShiftAddAug (arXiv 2407.02881) section 3, NetAug (arXiv 2110.08890) section 3. One weight serves every width: the
target's is its leading slice. What a layer computes follows from the input's channels and the arguments of
`forward` alone; no layer remembers a width. With target channels in and out, a layer is its operator and nothing
else. Nothing else in the package slices weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.errors import UserError
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult import Mult, kaiming_uniform

MULT = Mult()


@dataclass(frozen=True)
class Widths:
    """Channels of a space in the target, and at most."""

    target: int
    max: int


class HybridWeight(nn.Module):
    """What convolution and linear layer share: one trained weight of the widest shape, read through slices.

    The input X = [X_t ; X_a] and the output Y = [Y_t ; Y_a] hold the target's channels first.

        dense      Y_t = op(X_t) + mult(X_a),  Y_a = mult(X)
        depthwise  Y_t = op(X_t),              Y_a = mult(X_a)

    Args:
        operator: of the target part.
        source, out: widths of input and output; equal if depthwise.
        kernel: (kh, kw), empty for a linear layer.
        depthwise: one filter per channel.
        bias: add one value per output channel; the target's belong to its operator.

    Raises:
        UserError: a widened layer whose operator cannot share its weight with a multiplication.
    """

    weight: Tensor  # of shareable operators
    bias: Tensor | None

    def __init__(
        self,
        operator: Operator,
        source: Widths,
        out: Widths,
        kernel: tuple[int, ...] = (),
        depthwise: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if not operator.shareable and (source.max > source.target or out.max > out.target):
            raise UserError(
                f"op={operator.name}: its trained tensors cannot be shared with a multiplicative weight, so it "
                f"cannot be augmented; options: aug=none, or another op"
            )
        self.operator, self.source, self.out, self.depthwise = operator, source, out, depthwise
        inputs = Widths(1, 1) if depthwise else source
        self.target_shape = (out.target, inputs.target, *kernel)
        self.full_shape = (out.max, inputs.max, *kernel)
        self.parameter_names = tuple(operator.init_parameters(self.target_shape))
        for name in self.parameter_names:
            shape = self.full_shape if operator.shareable else self.target_shape
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out.max)) if bias else None)

    @torch.no_grad()
    def init_target(self) -> None:
        """Draw the target's slice (and the bias) as the plain layer's would be."""
        fresh = self.operator.init_parameters(self.target_shape)
        for name, value in fresh.items():
            self._target_slice(getattr(self, name)).copy_(value)
        if self.bias is not None:
            self.bias.zero_()

    @torch.no_grad()
    def init_augmented(self) -> None:
        """Draw everything around the target's slice: kaiming-uniform at the fan-in of the widest layer."""
        if self.full_shape == self.target_shape:
            return
        for name in self.parameter_names:
            parameter = getattr(self, name)
            target = self._target_slice(parameter).clone()
            parameter.copy_(kaiming_uniform(self.full_shape))
            self._target_slice(parameter).copy_(target)

    def _target_slice(self, parameter: Tensor) -> Tensor:
        return parameter[: self.target_shape[0], : self.target_shape[1]]

    def target_parameters(self) -> dict[str, Tensor]:
        """The operator's trained tensors for the target, by name (views)."""
        if self.full_shape == self.target_shape:
            return {name: getattr(self, name) for name in self.parameter_names}
        return {name: self._target_slice(getattr(self, name)) for name in self.parameter_names}

    def target_state(self) -> dict[str, Tensor]:
        """State dict of the deployed layer: the operator-ready weight, and the bias."""
        state = {"weight": self.operator.effective_weight(self.target_parameters())}
        if self.bias is not None:
            state["bias"] = self.bias[: self.out.target]
        return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}

    @torch.no_grad()
    def rescale_gradients(self) -> None:
        """Let the operator turn the accumulated gradient of its slice into the update direction it publishes."""
        for name in self.parameter_names:
            gradient = getattr(self, name).grad
            if gradient is not None:
                target = self._target_slice(gradient)
                rescaled = self.operator.rescale_gradient(target)
                if rescaled is not target:
                    target.copy_(rescaled)

    def forward(self, x: Tensor, out_channels: int | None = None, multiplicative: bool = False) -> Tensor:
        """Compute with the input's channels, and as many output channels as told.

        Args:
            x: (N, source.target <= C <= source.max, ...).
            out_channels: between out.target and out.max; the target's by default. A depthwise layer returns C.
            multiplicative: compute the target part by multiplication too, with the same weight.
        """
        operator = MULT if multiplicative else self.operator
        out_channels = out_channels or self.out.target
        narrow = x.shape[1] == self.source.target and (self.depthwise or out_channels == self.out.target)
        if narrow:
            # contiguous, as the deployed weight is: a matrix product of a slice may round otherwise
            y = self._map(operator, x, operator.effective_weight(self.target_parameters()).contiguous())
        elif self.depthwise:
            y = self._depthwise(operator, x)
        else:
            y = self._dense(operator, x, out_channels)
        return y if self.bias is None else y + self._broadcast(self.bias[: y.shape[1]])

    def _dense(self, operator: Operator, x: Tensor, out_channels: int) -> Tensor:
        weight, (rows, columns) = self.weight, self.target_shape[:2]
        channels = x.shape[1]
        target = operator.effective_weight({"weight": weight[:rows, :columns]})
        if operator.linear_in_weight:
            if channels > columns:
                target = torch.cat([target, weight[:rows, columns:channels]], 1)
            if out_channels > rows:
                target = torch.cat([target, weight[rows:out_channels, :channels]], 0)
            return self._map(MULT, x, target)
        y = self._map(operator, x[:, :columns], target)
        if channels > columns:
            y = y + self._map(MULT, x[:, columns:], weight[:rows, columns:channels])
        if out_channels > rows:
            y = torch.cat([y, self._map(MULT, x, weight[rows:out_channels, :channels])], 1)
        return y

    def _depthwise(self, operator: Operator, x: Tensor) -> Tensor:
        weight, rows, channels = self.weight, self.target_shape[0], x.shape[1]
        target = operator.effective_weight({"weight": weight[:rows]})
        if operator.linear_in_weight:
            return self._map(MULT, x, torch.cat([target, weight[rows:channels]], 0))
        augmented = self._map(MULT, x[:, rows:], weight[rows:channels])
        return torch.cat([self._map(operator, x[:, :rows], target), augmented], 1)

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _broadcast(self, bias: Tensor) -> Tensor:
        raise NotImplementedError


class HybridConv2d(HybridWeight):
    """Convolution with padding kernel // 2, dense or depthwise; x (N, C, H, W)."""

    def __init__(
        self,
        operator: Operator,
        source: Widths,
        out: Widths,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(operator, source, out, (kernel, kernel), depthwise, bias)
        self.stride, self.padding = stride, kernel // 2

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        groups = x.shape[1] if self.depthwise else 1
        return operator.conv2d(x, weight, self.stride, self.padding, 1, groups)

    def _broadcast(self, bias: Tensor) -> Tensor:
        return bias.view(1, -1, 1, 1)


class HybridLinear(HybridWeight):
    """Linear layer with bias; x (N, C)."""

    def __init__(self, operator: Operator, source: Widths, out: Widths) -> None:
        super().__init__(operator, source, out, bias=True)

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        return operator.linear(x, weight)

    def _broadcast(self, bias: Tensor) -> Tensor:
        return bias


class HybridBatchNorm2d(nn.Module):
    """Batch-norm whose running statistics are the target's alone.

    Scale and shift are shared and sliced. A target pass behaves as `nn.BatchNorm2d`. An augmented pass normalises
    with its batch's statistics, in training and evaluation, and neither reads nor writes the running ones: what
    was sampled can not reach the target's evaluation. NOTE: NetAug keeps one set and re-estimates it instead.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, widths: Widths, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.widths, self.eps, self.momentum = widths, eps, momentum
        self.weight = nn.Parameter(torch.ones(widths.max))
        self.bias = nn.Parameter(torch.zeros(widths.max))
        self.register_buffer("running_mean", torch.zeros(widths.target))
        self.register_buffer("running_var", torch.ones(widths.target))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, augmented: bool = False) -> Tensor:
        channels = x.shape[1]
        weight, bias = self.weight[:channels], self.bias[:channels]
        if augmented:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        if self.training:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            x, self.running_mean, self.running_var, weight, bias, self.training, self.momentum, self.eps
        )

    def target_state(self) -> dict[str, Tensor]:
        """State dict of the deployed `nn.BatchNorm2d`."""
        target = self.widths.target
        state: Mapping[str, Tensor] = {
            "weight": self.weight[:target],
            "bias": self.bias[:target],
            "running_mean": self.running_mean,
            "running_var": self.running_var,
            "num_batches_tracked": self.num_batches_tracked,
        }
        return {name: value.detach().clone() for name, value in state.items()}
