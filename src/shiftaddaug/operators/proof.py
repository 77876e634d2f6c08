"""The proof that a layer multiplies nothing: by what its operator stores, or by what it executes; never by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from shiftaddaug.operators.base import Operator, Tensors
from shiftaddaug.operators.codes import Codes, is_power_of_two

PRODUCTS = ("mul", "div")
"""Operations that are shifts where one factor is a power of two."""
_ARITHMETIC = """
add sub rsub neg abs sum sign relu hardtanh clamp clamp_min clamp_max minimum maximum where round floor ceil trunc
eq ne lt le gt ge isfinite isnan any all amax amin max min logical_and logical_or logical_not cumsum
bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift __rshift__ __lshift__
"""
_MEMORY = """
view _unsafe_view reshape _reshape_alias expand permute transpose t slice select narrow unsqueeze squeeze as_strided
unfold im2col constant_pad_nd pad cat stack clone copy contiguous detach alias empty empty_like empty_strided
new_empty new_empty_strided zeros zeros_like new_zeros ones ones_like new_ones full full_like new_full fill zero
_to_copy to index index_select gather unbind split split_with_sizes chunk repeat flip lift_fresh arange scalar_tensor
promote_types result_type resize masked_fill flatten view_as diagonal movedim
"""
FREE = frozenset((_ARITHMETIC + _MEMORY).split())
"""Operations of torch that multiply nothing; all others are refused."""


EXITS = ("numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage")
"""Methods of tensors that hand their values to code that nobody watches."""


class MultiplicationFound(Exception):
    """An operation that multiplies, or that is not known to be free of products."""


@dataclass(frozen=True)
class Use:
    """How a layer uses its operator."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    normalised: bool = True
    """Whether a batch-norm is all that reads the layer: it absorbs a scale of the output channels."""

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """Arguments of a convolution."""
        return self.stride, self.padding, self.dilation, self.groups


class RefuseProducts(TorchDispatchMode):
    """Raise MultiplicationFound on whatever is executed that is no sum, comparison, copy, or shift."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name, kwargs or {}
        namespace, _, short = name.partition("::")
        short = short.rstrip("_") if not short.startswith("__") else short
        free = namespace == "aten" and (short in FREE or _is_free_with(short, args))
        if not free or not _is_power(kwargs.get("alpha", 1)):
            raise MultiplicationFound(name)
        return func(*args, **kwargs)


class RefuseExits(TorchFunctionMode):
    """Raise MultiplicationFound where values leave torch, to be multiplied by Python or numpy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in EXITS:
            raise MultiplicationFound(f"Tensor.{name}")
        return func(*args, **(kwargs or {}))


def _is_free_with(name: str, args: Any) -> bool:
    """Whether an operation multiplies nothing with these arguments: a shift, or distances that are l1 norms."""
    if name in PRODUCTS:
        factors = args[1:2] if name == "div" else args[:2]
        return any(_is_power(factor) for factor in factors)
    if name == "ldexp":
        return isinstance(args[1], Tensor) and not args[1].is_floating_point()
    return name == "_cdist_forward" and args[2] == 1


def _is_power(value: Any) -> bool:
    """Whether a factor is 0 or a signed power of two throughout; signs and masks of integers are, too."""
    if isinstance(value, Tensor):
        return not value.is_complex() and bool(is_power_of_two(value.double()).all())
    return isinstance(value, int | float) and bool(is_power_of_two(torch.tensor(float(value), dtype=torch.float64)))


@torch.no_grad()
def why_it_multiplies(operator: Operator, tensors: Tensors, use: Use = Use()) -> str | None:
    """The reason why a deployed layer multiplies, or cannot be shown not to; None where it is shown.

    The layer is computed as it is used, on inputs of a few magnitudes. An operator is not taken at its word, but its
    author is no adversary: what it does in another thread, or with other inputs, is not seen.

    Args:
        operator: of the layer.
        tensors: the deployed ones: `weight`, (F, C / groups, kh, kw) of a convolution or (F, C) of a linear layer, and
            those that prepare the input.
        use: of the operator by the layer.
    """
    if not operator.multiplication_free:
        return f"its arithmetic is {dict(operator.arithmetic.operations)}"
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    weight = tensors["weight"]
    if not bool(weight.isfinite().all()):
        return "it has weights that are no numbers"
    if weight.dim() == 2:
        use = Use(normalised=use.normalised)
    x = _some_input(weight, use)
    try:
        with RefuseExits(), RefuseProducts():
            prepared = operator.prepare_input(x, tensors)
    except MultiplicationFound as found:
        return f"it prepares its input by {found}"
    codes = operator.codes(weight)
    if codes is None:
        return _by_execution(operator, prepared, weight, use)
    try:
        reason = _why_codes_prove_nothing(operator, codes, weight, use.normalised)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return f"its codes cannot be decoded ({' '.join(str(error).split())[:100]})"
    return reason or _unlike(operator, prepared, weight, use, _convolution)


