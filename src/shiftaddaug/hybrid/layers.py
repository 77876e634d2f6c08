"""Width-sliced layers: the target part computes with an operator, the augmented part with multiplication.

ShiftAddAug (arXiv 2407.02881) section 3, NetAug (arXiv 2110.08890) section 3. What a layer computes follows from the
input's channels and the arguments of `forward` alone; no layer remembers a width. With target channels in and out, a
layer is its operator and nothing else. Nothing but `hybrid/` slices weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.hybrid.channels import add_to_first_channels, split_channels, with_first_channels
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.hybrid.sources import join
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult

MULT = Mult()


class HybridLayer(HybridWeight):
    """What convolution and linear layer share: how the weight is read and put together for a width.

    The input X = [X_t ; X_a] and the output Y = [Y_t ; Y_a] hold the target's channels first.

        dense      Y_t = op(X_t) + mult(X_a),  Y_a = mult(X)
        depthwise  Y_t = op(X_t),              Y_a = mult(X_a)

    A layer of several sources computes as one of their concatenation: the operator is applied once, to the joined
    targets, for scales and R depend on the whole fan-in.
    """

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


class HybridConv2d(HybridLayer):
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


class HybridLinear(HybridLayer):
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
