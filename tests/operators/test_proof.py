"""What the proof of multiplication-freedom sees through, and what it rightly lets pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.operators.add.operator import Add
from shiftaddaug.operators.base import Operator, Pair, Tensors
from shiftaddaug.operators.codes import Codes
from shiftaddaug.operators.proof import Use, why_it_multiplies
from shiftaddaug.operators.settings import Arithmetic
from shiftaddaug.operators.shift.operator import Shift


def reason(operator: Operator, shape: tuple[int, ...] = (4, 3, 3, 3), **use: Any) -> str | None:
    torch.manual_seed(0)
    weight = operator.effective_weight(operator.init_parameters(shape))
    return why_it_multiplies(operator, {"weight": weight}, Use(**{"stride": 2, "padding": 1, **use}))


def lying(base: type[Operator], **methods: Callable[..., Any]) -> Operator:
    return dataclass(frozen=True)(type("Liar", (base,), methods))()  # type: ignore[no-any-return]


def linear(self: Operator, x: Tensor, weight: Tensor) -> Tensor:
    return 0.3 * F.linear(x, weight)


def at_strides(self: Operator, x: Tensor, weight: Tensor, stride: Pair = 1, *rest: Any) -> Tensor:
    return F.conv2d(x, weight, None, stride, *rest) * (1.0 if stride == 1 else 0.3)


def with_padding(self: Operator, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, *rest: Any) -> Tensor:
    return F.conv2d(x, weight, None, stride, padding, *rest) * (0.3 if padding else 1.0)


def of_large(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    return F.conv2d(torch.where(x.abs() > 10, 1.1 * x, x), weight, None, *geometry)


class TwiceAsMany(Codes):
    def decode(self) -> Tensor:
        return 2 * super().decode()


def codes_of_a_kind(self: Operator, weight: Tensor) -> Codes:
    codes = Shift.codes(self, weight / 2)  # type: ignore[arg-type]
    return TwiceAsMany(codes.signs, codes.exponents)


def two_terms(self: Operator, weight: Tensor) -> Codes:
    codes = Shift.codes(self, weight)  # type: ignore[arg-type]
    halves = codes.exponents - 1
    return Codes(codes.signs.repeat(2, *(1,) * weight.dim()), halves.repeat(2, *(1,) * weight.dim()))


def alpha(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    return torch.add(x, x, alpha=0.37)  # type: ignore[call-overload, no-any-return]


def fractional(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    return torch.ldexp(x, torch.full_like(x, 0.5))


def by_numpy(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    return torch.from_numpy(x.numpy() * 0.37)


def bad_scale(self: Operator, weight: Tensor) -> Codes:
    codes = Shift.codes(self, weight)  # type: ignore[arg-type]
    return Codes(codes.signs, codes.exponents, torch.ones(7))


def by_item(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    return x + weight.amax().item() * 0.3


LIES = {
    "a linear layer": (lying(Shift, linear=linear), (4, 6), "something else"),
    "strides": (lying(Shift, conv2d=at_strides), (4, 3, 3, 3), "something else"),
    "padding": (lying(Shift, conv2d=with_padding), (4, 3, 3, 3), "something else"),
    "large inputs": (lying(Shift, conv2d=of_large), (4, 3, 3, 3), "something else"),
    "codes that decode otherwise": (lying(Shift, codes=codes_of_a_kind), (4, 3, 3, 3), "do not decode"),
    "two shifts for one": (lying(Shift, codes=two_terms), (4, 3, 3, 3), "sums of 2 powers of two"),
    "codes that are none": (lying(Shift, codes=lambda self, weight: 3), (4, 3, 3, 3), "cannot be decoded"),
    "add with a factor": (lying(Add, reference_conv2d=alpha), (4, 3, 3, 3), "executes aten::add"),
    "a fractional exponent": (lying(Add, reference_conv2d=fractional), (4, 3, 3, 3), "executes aten::"),
    "numpy": (lying(Add, reference_conv2d=by_numpy), (4, 3, 3, 3), "executes Tensor.numpy"),
    "a scale of no channels": (lying(Shift, codes=bad_scale), (4, 3, 3, 3), "a scale that is not one positive number"),
    "a number taken out": (lying(Add, reference_conv2d=by_item), (4, 3, 3, 3), "executes aten::_local_scalar_dense"),
}


@pytest.mark.parametrize(("operator", "shape", "wanted"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_seen(operator: Operator, shape: tuple[int, ...], wanted: str) -> None:
    found = reason(operator, shape)
    assert found is not None and wanted in found


def test_weights_of_more_values_than_bits_code() -> None:
    weight = 2.0 ** -torch.arange(12.0).view(4, 3, 1, 1)
    assert why_it_multiplies(Shift(), {"weight": weight}) is None
    few = lying(Shift, arithmetic=property(lambda self: Arithmetic({"shift": 1, "add": 1}, weight_bits=3)))  # type: ignore[arg-type]
    assert "more values than weight_bits=3" in str(why_it_multiplies(few, {"weight": weight}))


@dataclass(frozen=True)
class Xnor(Add):
    """Signs of weights and inputs; the weight's scale is one of its output channels."""

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic({"xnor": 1, "add": 1}, weight_bits=1, input_bits=1)

    def prepare_input(self, x: Tensor, tensors: Tensors) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    def effective_weight(self, tensors: Tensors) -> Tensor:
        weight = tensors["weight"]
        scale = weight.abs().mean(tuple(range(1, weight.dim())), keepdim=True)
        return torch.where(weight >= 0, scale, -scale)

    def conv2d(
        self, x: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
    ) -> Tensor:
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def codes(self, weight: Tensor) -> Codes:
        signs = weight.sign().to(torch.int8)
        scale = weight.abs().flatten(1).amax(1)
        return Codes(signs[None], torch.zeros_like(signs, dtype=torch.int16)[None], scale, weight.dtype)


