"""Width-sliced batch-norm against torch's, and against its formula in float64."""

import copy

import pytest
import torch
from torch import Tensor

from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.widths import Widths

TARGET, WIDEST = 3, 6


def make_norm() -> HybridBatchNorm2d:
    """Float64, moved off its initial state."""
    torch.manual_seed(0)
    norm = HybridBatchNorm2d(Widths(TARGET, WIDEST)).double()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


def draw(channels: int) -> Tensor:
    return torch.randn(4, channels, 2, 2, dtype=torch.float64) * 3 + 1


def test_target_pass_is_batch_norm() -> None:
    norm, reference = HybridBatchNorm2d(Widths(3, 5)), torch.nn.BatchNorm2d(3)
    for _ in range(3):
        x = torch.randn(4, 3, 2, 2) * 3 + 1
        assert torch.equal(norm(x), reference(x))
    norm.eval(), reference.eval()
    assert torch.equal(norm(x), reference(x))
    state = norm.state()
    assert state.keys() == reference.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in reference.state_dict().items())
    assert int(norm.num_batches_tracked) == 3


def test_target_pass_leaves_the_other_channels_alone() -> None:
    norm = make_norm()
    before = copy.deepcopy(norm.state_dict())
    norm(draw(TARGET))
    for name in ("running_mean", "running_var"):
        now = norm.state_dict()[name]
        assert now[:TARGET].ne(before[name][:TARGET]).all()
        assert torch.equal(now[TARGET:], before[name][TARGET:])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [TARGET, 4, WIDEST])
def test_augmented_pass_normalises_with_its_batch(training: bool, channels: int) -> None:
    norm = make_norm().train(training)
    x = draw(channels)
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    weight, bias = (tensor[:channels].view(1, -1, 1, 1) for tensor in (norm.weight, norm.bias))
    torch.testing.assert_close(norm(x, augmented=True), (x - mean) / (var + 1e-5).sqrt() * weight + bias)


@pytest.mark.parametrize("channels", [TARGET, 4, WIDEST])
def test_augmented_training_moves_the_statistics_of_augmented_channels_alone(channels: int) -> None:
    """By momentum 0.1, the batch's variance being the unbiased one, as torch's."""
    norm = make_norm()
    wanted = copy.deepcopy(norm.state_dict())
    x = draw(channels)
    norm(x, augmented=True)
    moved = slice(TARGET, channels)
    wanted["running_mean"][moved] = 0.9 * wanted["running_mean"][moved] + 0.1 * x.mean((0, 2, 3))[moved]
    wanted["running_var"][moved] = 0.9 * wanted["running_var"][moved] + 0.1 * x.var((0, 2, 3))[moved]
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-12, atol=0)
        if value.dim():
            assert torch.equal(value[:TARGET], wanted[name][:TARGET]), name


def test_augmented_evaluation_moves_nothing() -> None:
    norm = make_norm().eval()
    before = copy.deepcopy(norm.state_dict())
    norm(draw(WIDEST), augmented=True)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_both_passes_of_a_step_have_their_gradients() -> None:
    """The statistics are written after the target's pass, before its backward pass."""
    norm = make_norm()
    x = draw(WIDEST)
    (norm(x[:, :TARGET]).pow(3).sum() + norm(x, augmented=True).pow(3).sum()).backward()
    wanted = make_norm()
    wanted(x[:, :TARGET]).pow(3).sum().backward()
    wanted(x, augmented=True).pow(3).sum().backward()
    assert isinstance(norm.weight.grad, Tensor)
    assert isinstance(wanted.weight.grad, Tensor)
    torch.testing.assert_close(norm.weight.grad, wanted.weight.grad)
    assert norm.weight.grad.ne(0).all()


def test_a_frozen_norm_trains_with_the_statistics_that_it_has() -> None:
    norm = make_norm()
    norm.frozen = True
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = draw(TARGET)
    mean, var = (before[name][:TARGET].view(1, -1, 1, 1) for name in ("running_mean", "running_var"))
    weight, bias = (before[name][:TARGET].view(1, -1, 1, 1) for name in ("weight", "bias"))
    assert torch.allclose(norm(x), (x - mean) / (var + norm.eps).sqrt() * weight + bias, rtol=1e-12)
    norm(draw(WIDEST), augmented=True)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
