"""Specs that no sub-network has are refused, in one line, wherever they are given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.build import images
from tests.nets.subnets import make
from tests.nets.unet import unet_plan

from shiftaddaug import operators
from shiftaddaug.hybrid.layers import HybridConv2d
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.units import ends


class TestMistakes:
    @pytest.fixture(scope="class")
    def supernet(self) -> Supernet:
        return make("mbv2_micro", "shift", extra_blocks=1)

    def refused(self, supernet: Supernet, spec: SubnetSpec, message: str) -> None:
        for attempt in (supernet.graph.at, supernet.run, lambda spec: extract(supernet, spec)):
            with pytest.raises(ValueError, match=message) as caught:
                attempt(spec)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"channels": lambda c: c[:-1]}, r"^channels: \d+ for \d+ spaces of net=mbv2_micro$"),
            ({"channels": lambda c: (*c, 8)}, r"^channels: \d+ for \d+ spaces of net=mbv2_micro$"),
            ({"channels": lambda c: (1, *c[1:])}, r"^channels of image: 1: must be 3$"),
            ({"channels": lambda c: tuple(3 if n == 7 else n for n in c)}, r"^channels of classes: 3: must be 7$"),
            ({"kernels": (("nothing", 3),)}, r"^kernels: nothing: no such convolution in net=mbv2_micro$"),
            ({"kernels": (("blocks.0", 3),)}, r"^kernels: blocks.0: no such convolution"),
            ({"kernels": (("classifier", 1),)}, r"^kernels: classifier: no such convolution"),
            ({"kernels": (("stem.conv", 5),)}, r"^kernels: stem.conv: 5: no such kernel; options: 1, 3$"),
            ({"kernels": (("stem.conv", -1),)}, r"^kernels: stem.conv: -1: no such kernel; options: 1, 3$"),
            (
                {"skipped": frozenset({"nothing"})},
                r"^skipped: nothing: no block of net=mbv2_micro that can be; opt",
            ),
            ({"skipped": frozenset({"blocks.0"})}, r"^skipped: blocks.0: no block .* options: blocks.2"),
            ({"skipped": frozenset({"stem"})}, r"^skipped: stem: no block of net=mbv2_micro that can be; options: "),
            ({"skipped": frozenset({"extras.99"})}, r"^skipped: extras.99: no block of net=mbv2_micro that can be"),
            ({"fades": (("nothing", 0.5),)}, r"^fades: nothing: no block of net=mbv2_micro that can be; options: "),
            ({"multiplied": frozenset({"nothing"})}, r"^multiplied: nothing: no such layer in net=mbv2_micro$"),
            ({"multiplied": frozenset({"stem.norm"})}, r"^multiplied: stem.norm: no such layer"),
            ({"blends": (("nothing", 0.5),)}, r"^blends: nothing: no such layer in net=mbv2_micro$"),
        ],
    )
    def test_names_and_widths(self, supernet: Supernet, changes: dict[str, Any], message: str) -> None:
        target = supernet.target_spec
        made = {key: value(target.channels) if callable(value) else value for key, value in changes.items()}
        self.refused(supernet, replace(target, **made), message)

    @pytest.mark.parametrize(
        "changes",
        [
            *({"channels": (8, bad)} for bad in (True, 8.0, "8", None, 0, -1, np.int64(8), torch.tensor(8))),
            {"channels": [8, 8]},
            {"augmented": "no"},
            *({key: bad} for key in ("multiplied", "skipped") for bad in ([], (), "a", {"a"})),
            *({key: bad} for key in ("kernels", "blends", "fades") for bad in ({}, [], ("a",), (["a", 0.5],))),
            *({"kernels": (("a", bad),)} for bad in (2, 3.0, True, "3", None)),
            {"kernels": (("a", 1), ("a", 3))},
            {"blends": (("a", 0.5), ("a", 0.6))},
            {"blends": (("a", 1.1),)},
            {"blends": (("a", -0.1),)},
            *({"fades": (("a", bad),)} for bad in (-0.1, 0.0, 1.0, 1.5)),
            {"multiplied": frozenset("a"), "blends": (("a", 0.5),)},
            {"skipped": frozenset("a"), "fades": (("a", 0.5),)},
        ],
        ids=str,
    )
    def test_fields(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be") as caught:
            SubnetSpec(**{"channels": (8, 8), **changes})
        assert "\n" not in str(caught.value)

    def test_wider_than_the_widest(self, supernet: Supernet) -> None:
        target = supernet.target_spec
        with pytest.raises(ValueError, match=r"^channels of stem: 999: must be between 1 and \d+"):
            supernet(images(), replace(target, channels=(3, 999, *target.channels[2:])))

    def test_multiplying_by_what_is_no_weight(self) -> None:
        supernet = make("mbv2_micro", "shift_ps", wide=1.0)
        with pytest.raises(ValueError, match=r"^multiplied: head.conv: trains no weight that it could multiply by"):
            supernet.run(replace(supernet.target_spec, multiplied=frozenset({"head.conv"})))

    def test_of_a_layer(self) -> None:
        layer, x = HybridConv2d(operators.build("mult"), Widths(4, 6), Widths(4, 6), 5), torch.randn(1, 4, 9, 9)
        for kernel in (0, 2, 4, 7, -1):
            with pytest.raises(ValueError, match=rf"^kernel={kernel}: must be odd, and at most 5"):
                layer(x, kernel=kernel)
        for channels in (0, 7, -1):
            with pytest.raises(ValueError, match=rf"^{channels} channels: must be between 1 and 6"):
                layer(x, channels)

    def test_a_block_that_is_read_within_cannot_be_skipped(self) -> None:
        plan = unet_plan()
        free = [unit for unit in plan.units() if ends(plan, unit) is not None]
        inside = next(node for node in plan.units()[free[0]] if node.kind == "act")
        assert ends(replace(plan, outputs=(*plan.outputs, ("inside", inside.name))), free[0]) is None
