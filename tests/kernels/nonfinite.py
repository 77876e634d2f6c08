"""Tensors with values that are not finite, and which results they reach."""

from collections.abc import Iterator
from itertools import combinations, product

import torch
from torch import Tensor

from tests.kernels.cases import Case, tensors

VALUES = (float("nan"), float("inf"), -float("inf"))


def nonfinite_tensors(case: Case) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Yield output gradient, input and weight with a value that is not finite in one or two of them, and what that is.

    It is the first or the last element: at a border, where part of what it meets is padding.
    """
    for names in ("g", "x", "w", *combinations("gxw", 2)):
        for values, place in product(product(VALUES, repeat=len(names)), (0, -1)):
            made = dict(zip("gxw", tensors(case), strict=True))
            for name, value in zip(names, values, strict=True):
                made[name].view(-1)[place] = value
            yield f"{dict(zip(names, values, strict=True))} at {place}", (made["g"], made["x"], made["w"])


def kinds(t: Tensor) -> Tensor:
    """0 where t is finite; its infinities, and 2 for nan."""
    return torch.where(t.isnan(), 2.0, torch.where(t.isinf(), t, 0.0))
