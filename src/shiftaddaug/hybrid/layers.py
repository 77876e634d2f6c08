"""Width-sliced layers: the target part computes with an operator, the augmented part with multiplication.

ShiftAddAug (arXiv 2407.02881) section 3, NetAug (arXiv 2110.08890) section 3. One weight serves every width: the
target's is its leading slice. What a layer computes follows from the input's channels and the arguments of
`forward` alone; no layer remembers a width. With target channels in and out, a layer is its operator and nothing
else. Nothing else in the package slices weights.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.channels import add_to_first_channels, split_channels, with_first_channels
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.hybrid.sources import join, positions, total
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators import cannot_be_augmented
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult, kaiming_normal, kaiming_uniform

MULT = Mult()


class HybridWeight(nn.Module):
    """What convolution and linear layer share: one trained weight of the widest shape, read through slices.

    The input X = [X_t ; X_a] and the output Y = [Y_t ; Y_a] hold the target's channels first.

        dense      Y_t = op(X_t) + mult(X_a),  Y_a = mult(X)
        depthwise  Y_t = op(X_t),              Y_a = mult(X_a)

    op reads its slice of the weight as `sharing` says. A layer of several sources computes as one of their
    concatenation: its columns lie as `hybrid/sources.py` says, and the operator is applied once, to the joined targets,
    for scales and R depend on the whole fan-in.

    Args:
        operator: of the target part.
        source: width of the input, or of each of several that the layer reads as one concatenation.
        out: width of the output; the input's if depthwise.
        kernel: (kh, kw), empty for a linear layer.
        depthwise: one filter per channel.
        bias: add one value per output channel; the target's belong to its operator.
        sharing: how a multiplication-free operator reads its slice, and what the augmented part computes with.

    Raises:
        UserError: a widened layer whose operator cannot share its weight with a multiplication.
    """

    weight: Tensor  # of shareable operators
    bias: Tensor | None

    def __init__(
        self,
        operator: Operator,
        source: Widths | Sequence[Widths],
        out: Widths,
        kernel: tuple[int, ...] = (),
        depthwise: bool = False,
        bias: bool = False,
        sharing: NetSharing = PLAIN,
    ) -> None:
        super().__init__()
        self.sources = (source,) if isinstance(source, Widths) else tuple(source)
        source = total(self.sources)
        assert not depthwise or len(self.sources) == 1
        if not operator.shareable and (source.max > source.target or out.max > out.target):
            raise cannot_be_augmented(operator.name)
        self.operator, self.source, self.out, self.depthwise = operator, source, out, depthwise
        self.sharing = sharing.of(operator)
        inputs = Widths(1, 1) if depthwise else source
        self.target_shape = (out.target, inputs.target, *kernel)
        self.full_shape = (out.max, inputs.max, *kernel)
        shapes = operator.parameter_shapes(self.target_shape)
        self.parameter_names = tuple(shapes)
        for name, shape in shapes.items():
            shape = self.full_shape if name == "weight" else shape
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out.max)) if bias else None)
        self._refuse_wider_operator(shapes)
        self.buffer_names = tuple(buffers := operator.init_buffers(self.target_shape))
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)
        self._draw_target()

    def _refuse_wider_operator(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse tensors of the target's shape where the operator would compute what surrounds the target too."""
        others = [name for name, shape in shapes.items() if name != "weight" and math.prod(shape) > 1]
        if others and not self.sharing.multiplicative_augmentation and self.full_shape != self.target_shape:
            raise UserError(
                f"aug.operator=same: op={self.operator.name} trains {', '.join(others)} for the target's shape alone, "
                f"and wider layers would have none; options: mult"
            )

    @torch.no_grad()
    def init_target(self) -> None:
        """Draw the target's slice (and the bias) as the plain layer's would be; Gaussian if it is remapped."""
        self._draw_target()
        if self.sharing.remap is not None:
            self._target_slice(self.weight).copy_(kaiming_normal(self.target_shape))
        if self.bias is not None:
            self.bias.zero_()

    @torch.no_grad()
    def _draw_target(self) -> None:
        for name, value in self.operator.init_parameters(self.target_shape).items():
            parameter = getattr(self, name)
            (self._target_slice(parameter) if name == "weight" else parameter).copy_(value)

    @torch.no_grad()
    def init_augmented(self) -> None:
        """Draw everything around the target's slice: kaiming-uniform at the fan-in of the widest layer, or, where
        the operator computes it, as the operator's own."""
        if self.full_shape == self.target_shape:
            return
        target = self._target_slice(self.weight).clone()
        own = not self.sharing.multiplicative_augmentation and self.sharing.remap is None
        drawn = self.operator.init_parameters(self.full_shape)["weight"] if own else kaiming_uniform(self.full_shape)
        self.weight.copy_(drawn)
        self._target_slice(self.weight).copy_(target)

    def _target_slice(self, parameter: Tensor) -> Tensor:
        return parameter[: self.target_shape[0], : self.target_shape[1]]

    def tensors(self) -> dict[str, Tensor]:
        """All that the layer hands its operator but `weight`, which is read through slices: by name."""
        names = (*self.parameter_names, *self.buffer_names)
        return {name: getattr(self, name) for name in names if name != "weight"}

    def target_parameters(self) -> dict[str, Tensor]:
        """The operator's trained tensors for the target, by name (of the weight, a view)."""
        parameters = {name: getattr(self, name) for name in self.parameter_names}
        if "weight" in parameters and self.full_shape != self.target_shape:
            parameters["weight"] = self._target_slice(self.weight)
        return parameters

    def target_state(self, operator_weight: Tensor | None = None) -> dict[str, Tensor]:
        """State dict of the deployed layer: the operator-ready weight (as `forward` takes it), what prepares its input,
        and the bias."""
        state = {"weight": self._operator_weight(self.target_parameters(), operator_weight)}
        state |= {name: getattr(self, name) for name in self.operator.input_tensors}
        if self.bias is not None:
            state["bias"] = self.bias[: self.out.target]
        return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}

    def _operator_weight(self, parameters: Mapping[str, Tensor], known: Tensor | None = None) -> Tensor:
        """What the operator computes with, given its trained tensors (of the target, or wider), if not known yet."""
        if known is not None:
            return known
        if self.sharing.remap is not None:
            return self.effective_weight(self.sharing.read([parameters["weight"]])[0])
        return self.operator.effective_weight({**self.tensors(), **parameters})

    def effective_weight(self, weight: Tensor) -> Tensor:
        """What the operator computes with, given the `weight` it reads, remapped or as it is stored."""
        return self.operator.effective_weight({**self.tensors(), "weight": weight})

    @torch.no_grad()
    def between_epochs(self, epoch: int) -> None:
        """Let the operator update its buffers before an epoch begins."""
        if self.buffer_names:
            tensors = {**self.tensors(), **self.target_parameters()}
            if self.sharing.remap is not None:
                tensors["weight"] = self.sharing.read([tensors["weight"]])[0]
            self.operator.between_epochs(tensors, epoch)

    @torch.no_grad()
    def rescale_gradients(self, slope: Tensor | None = None) -> None:
        """Let the operator turn the accumulated gradients of its tensors into the update directions it publishes.

        Args:
            slope: of R at the target's slice of the weight, if known; computed if need be.
        """
        for name, parameter in self.target_parameters().items():
            gradient = getattr(self, name).grad
            if gradient is None:
                continue
            if name == "weight":
                self._rescale_weight(gradient, slope)
            else:
                _replace(gradient, self.operator.rescale_gradient(name, parameter.detach(), gradient))

    def _rescale_weight(self, gradient: Tensor, slope: Tensor | None) -> None:
        if not self.sharing.multiplicative_augmentation:
            self._rescale_augmented(gradient)
        stored, target = self._target_slice(self.weight).detach(), self._target_slice(gradient)
        if slope is None:
            (slope,) = self.sharing.slopes([stored])
        read = self.sharing.read([stored])[0] if self.operator.rescales_by_value else stored
        _replace(target, self.sharing.update(self.operator, "weight", read, target, slope))

    def _rescale_augmented(self, gradient: Tensor) -> None:
        """What took part around the target is a tensor of its own to the operator."""
        active = gradient != 0
        self._target_slice(active).zero_()
        if active.any():
            stored, target = self.weight.detach(), self._target_slice(self.weight).detach()
            (slope,) = self.sharing.slopes([stored], [target])
            read = self.sharing.read_around(stored, target) if self.operator.rescales_by_value else stored
            slope = slope if slope is None else slope[active]
            updated = self.sharing.update(self.operator, "weight", read[active], gradient[active], slope)
            gradient[active] = updated.to(gradient.dtype)

    def forward(
        self,
        x: Tensor | Sequence[Tensor],
        out_channels: int | None = None,
        multiplicative: bool = False,
        operator_weight: Tensor | None = None,
    ) -> Tensor:
        """Compute with the input's channels, and as many output channels as told.

        Args:
            x: (N, source.target <= C <= source.max, ...); one tensor for each of several sources.
            out_channels: between out.target and out.max; the target's by default. A depthwise layer returns C.
            multiplicative: compute the target part by multiplication too, with the same weight.
            operator_weight: what the target part computes (or multiplies) with, where that was read for all layers
                and passes at once (`Supernet.operator_weights`); by default it is read from the parameters. One to
                multiply with says that the layer is blended and remapped.
        """
        operator = MULT if multiplicative else self.operator
        x, weight, order = self._joined(x, operator)
        out_channels = out_channels or self.out.target
        narrow = x.shape[1] == self.source.target and (self.depthwise or out_channels == self.out.target)
        if narrow:
            # contiguous, as the deployed weight is: a matrix product of a slice may round otherwise
            y = self._map(operator, x, self._read(operator, self.target_parameters(), operator_weight).contiguous())
        elif not self.sharing.multiplicative_augmentation:
            inputs = 1 if self.depthwise else x.shape[1]
            outputs = x.shape[1] if self.depthwise else out_channels
            blended = operator is MULT and operator_weight is not None
            y = self._map(operator, x, self._read_around(operator, weight[:outputs, :inputs], blended))
        elif self.depthwise:
            y = self._depthwise(operator, x, operator_weight)
        else:
            y = self._dense(operator, x, weight, out_channels, operator_weight, order)
        return y if self.bias is None else y + self._broadcast(self.bias[: y.shape[1]])

    def _read(self, operator: Operator, parameters: Mapping[str, Tensor], known: Tensor | None = None) -> Tensor:
        if operator is not MULT:
            return self._operator_weight(parameters, known)
        return parameters["weight"] if known is None else known

    def _read_around(self, operator: Operator, weight: Tensor, blended: bool) -> Tensor:
        """Target and what surrounds it, computed by one operator; `blended`: multiplied, beside what R(W) computes."""
        if operator is MULT:
            return self.sharing.stored([weight], [self._target_slice(self.weight)])[0] if blended else weight
        return self.effective_weight(self.sharing.read_around(weight, self._target_slice(self.weight)))

    def _joined(self, x: Tensor | Sequence[Tensor], operator: Operator) -> tuple[Tensor, Any, Tensor | None]:
        """The input, the weight whose columns read it, and their order, where the input's is another."""
        weight = getattr(self, "weight", None)  # not every operator's parameter is called so
        if isinstance(x, Tensor):
            return x, weight, None
        # what is linear in the weight sums in the order of the concatenation, as the plain layer does
        natural = operator.linear_in_weight and self.sharing.multiplicative_augmentation
        return join(x, self.sources, weight, natural)

    def positions(self, source: int) -> Tensor:
        """The columns of the weight that read a source's channels, in the channels' order; int64 (its max,)."""
        return positions(self.sources, source)

    def _dense(
        self,
        operator: Operator,
        x: Tensor,
        weight: Tensor,
        out_channels: int,
        known: Tensor | None,
        order: Tensor | None,
    ) -> Tensor:
        rows, columns = self.target_shape[:2]
        channels = x.shape[1]
        target = self._read(operator, {"weight": weight[:rows, :columns]}, known)
        if operator.linear_in_weight:
            if channels > columns:
                target = torch.cat([target, weight[:rows, columns:channels]], 1)
            if out_channels > rows:
                target = torch.cat([target, weight[rows:out_channels, :channels]], 0)
            return self._map(MULT, x, target if order is None else target.index_select(1, order))
        if channels == columns:
            beside = self._map(MULT, x, weight[rows:out_channels, :channels])
            return torch.cat([self._map(operator, x, target), beside], 1)
        # one convolution multiplies everything that is multiplied: the operator's own block of it is zero
        beside = F.pad(weight[:rows, columns:channels], (0, 0) * (weight.dim() - 2) + (columns, 0))
        if out_channels > rows:
            beside = torch.cat([beside, weight[rows:out_channels, :channels]], 0)
        whole, inputs = with_first_channels(x, columns)
        return add_to_first_channels(self._map(MULT, whole, beside), self._map(operator, inputs, target))

    def _depthwise(self, operator: Operator, x: Tensor, known: Tensor | None) -> Tensor:
        weight, rows, channels = self.weight, self.target_shape[0], x.shape[1]
        target = self._read(operator, {"weight": weight[:rows]}, known)
        if operator.linear_in_weight:
            return self._map(MULT, x, torch.cat([target, weight[rows:channels]], 0))
        inputs, beside = split_channels(x, rows)
        return torch.cat([self._map(operator, inputs, target), self._map(MULT, beside, weight[rows:channels])], 1)

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _broadcast(self, bias: Tensor) -> Tensor:
        raise NotImplementedError