def test_scaled_signs_multiply_nothing_where_a_norm_follows() -> None:
    assert reason(Xnor()) is None
    assert "no batch-norm follows" in str(reason(Xnor(), normalised=False))


def test_a_filter_of_zeros_may_have_no_scale() -> None:
    """A channel that training has emptied costs nobody the deployment; a scale of 0 elsewhere is a lie."""
    weight, ternary = torch.tensor([[0.3, -0.3], [0.0, 0.0]]), Arithmetic({"xnor": 1, "add": 1}, weight_bits=2)
    honest = lying(Xnor, arithmetic=property(lambda self: ternary))  # type: ignore[arg-type]
    assert why_it_multiplies(honest, {"weight": weight}, Use(normalised=True)) is None

    def no_scale(self: Operator, weight: Tensor) -> Codes:
        signs = weight.sign().to(torch.int8)[None]
        return Codes(signs, torch.zeros_like(signs, dtype=torch.int16), torch.zeros(2), weight.dtype)

    liar = lying(Xnor, codes=no_scale)
    assert "not one positive number" in str(why_it_multiplies(liar, {"weight": weight}, Use(normalised=True)))


@dataclass(frozen=True)
class TwoShifts(Shift):
    """Sums of two powers of two (as APoT, arXiv 1909.13144)."""

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic({"shift": 2, "add": 2}, weight_bits=8)

    def effective_weight(self, tensors: Tensors) -> Tensor:
        first = super().effective_weight(tensors)
        return first + super().effective_weight({"weight": tensors["weight"] - first})

    def codes(self, weight: Tensor) -> Codes:
        first = super().effective_weight({"weight": weight})
        terms = [super(TwoShifts, self).codes(part) for part in (first, weight - first)]
        return Codes(*(torch.cat([getattr(term, key) for term in terms]) for key in ("signs", "exponents")))


def test_sums_of_two_shifts_are_two_shifts() -> None:
    assert reason(TwoShifts()) is None


def signs_by_integers(self: Operator, x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    scale = 2.0 ** self.output_exponent(weight[0].numel())  # type: ignore[attr-defined]
    difference = (
        F.unfold(x, weight.shape[2:], 1, geometry[1], geometry[0])[:, None] - weight.flatten(1)[None, :, :, None]
    )
    magnitude = difference * difference.sign().to(torch.int8)
    side = int(magnitude.shape[-1] ** 0.5)
    return (-magnitude.sum(2) * scale).view(x.shape[0], weight.shape[0], side, side)


def test_products_with_signs_and_powers_of_two_are_none() -> None:
    assert reason(lying(Add, reference_conv2d=signs_by_integers)) is None
