"""Taking channels apart and together: values and gradients as torch's own slices give, in channels_last."""

import torch
from torch import Tensor

from shiftaddaug.hybrid.channels import add_to_first_channels, split_channels, with_first_channels


def drawn(*shape: int) -> Tensor:
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def test_split() -> None:
    x, g, h = drawn(2, 5, 3, 3), torch.randn(2, 2, 3, 3), torch.randn(2, 3, 3, 3)
    first, rest = split_channels(x, 2)
    assert torch.equal(first, x[:, :2]) and torch.equal(rest, x[:, 2:])
    ((first * g).sum() + (rest * h).sum()).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.cat([g, h], 1).double())


def test_with_first() -> None:
    x, g, h = drawn(2, 5, 3, 3), torch.randn(2, 5, 3, 3), torch.randn(2, 2, 3, 3)
    whole, first = with_first_channels(x, 2)
    assert torch.equal(whole, x) and torch.equal(first, x[:, :2])
    ((whole * g).sum() + (first * h).sum()).backward()
    wanted = g.double()
    wanted[:, :2] += h
    assert x.grad is not None
    assert torch.equal(x.grad, wanted)


def test_add_to_first() -> None:
    x, part = drawn(2, 5, 3, 3), drawn(2, 2, 3, 3)
    g = torch.randn(2, 5, 3, 3)
    y = add_to_first_channels(x * 2, part)
    assert torch.equal(y, torch.cat([2 * x[:, :2] + part, 2 * x[:, 2:]], 1))
    (y * g).sum().backward()
    assert x.grad is not None and part.grad is not None
    assert torch.equal(x.grad, 2 * g.double()) and torch.equal(part.grad, g[:, :2].double())


def test_gradients_stay_channels_last() -> None:
    x = drawn(2, 5, 3, 3)
    first, rest = split_channels(x * 1, 2)
    (first.sum() + rest.sum()).backward()
    assert x.grad is not None and x.grad.is_contiguous(memory_format=torch.channels_last)


def test_a_sum_of_two_dtypes_is_of_the_wider() -> None:
    """Under autocast an add layer's large outputs stay float32 beside a convolution's bfloat16."""
    y = torch.randn(2, 5, 3, 3).bfloat16().requires_grad_()
    part = (torch.randn(2, 2, 3, 3) - 64).requires_grad_()
    total = add_to_first_channels(y * 1, part)
    assert total.dtype == torch.float32
    assert torch.equal(total, torch.cat([y[:, :2].float() + part, y[:, 2:].float()], 1))
    total.sum().backward()
    assert y.grad is not None and part.grad is not None
    assert (y.grad.dtype, part.grad.dtype) == (torch.bfloat16, torch.float32)
