"""The operator contract: what a convolution or a linear layer computes, given tensors.

An operator is a small immutable value (its dataclass fields are the keys of its yaml in configs/op). It owns
no tensor: layers own the trained parameters, and hand it tensors to compute with. Adding an operator takes
one file here, named like the operator, and one yaml in configs/op; the contract tests find both.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

Pair = int | tuple[int, int]
"""A value for both spatial axes, or (vertical, horizontal)."""


@dataclass(frozen=True)
class Operator(ABC):
    """What a layer computes with.

    A layer trains the tensors that `init_parameters` returned, turns them into the weight the operator really
    reads with `effective_weight`, and computes with `conv2d` or `linear`. Deployment stores the effective
    weight alone, so the two steps are apart. Biases are added by the layer.
    """

    name: ClassVar[str]
    multiplication_free: ClassVar[bool]
    shareable: ClassVar[bool]
    """Whether its one trained parameter, `weight`, may be the leading slice of a multiplicative weight."""

    @property
    def linear_in_weight(self) -> bool:
        """Whether `conv2d(x, w)` is exactly a convolution of x with w, so that a hybrid layer may compute
        its own part and the multiplicative part in one convolution."""
        return False

    @abstractmethod
    def init_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Fresh float32 values of the trained tensors of a layer.

        Args:
            shape: of the weight; (out, in / groups, kh, kw) for a convolution, (out, in) for a linear layer.

        Returns:
            Tensors by parameter name. A shareable operator has exactly one, `weight`, of this shape.
        """

    @abstractmethod
    def effective_weight(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The weight the operator computes with, differentiable with respect to `parameters`."""

    @abstractmethod
    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        """Convolution of x (N, C, H, W) with an effective weight (F, C / groups, kh, kw); depthwise if groups = C.

        Raises what torch's own convolution raises on tensors that do not fit (RuntimeError or ValueError).
        """

    @abstractmethod
    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Linear map of x (..., C) by an effective weight (F, C), without bias."""

    def rescale_gradient(self, gradient: Tensor) -> Tensor:
        """The update direction of a layer's parameter, given its accumulated and unscaled gradient."""
        return gradient

    def config(self) -> dict[str, Any]:
        """What `operators.build` needs to make this operator again: its name and its fields."""
        return {"name": self.name, **asdict(self)}
