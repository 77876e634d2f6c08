"""Smaller kernels than a layer's own: the centre of the largest, and the names of parameters that transform it."""

from torch import Tensor

TRANSFORM = "kernel_transform_"


def transform_name(side: int) -> str:
    """Return the name of the parameter that makes a kernel of that side."""
    return f"{TRANSFORM}{side}"


def is_transform(name: str) -> bool:
    """Return whether a parameter of that name, or path, makes a smaller kernel: decayed it would fade, not rest."""
    return name.rpartition(".")[2].startswith(TRANSFORM)


def centre(weight: Tensor, kernel: int | None) -> Tensor:
    """Return the centre of (..., k, k), of an odd side of at most k; None is k."""
    if kernel is None or kernel == weight.shape[-1]:
        return weight
    first = (weight.shape[-1] - kernel) // 2
    return weight[..., first : first + kernel, first : first + kernel]