def _replace(gradient: Tensor, direction: Tensor) -> None:
    if direction is not gradient:
        gradient.copy_(direction)


class HybridConv2d(HybridWeight):
    """Convolution, dense or depthwise, whose padding keeps the size (before the stride); x (N, C, H, W)."""

    def __init__(
        self,
        operator: Operator,
        source: Widths | Sequence[Widths],
        out: Widths,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        sharing: NetSharing = PLAIN,
        dilation: int = 1,
    ) -> None:
        super().__init__(operator, source, out, (kernel, kernel), depthwise, bias, sharing)
        self.stride, self.padding, self.dilation = stride, dilation * (kernel // 2), dilation

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        groups = x.shape[1] if self.depthwise else 1
        x = operator.prepare_input(x, self.tensors() if operator.input_tensors else {})
        return operator.conv2d(x, weight, self.stride, self.padding, self.dilation, groups)

    def _broadcast(self, bias: Tensor) -> Tensor:
        return bias.view(1, -1, 1, 1)


class HybridLinear(HybridWeight):
    """Linear layer with bias; x (N, C)."""

    def __init__(
        self, operator: Operator, source: Widths | Sequence[Widths], out: Widths, sharing: NetSharing = PLAIN
    ) -> None:
        super().__init__(operator, source, out, bias=True, sharing=sharing)

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        x = operator.prepare_input(x, self.tensors() if operator.input_tensors else {})
        return operator.linear(x, weight)

    def _broadcast(self, bias: Tensor) -> Tensor:
        return bias
