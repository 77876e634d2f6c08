"""The operator contract: what a convolution or a linear layer computes, given tensors.

An operator is a small immutable value (its dataclass fields are the keys of its yaml in configs/op). It owns
no tensor: layers own the trained parameters and the buffers, and hand them to the operator by name. It says by itself
all that others ask of an operator; nobody else knows one by its name.

Adding an operator takes a folder, `operators/<name>/`, with `settings.py` (without torch) and `operator.py`, and one
yaml in configs/op; the contract tests find them. A plugin holds the same folders, each with an `__init__.py`.

    # settings.py                                       # operator.py
    @dataclass(frozen=True)                             @dataclass(frozen=True)
    class TernarySettings(OperatorSettings):            class Ternary(TernarySettings, Convolution):
        name = "ternary"                                    def init_parameters(self, shape): ...
        ratio: float = 0.7                                  def effective_weight(self, tensors): ...
                                                            def codes(self, weight): ...
        @property
        def arithmetic(self):                           OPERATOR = Ternary
            return Arithmetic({"add": 1}, weight_bits=2)

    SETTINGS = TernarySettings                          # ternary.yaml: name, ratio, mult_layers

A class inherits from `Operator`, or from `Convolution` if it computes an ordinary convolution with its weight. A field
`remap` of the settings (`operators/remap_settings.py`) lets `sharing=heterogeneous` read its weights through R,
the map of `hybrid/remap.py`. A scale of output channels that is no power of two needs a batch-norm after the layer:
`mult_layers: [stem, se, classifier]` exempts the layers that none follows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shiftaddaug.operators.codes import Codes
from shiftaddaug.operators.settings import OperatorSettings

Pair = int | tuple[int, int]
"""A value for both spatial axes, or (vertical, horizontal)."""

Tensors = Mapping[str, Tensor]
"""Trained parameters and buffers of a layer, by name."""


@dataclass(frozen=True)
class Operator(OperatorSettings, ABC):
    """What a layer computes with.

    A layer trains the tensors that `init_parameters` returned and keeps those of `init_buffers`, turns them into the
    weight the operator really reads with `effective_weight`, and computes `conv2d` or `linear` of the prepared input.
    Deployment stores the effective weight and what `prepare_input` reads (`input_tensors`), so the steps are apart.
    Biases are added by the layer.
    """

    input_tensors: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters and buffers that `prepare_input` reads: they are deployed beside the weight."""
    channel_tensors: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters and buffers whose first dimension counts the target's output channels: a reorder of the
    channels moves them along. The channels that enter the target take the values of those that leave it, in the order
    of their places."""
    lasting_tensors: ClassVar[tuple[str, ...]] = ()
    """Names of further parameters and buffers that a reorder may leave as they are: a codebook, or a mask that
    `between_epochs` makes anew. Tensors of one element need not be named."""
    undecayed: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that an optimiser's weight decay leaves alone, since small values mean no small weights."""
    rescales_by_value: ClassVar[bool] = False
    """Whether `rescale_gradient` looks at the parameter: with R, computing its value costs a pass over all weights."""

    @property
    def multiplication_free(self) -> bool:
        """Whether nothing is multiplied, by what the operator says of its arithmetic."""
        return self.arithmetic.multiplication_free

    @property
    def linear_in_weight(self) -> bool:
        """Whether `conv2d(prepare_input(x), w)` is exactly a convolution of x with w, so that a hybrid layer may
        compute its own part and the multiplicative part in one convolution."""
        return False

    def parameter_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of the trained tensors of a layer, by name, in the order of registration. Draws nothing.

        Only `weight`, if there is one, follows the width of a supernet: the layer slices it. All others have the shape
        that the target needs, whatever it is: () for a scalar, (out,) for one value a channel, or the weight's.

        Args:
            shape: of the target's weight; (out, in / groups, kh, kw) for a convolution, (out, in) for a linear layer.
        """
        return {"weight": shape}

    @abstractmethod
    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Fresh float32 values of the trained tensors of a layer: those of `parameter_shapes(shape)`."""

    def init_buffers(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """What a layer keeps beside its trained tensors (assignments, masks, duals), by name. Draws nothing."""
        return {}

    def between_epochs(self, tensors: Tensors, epoch: int) -> None:
        """Update the buffers, in place and without gradient, before an epoch begins (not before the first).

        Channels have been reordered by then.

        Args:
            tensors: of one layer; `weight` is the target's slice, as the operator reads it.
            epoch: that begins, counted from 0.
        """

    @abstractmethod
    def effective_weight(self, tensors: Tensors) -> Tensor:
        """The weight the operator computes with, differentiable with respect to the parameters among `tensors`.

        A sub-network with fewer channels, or a smaller kernel, computes with a slice of the target's.
        """

    def prepare_input(self, x: Tensor, tensors: Tensors) -> Tensor:
        """What the operator does to its input first: fixed point, binarisation, a trained clip.

        Args:
            x: (N, C, ...), the channels that the operator computes with; those around the target are multiplied as they
                are.
            tensors: at least those named in `input_tensors`.

        Returns:
            Tensor of x's shape and dtype.
        """
        return x

    @abstractmethod
    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        """Convolution of a prepared x (N, C, H, W) with an effective weight (F, C / groups, kh, kw); depthwise if
        groups = C.

        Raises what torch's own convolution raises on tensors that do not fit (RuntimeError or ValueError).
        """

    @abstractmethod
    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Linear map of a prepared x (..., C) by an effective weight (F, C), without bias."""

    def codes(self, weight: Tensor) -> Codes | None:
        """The integers that deployment stores of an effective weight; None where there are none (a float adder).

        `codes(w).decode()` is w, bit for bit. With the stated arithmetic, that proves that nothing multiplies
        (`operators/proof.py`).
        """
        return None

    def reference_conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Tensor:
        """Compute `conv2d` in plain torch operations: the proof of an operator without codes watches them."""
        return self.conv2d(x, weight, stride, padding, dilation, groups)

    def rescale_gradient(self, name: str, parameter: Tensor, gradient: Tensor) -> Tensor:
        """The update direction of a layer's parameter, given its accumulated and unscaled gradient.

        Args:
            name: of the parameter.
            parameter: its value, the target's slice of a weight (through R, if `rescales_by_value`); not written to.
            gradient: of the same shape; not written to.
        """
        return gradient

    @property
    def publishes_updates(self) -> bool:
        """Whether update directions are others than the gradient, for some parameter."""
        return type(self).rescale_gradient is not Operator.rescale_gradient

    def decay(self, tensors: Tensors) -> Tensor | None:
        """What takes the place of weight decay for a layer's `undecayed` parameters; None if nothing does.

        It is a differentiable scalar, which is added to the loss, times the optimiser's weight decay.
        """
        return None

    def project(self, name: str, parameter: Tensor) -> Tensor:
        """Where a layer's parameter lies once an optimiser has moved it: where it is, by default.

        It is asked after every optimiser step of a layer that computes with the operator, but for a weight that is
        stored for R. What `effective_weight` returns must stay as it is, to the last bit.

        Args:
            name: of the parameter.
            parameter: its value, the target's slice of a weight; not written to.
        """
        return parameter

    def describe(self, device: str) -> str | None:
        """One line on how layers are computed on a device ("cpu" or "cuda"), where that is worth saying."""
        return None
