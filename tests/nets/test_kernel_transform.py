"""Learned transforms of kernels: what they compute, that they learn, and where they are refused."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from tests.build import SHARINGS, drawn, images
from tests.nets.subnets import make, random_spec
from tests.nets.test_subnetworks import SPECS, assert_same, at_most_target

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.reading import MULTIPLIED
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.reorder import apply, permutations


class TestKernelTransform:
    def make(self, op: str = "mult", kernel: int = 7) -> HybridConv2d:
        widths = Widths(4, 6)
        layer = HybridConv2d(operators.build(op), widths, widths, kernel, depthwise=True, kernel_transform=True)
        return drawn(layer)

    @pytest.mark.parametrize("op", ["mult", "shift"])
    def test_at_first_it_is_the_centre(self, op: str) -> None:
        layer = self.make(op)
        plain = HybridConv2d(operators.build(op), Widths(4, 6), Widths(4, 6), 7, depthwise=True)
        plain.load_state_dict(layer.state_dict(), strict=False)
        for kernel, channels in product((1, 3, 5, 7), (2, 4, 6)):
            x = torch.randn(2, channels, 9, 9)
            torch.testing.assert_close(layer(x, kernel=kernel), plain(x, kernel=kernel), rtol=1e-5, atol=1e-5)

    def test_by_hand(self) -> None:
        """5 from the centre of 7, 3 from the centre of that: once-for-all, section 3.2."""
        layer = self.make()
        with torch.no_grad():
            layer.kernel_transform_5.copy_(torch.randn(25, 25))
            layer.kernel_transform_3.copy_(torch.randn(9, 9))
        x = torch.randn(2, 6, 9, 9)
        five = (layer.weight[:, 0, 1:6, 1:6].reshape(6, 25) @ layer.kernel_transform_5.T).view(6, 1, 5, 5)
        three = (five[:, 0, 1:4, 1:4].reshape(6, 9) @ layer.kernel_transform_3.T).view(6, 1, 3, 3)
        one = three[:, :, 1:2, 1:2]
        for kernel, weight in ((5, five), (3, three), (1, one)):
            wanted = torch.nn.functional.conv2d(x, weight, None, 1, kernel // 2, 1, 6)
            for reading in (layer, lambda *a, **k: layer(*a, reading=MULTIPLIED, **k)):
                torch.testing.assert_close(reading(x, kernel=kernel), wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(layer(x), layer(x, kernel=7))

    @pytest.mark.parametrize("op", ["mult", "shift"])
    def test_of_a_net_it_learns_and_is_exact(self, op: str) -> None:
        supernet = make("mcunet", op, kernel_transform=True).train()
        names = [name for name, _ in supernet.named_parameters() if "kernel_transform" in name]
        assert any(name.endswith("_5") for name in names) and any(name.endswith("_3") for name in names)
        with torch.no_grad():
            for name in names:
                supernet.get_parameter(name).add_(0.1 * torch.randn(supernet.get_parameter(name).shape))
        sides = {node.name: node.kernel for node in supernet.graph.nodes if node.kind == "conv" and node.kernel > 3}
        spec = replace(supernet.target_spec, kernels=tuple((name, 3) for name in sides), augmented=True)
        supernet(images(4), spec).square().sum().backward()
        for name in names:
            gradient = supernet.get_parameter(name).grad
            assert gradient is not None and gradient.abs().max() > 0, name
        supernet.eval()
        for seed in range(SPECS):
            random_one = at_most_target(supernet, seed)
            assert_same(supernet, random_one, extract(supernet, random_one), images())

    def test_is_refused_where_a_weight_has_no_one_form(self) -> None:
        with pytest.raises(UserError, match=r"^kernel_transform=true: op=shift_ps trains .* besides; options: false"):
            make("mcunet", "shift_ps", wide=1.0, kernel_transform=True)
        with pytest.raises(UserError, match=r"^kernel_transform=true: op=shift reads its weight through R; options: f"):
            make("mcunet", "shift", SHARINGS["remapped"]["shift"], kernel_transform=True)
        with pytest.raises(UserError, match=r"^kernel_transform=true: op=add publishes update directions, of which"):
            make("mcunet", "add", kernel_transform=True)

    def test_a_reorder_leaves_it_alone(self) -> None:
        supernet = make("mcunet", "mult", kernel_transform=True)
        spec = replace(random_spec(supernet, 1), channels=supernet.widening.max_channels())
        before = supernet.double()(images().double(), spec)
        orders = permutations(supernet)
        apply(orders, supernet)
        assert any((order != torch.arange(len(order))).any() for order in orders.values())
        torch.testing.assert_close(supernet(images().double(), spec), before)
