"""The proof that a layer multiplies nothing: by what its operator stores, or by what it executes; never by its name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.utils._python_dispatch import TorchDispatchMode

from shiftaddaug.operators.base import Operator, Tensors
from shiftaddaug.operators.codes import Codes, is_power_of_two

PRODUCTS = ("mul", "div")
"""Operations that are shifts where one factor is a power of two."""
_ARITHMETIC = """
add sub rsub neg abs sum sign relu hardtanh clamp clamp_min clamp_max minimum maximum where round floor ceil trunc
eq ne lt le gt ge isfinite isnan any all amax amin max min logical_and logical_or logical_not cumsum
bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift __rshift__ __lshift__ ldexp
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


class MultiplicationFound(Exception):
    """An operation that multiplies, or that nobody knows not to."""


class RefuseProducts(TorchDispatchMode):
    """Raise MultiplicationFound on whatever is executed that is no sum, comparison, copy, or shift."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        namespace, _, short = name.partition("::")
        short = short.rstrip("_") if not short.startswith("__") else short
        if namespace != "aten" or not (short in FREE or _is_free_with(short, args)):
            raise MultiplicationFound(name)
        return func(*args, **(kwargs or {}))


def _is_free_with(name: str, args: Any) -> bool:
    """Whether an operation multiplies nothing with these arguments: a shift, or distances that are l1 norms."""
    if name in PRODUCTS:
        factors = args[1:2] if name == "div" else args[:2]
        return any(_is_power(factor) for factor in factors)
    return name == "_cdist_forward" and args[2] == 1


def _is_power(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(is_power_of_two(value).all()) if value.is_floating_point() else False
    return isinstance(value, int | float) and bool(is_power_of_two(torch.tensor(float(value), dtype=torch.float64)))


@torch.no_grad()
def why_it_multiplies(operator: Operator, tensors: Tensors, groups: int = 1, normalised: bool = True) -> str | None:
    """The reason why a deployed layer multiplies, or cannot be shown not to; None where it is shown.

    Args:
        operator: of the layer.
        tensors: the deployed ones: `weight`, of a convolution or a linear layer, and those that prepare the input.
        groups: of the convolution.
        normalised: whether a batch-norm follows, which absorbs a scale of the output channels.
    """
    if not operator.multiplication_free:
        return f"its arithmetic is {dict(operator.arithmetic.operations)}"
    weight = tensors["weight"].detach().cpu()
    if not bool(weight.isfinite().all()):
        return "it has weights that are no numbers"
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    weight = weight[:, :, None, None] if weight.dim() == 2 else weight
    x = _some_input(weight, groups)
    try:
        with RefuseProducts():
            prepared = operator.prepare_input(x, tensors)
    except MultiplicationFound as found:
        return f"it prepares its input by {found}"
    codes = operator.codes(tensors["weight"])
    if codes is None:
        return _by_execution(operator, prepared, weight, groups)
    return _by_codes(operator, codes, tensors["weight"], normalised) or _unlike(
        operator, prepared, weight, groups, lambda: conv2d(prepared.double(), weight.double(), None, 1, 0, 1, groups)
    )


def _some_input(weight: Tensor, groups: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, weight.shape[1] * groups, *weight.shape[2:])
    return torch.randn(shape, generator=generator).to(weight.dtype)


def _by_codes(operator: Operator, codes: Codes, weight: Tensor, normalised: bool) -> str | None:
    """The reason why the codes prove nothing, if so."""
    operations = operator.arithmetic.operations
    if codes.signs.dtype != torch.int8 or not bool((codes.signs.abs() <= 1).all()):
        return "its codes hold signs that are not -1, 0 or 1"
    if not torch.equal(codes.decode(), weight):
        return "its codes do not decode to its weights"
    if len(codes.signs) > operations.get("add", 0) + operations.get("xnor", 0) + operations.get("lookup", 0):
        return f"its weights are sums of {len(codes.signs)} powers of two, its arithmetic is {dict(operations)}"
    shifted = bool((codes.exponents[codes.signs != 0] != 0).any())
    if shifted and not {"shift", "lookup"} & set(operations):
        return f"its weights shift, its arithmetic is {dict(operations)}"
    if codes.scale is not None and not normalised and not bool(is_power_of_two(codes.scale).all()):
        return "its outputs have a scale that is no power of two, and no batch-norm follows to absorb it"
    return None


def _by_execution(operator: Operator, x: Tensor, weight: Tensor, groups: int) -> str | None:
    def reference() -> Tensor:
        return operator.reference_conv2d(x.double(), weight.double(), 1, 0, 1, groups)

    try:
        with RefuseProducts():
            reference()
    except MultiplicationFound as found:
        return f"it executes {found}"
    return _unlike(operator, x, weight, groups, reference)


def _unlike(operator: Operator, x: Tensor, weight: Tensor, groups: int, reference: Callable[[], Tensor]) -> str | None:
    """The reason, if what the layer computes is not what was looked at."""
    y, wanted = operator.conv2d(x, weight, 1, 0, 1, groups).double(), reference().double()
    tolerance = 16 * torch.finfo(x.dtype).eps * weight[0].numel() * float(wanted.abs().amax())
    if y.shape != wanted.shape or not bool((y - wanted).abs().amax() <= tolerance):
        return "it computes something else than its codes, or its reference, say"
    return None