def _some_input(weight: Tensor, use: Use) -> Tensor:
    """Images of several magnitudes, of a size at which strides and padding count."""
    generator = torch.Generator().manual_seed(0)
    sides = [use.dilation * (kernel - 1) + 1 + use.stride for kernel in weight.shape[2:]]
    x = torch.randn(4, weight.shape[1] * use.groups, *sides, generator=generator, dtype=torch.float64)
    magnitudes = torch.tensor([1.0, 2.0**-6, 2.0**6, 1.0], dtype=torch.float64)
    return (x * magnitudes.view(-1, *(1,) * (x.dim() - 1))).to(weight.dtype)


def _is_scale(scale: Tensor, signs: Tensor) -> bool:
    """Whether a scale is positive wherever it scales anything: that of zeros alone may be 0."""
    used = (signs != 0).any(0)
    used = used.flatten(1).any(1) if scale.dim() else used.any()
    return bool(((scale > 0) | ((scale == 0) & ~used)).all())


def _why_codes_prove_nothing(operator: Operator, codes: Codes, weight: Tensor, normalised: bool) -> str | None:
    arithmetic = operator.arithmetic
    operations, signs = arithmetic.operations, codes.signs
    if signs.dtype != torch.int8 or not bool((signs.abs() <= 1).all()):
        return "its codes hold signs that are not -1, 0 or 1"
    if signs.shape[1:] != weight.shape or codes.exponents.shape != signs.shape:
        return "its codes are not of its weights' shape"
    scale = codes.scale
    if scale is not None and (scale.shape not in ((), weight.shape[:1]) or not _is_scale(scale, signs)):
        return "its codes have a scale that is not one positive number, or one of each output channel"
    if not torch.equal(Codes.decode(codes), weight):
        return "its codes do not decode to its weights"
    if len(signs) > max(operations.get(kind, 0) for kind in ("add", "xnor", "lookup")):
        return f"its weights are sums of {len(signs)} powers of two, its arithmetic is {dict(operations)}"
    exponents = torch.where(signs == 0, 0, codes.exponents)
    shifts = int((exponents != 0).sum(0).amax())
    if shifts > operations.get("shift", 0) and "lookup" not in operations:
        return f"its weights take {shifts} shifts, its arithmetic is {dict(operations)}"
    if len(_packed(signs, exponents).unique()) > 2**arithmetic.weight_bits:
        return f"its weights have more values than weight_bits={arithmetic.weight_bits} can code"
    if scale is not None and not normalised and not bool(is_power_of_two(scale).all()):
        return "its outputs have a scale that is no power of two, and no batch-norm follows to absorb it"
    return None


def _packed(signs: Tensor, exponents: Tensor) -> Tensor:
    """One integer for each weight, equal where all its terms are."""
    packed = torch.zeros(signs.shape[1:], dtype=torch.int64)
    for sign, exponent in zip(signs.long(), exponents.long(), strict=True):
        packed = packed * 2053 + sign * 1024 + exponent  # exponents of float64 lie within +-1023 or so; may wrap
    return packed


def _by_execution(operator: Operator, x: Tensor, weight: Tensor, use: Use) -> str | None:
    def reference(x: Tensor, weight: Tensor, use: Use) -> Tensor:
        return operator.reference_conv2d(x, weight, *use.geometry)

    try:
        with RefuseExits(), RefuseProducts():
            reference(_as_images(x.double()), _as_images(weight.double()), use)
    except MultiplicationFound as found:
        return f"it executes {found}"
    return _unlike(operator, x, weight, use, reference)


def _convolution(x: Tensor, weight: Tensor, use: Use) -> Tensor:
    return conv2d(x, weight, None, *use.geometry)


def _as_images(values: Tensor) -> Tensor:
    """Return (N, C) as (N, C, 1, 1), of the input or of the weight of a linear layer."""
    return values[:, :, None, None] if values.dim() == 2 else values


def _unlike(
    operator: Operator, x: Tensor, weight: Tensor, use: Use, reference: Callable[[Tensor, Tensor, Use], Tensor]
) -> str | None:
    """The reason, if what the layer computes is not what was looked at."""
    linear = weight.dim() == 2
    y = operator.linear(x, weight) if linear else operator.conv2d(x, weight, *use.geometry)
    wanted = reference(_as_images(x.double()), _as_images(weight.double()), use).flatten(1)
    y = y.double().flatten(1)
    tolerance = 16 * torch.finfo(x.dtype).eps * weight[0].numel() * wanted.abs().amax(1, keepdim=True)
    if y.shape != wanted.shape or not bool(((y - wanted).abs() <= tolerance).all()):
        return "it computes something else than its codes, or its reference, say"
    return None
