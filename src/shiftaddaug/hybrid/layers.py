"""Width-sliced layers: the target part computes with an operator, the augmented part with multiplication.

ShiftAddAug (arXiv 2407.02881) section 3, NetAug (arXiv 2110.08890) section 3. What a layer computes follows from the
input's channels and the arguments of `forward` alone; no layer remembers a width. With target channels in and out, a
layer is its operator and nothing else. Nothing but `hybrid/` slices weights.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.channels import add_to_first_channels, split_channels, with_first_channels
from shiftaddaug.hybrid.cut import Cut
from shiftaddaug.hybrid.kernel_transform import centre
from shiftaddaug.hybrid.reading import BY_OPERATOR, MULT, Blended, ByOperator, Multiplied, Reading
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.hybrid.sources import (
    active_columns,
    active_part,
    in_natural_order,
    joined,
    target_columns,
    targets_first,
    total,
)
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators.base import Operator


class HybridLayer(HybridWeight):
    """What convolution and linear layer share: how the weight is read and put together for a width.

    The input X = [X_t ; X_a] and the output Y = [Y_t ; Y_a] hold the target's channels first.

        dense      Y_t = op(X_t) + mult(X_a),  Y_a = mult(X)
        depthwise  Y_t = op(X_t),              Y_a = mult(X_a)

    Below the target's width, X_t and Y_t are its first channels. A layer of several sources computes as one of their
    concatenation: the operator is applied once, to the joined targets, for scales and R depend on the whole fan-in.
    """

    def forward(
        self,
        x: Tensor | Sequence[Tensor],
        out_channels: int | None = None,
        reading: Reading = BY_OPERATOR,
        kernel: int | None = None,
    ) -> Tensor:
        """Compute with the input's channels, and as many output channels as told.

        Args:
            x: (N, 1 <= C <= source.max, ...); one tensor for each of several sources.
            out_channels: between 1 and out.max; the target's by default. A depthwise layer returns C.
            reading: how the weight is read.
            kernel: side of the kernel, odd and at most the layer's own, which it is by default.
        """
        xs = [x] if isinstance(x, Tensor) else list(x)
        cut = self.cut([x.shape[1] for x in xs], out_channels, kernel)
        if isinstance(reading, Blended):
            operated, multiplied = (self._biased(xs, cut, each) for each in (reading.by_operator, reading.multiplied))
            return reading.share * operated + (1 - reading.share) * multiplied
        return self._biased(xs, cut, reading)

    def cut(self, channels: Sequence[int], out_channels: int | None = None, kernel: int | None = None) -> Cut:
        """Return what a pass uses of the layer, given the active channels of each source, and those of the output.

        Raises:
            ValueError: channels or a kernel that the layer does not have.
        """
        sources = tuple(active_part(width, active) for width, active in zip(self.sources, channels, strict=True))
        out_channels = self.out.target if out_channels is None else out_channels
        out = sources[0] if self.depthwise else active_part(self.out, out_channels)
        largest = self.full_shape[-1] if len(self.full_shape) > 2 else 1
        if kernel is not None and not (1 <= kernel <= largest and kernel % 2 == 1):
            raise ValueError(f"kernel={kernel}: must be odd, and at most {largest}")
        return Cut(sources, out, kernel)

    def state(
        self, reading: ByOperator | Multiplied = BY_OPERATOR, cut: Cut | None = None
    ) -> tuple[Operator, dict[str, Tensor]] | None:
        """Return the plain layer that equals this one in a pass: its operator, and its state dict.

        None where no plain layer does: an operator that is not linear in its weight, beside a multiplication.

        Args:
            reading: how the weight is read.
            cut: what the pass uses; the target by default.
        """
        cut = cut or self.cut([source.target for source in self.sources])
        plain = self._plain(reading, cut)
        if plain is None:
            return None
        operator, state = plain[0], {"weight": plain[1]}
        state |= {name: getattr(self, name) for name in operator.input_tensors}
        if self.bias is not None:
            state["bias"] = self.bias[: cut.out.max]
        copied = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
        return operator, copied

    def _biased(self, xs: Sequence[Tensor], cut: Cut, reading: ByOperator | Multiplied) -> Tensor:
        y = self._compute(xs, cut, reading)
        return y if self.bias is None else y + self._broadcast(self.bias[: y.shape[1]])

    def _compute(self, xs: Sequence[Tensor], cut: Cut, reading: ByOperator | Multiplied) -> Tensor:
        plain = self._plain(reading, cut)
        if plain is not None:
            return self._map(plain[0], joined(xs), plain[1])
        if self.depthwise:
            return self._depthwise(xs[0], cut, reading)
        return self._dense(targets_first(xs, cut.sources), cut, reading)

    def _plain(self, reading: ByOperator | Multiplied, cut: Cut) -> tuple[Operator, Tensor] | None:
        """Operator and weight of the plain layer that equals this one in a pass, if there is one.

        Columns are in the order of the concatenation, in which a plain layer sums. The weight is contiguous, as the
        deployed one is: a matrix product of a slice may round otherwise.
        """
        operator = reading.operator(self)
        if not cut.widened:
            return operator, self._target(reading, cut).contiguous()
        if not reading.sharing(self).multiplicative_augmentation:
            learn = not Reader(operator, reading.sharing(self)).converts_gradients
            columns = self._active(cut, learn)[: cut.out.max, : 1 if self.depthwise else total(cut.sources).max]
            return operator, in_natural_order(reading.whole(self, columns, cut.kernel), cut.sources).contiguous()
        if operator.linear_in_weight:
            return MULT, in_natural_order(self._linear(reading, cut), cut.sources).contiguous()
        return None

    def _target(self, reading: ByOperator | Multiplied, cut: Cut) -> Tensor:
        """What the target part computes with, of its active channels and kernel."""
        weight = centre(reading.target(self, cut.kernel), cut.kernel)
        if not self.depthwise:
            weight = target_columns(weight, self.sources, cut.sources)
        return weight if cut.out.target == weight.shape[0] else weight[: cut.out.target]

    def _active(self, cut: Cut, learn: bool = True) -> Tensor:
        """The stored weight, the active columns first; `learn` as of `at_kernel`."""
        weight = self.at_kernel(self.weight, cut.kernel, learn)
        return weight if self.depthwise else active_columns(weight, self.sources, cut.sources)

    def _linear(self, reading: ByOperator | Multiplied, cut: Cut) -> Tensor:
        """One weight of the target part and what surrounds it, where the operator is linear in its own."""
        target, weight = self._target(reading, cut), self._active(cut)
        rows, outputs, source = cut.out.target, cut.out.max, total(cut.sources)
        if self.depthwise:
            return torch.cat([target, weight[rows:outputs]], 0)
        if source.max > source.target:
            target = torch.cat([target, weight[:rows, source.target : source.max]], 1)
        if outputs > rows:
            target = torch.cat([target, weight[rows:outputs, : source.max]], 0)
        return target

    def _dense(self, x: Tensor, cut: Cut, reading: ByOperator | Multiplied) -> Tensor:
        operator, target, weight = reading.operator(self), self._target(reading, cut), self._active(cut)
        rows, outputs, columns, channels = cut.out.target, cut.out.max, total(cut.sources).target, x.shape[1]
        if channels == columns:
            beside = self._map(MULT, x, weight[rows:outputs, :channels])
            return torch.cat([self._map(operator, x, target), beside], 1)
        # one convolution multiplies everything that is multiplied: the operator's own block of it is zero
        beside = F.pad(weight[:rows, columns:channels], (0, 0) * (weight.dim() - 2) + (columns, 0))
        if outputs > rows:
            beside = torch.cat([beside, weight[rows:outputs, :channels]], 0)
        whole, inputs = with_first_channels(x, columns)
        return add_to_first_channels(self._map(MULT, whole, beside), self._map(operator, inputs, target))

    def _depthwise(self, x: Tensor, cut: Cut, reading: ByOperator | Multiplied) -> Tensor:
        operator, target, weight = reading.operator(self), self._target(reading, cut), self._active(cut)
        rows, channels = cut.out.target, cut.out.max
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
        kernel_transform: bool = False,
    ) -> None:
        super().__init__(operator, source, out, (kernel, kernel), depthwise, bias, sharing, kernel_transform)
        self.stride, self.dilation = stride, dilation

    def _map(self, operator: Operator, x: Tensor, weight: Tensor) -> Tensor:
        # a trace has sizes as tensors, and what is computed with them is none of a kernel's arguments
        groups, padding = int(x.shape[1]) if self.depthwise else 1, self.dilation * (int(weight.shape[-1]) // 2)
        x = operator.prepare_input(x, self.tensors() if operator.input_tensors else {})
        return operator.conv2d(x, weight, self.stride, padding, self.dilation, groups)

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
