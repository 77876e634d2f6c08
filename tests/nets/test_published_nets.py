"""AdderNet's and torchvision's nets compute what their published definitions do."""

from pathlib import Path

import pytest
import torch
import torchvision
from tests.build import plan_of
from tests.nets.test_tables import table
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.nets.build import assign, build_plain, build_supernet
from shiftaddaug.nets.extract import extract_target, load_target, save_target
from shiftaddaug.nets.functions import FUNCTIONS
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.spec import SubnetSpec


def random_statistics(net: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if "running_var" in name else 0.1 * torch.randn_like(tensor))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions(name: str) -> None:
    plan = plan_of(table(name, classifier_norm=False), 7, 3, 64)
    ours = build_plain(plan, assign(plan, operators.build("mult"))).double().eval()
    theirs = torchvision.models.get_model(name, num_classes=7).double().eval()
    random_statistics(theirs)
    values = list(theirs.state_dict().values())
    state = ours.state_dict()
    assert [tuple(value.shape) for value in state.values()] == [tuple(value.shape) for value in values]
    ours.load_state_dict(dict(zip(state, values, strict=True)))
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


def published_tail(features: Tensor, weight: Tensor, norm: torch.nn.Module) -> Tensor:
    """Mean over positions, a 1x1 convolution without bias, a batch-norm on the logits, in a few lines."""
    logits = features.double().mean((2, 3)) @ weight.double()[:, :, 0, 0].T
    scale = norm.weight.double() / (norm.running_var.double() + 1e-5).sqrt()
    return (logits - norm.running_mean.double()) * scale + norm.bias.double()


@pytest.mark.parametrize("name", ["resnet20", "vgg_small"])
def test_nets_end_as_addernets_do_in_training_extracted_and_reloaded(name: str, tmp_path: Path) -> None:
    plan = plan_of(table(name, width_mult=0.25), 7, 3, 16)
    assignment = assign(plan, operators.build("add"), ["stem", "classifier"])
    net = build_supernet(plan, assignment, (1.0, 2.0), (1.0, 2.0))
    torch.manual_seed(1)
    norm = net.module("classifier.norm")
    assert isinstance(norm, torch.nn.Module) and net.module("classifier.conv").bias is None  # type: ignore[union-attr]
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.data.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    net.eval()
    x = torch.randn(3, 3, 16, 16)
    features = net.values(x, [plan.by_name["pool"].inputs[0]])
    (last,) = features.values()
    wanted = published_tail(last, net.module("classifier.conv").target_weight(), norm)  # type: ignore[union-attr]
    logits = net(x)
    assert logits.shape == (3, 7)
    torch.testing.assert_close(logits.double(), wanted, rtol=1e-4, atol=1e-4)
    save_target(extract_target(net), tmp_path)
    assert torch.equal(load_target(tmp_path).net(x), logits)
    net.train()
    net(x, SubnetSpec(net.widening.max_channels(), augmented=True)).square().sum().backward()
    assert norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("kernel", "size"), [(2, (6, 7)), (3, (6, 7)), (3, (5, 5)), (2, (4, 4))])
def test_max_pooling(kernel: int, size: tuple[int, int]) -> None:
    """The largest value of every window whose centre (or, of an even one, first corner) is a position of the stride."""
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    node = Node("pool", "max_pool", ("x",), "s", (-(-size[0] // 2), -(-size[1] // 2)), kernel, 2)
    y = FUNCTIONS["max_pool"](node, [x])
    assert tuple(y.shape[2:]) == node.size
    before = (kernel - 1) // 2
    for i in range(node.size[0]):
        for j in range(node.size[1]):
            top, left = max(0, 2 * i - before), max(0, 2 * j - before)
            window = x[:, :, top : 2 * i - before + kernel, left : 2 * j - before + kernel]
            assert torch.equal(y[:, :, i, j], window.amax((2, 3)))
