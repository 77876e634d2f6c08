"""The interpreter and the network class, on nets of every kind of node."""

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.build import REMAPS, images, make_supernet, plan_of, widest
from tests.nets.unet import CLASSES, SIZE, make_unet, unet_plan
from tests.nets.unet import images as unet_images
from torch import Tensor, nn

from shiftaddaug import operators
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.build import assign, build_plain
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import extract_target, load_target, max_difference, save_target
from shiftaddaug.nets.net import Net, Run
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plain import plain_factory
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.reorder import apply, channel_dims, crossed, permutations, space_widths
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.operators.mult.operator import Mult

CASES = {
    "mult": ("mult", PLAIN),
    "shift": ("shift", PLAIN),
    "add": ("add", PLAIN),
    "shift-remapped": ("shift", Sharing(REMAPS["shift"])),
    "add-remapped": ("add", Sharing(REMAPS["add"])),
    "add-same": ("add", Sharing(multiplicative_augmentation=False)),
}


def plain(plan: Plan) -> Net:
    torch.manual_seed(0)
    net = Net(plan, plain_factory(plan, assign(plan, Mult())))
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    return net.eval()


class TestUnet:
    """Layers of two sources, enlargement to a skip's size, a head of pixels."""

    def test_it_computes_what_is_written_out_by_hand(self) -> None:
        net = plain(unet_plan())
        x = unet_images()
        levels = list(net.levels(x).values())
        assert [level.shape[-2:] for level in levels] == [(25, 35), (13, 18), (7, 9)]
        value = levels[-1]
        for i, skip in enumerate(levels[-2::-1]):
            up = F.interpolate(value, skip.shape[-2:], mode="bilinear", align_corners=False)
            part = net.get_submodule(f"decoder.{i}")
            value = F.relu(part.norm(F.conv2d(torch.cat([up, skip], 1), part.conv.weight, padding=1)))
        outputs = net.outputs(x)
        assert torch.equal(outputs["features"], value)
        head = net.get_submodule("classifier")
        logits = F.conv2d(value, head.weight) + head.bias.view(1, -1, 1, 1)
        assert torch.equal(outputs["logits"], logits) and torch.equal(net(x), logits)
        assert logits.shape == (2, CLASSES, 25, 35)

    @pytest.mark.parametrize("case", CASES)
    def test_a_step_moves_everything_and_extraction_is_exact(self, case: str) -> None:
        op, sharing = CASES[case]
        net, x = make_unet(op, sharing), unet_images()
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
        before = {name: parameter.clone() for name, parameter in net.named_parameters()}
        deep = SubnetSpec(net.target_spec.channels)
        for spec in (deep, widest(net)):
            net(x, spec).square().mean().backward()
        net.rescale_gradients()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        optimizer.step()
        moved = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
        assert {name for name in before if name.endswith("weight")} == {n for n in moved if n.endswith("weight")}
        kept = ["stem", "se", "classifier"]
        target = extract_target(net)
        assert max_difference(net, target.net, x) == 0
        assert max_difference(net, target.net, unet_images((41, 64))) == 0  # sizes are those of values, not of the plan
        cost = net_cost(net.plan, assign(net.plan, operators.build(op), kept))
        assert sum(p.numel() for p in target.net.parameters()) == cost.params

    @pytest.mark.parametrize("case", CASES)
    def test_augmented_passes_leave_the_targets_evaluation_alone(self, case: str) -> None:
        net, x = make_unet(*CASES[case]), unet_images()
        before = net.eval()(x)
        net.train()(x, widest(net))
        assert torch.equal(net.eval()(x), before)

    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        net = make_unet("shift")
        save_target(extract_target(net), tmp_path)
        loaded = load_target(tmp_path)
        assert loaded.net.plan == unet_plan()
        assert max_difference(net, loaded.net, unet_images()) == 0

    def test_cost_counts_all_sources(self) -> None:
        plan = unet_plan()
        layer = plan.by_name["decoder.0.conv"]
        channels = plan.channels()
        assert plan.sources(layer) == ("blocks.4", "blocks.2")
        assert build_plain(plan, assign(plan, Mult(), [])).get_submodule("decoder.0.conv").weight.shape == (
            6,
            8 + 6,
            3,
            3,
        )
        assert layer.size == (13, 18) and channels["blocks.4"] + channels["blocks.2"] == 14

    def test_dilation_in_place_of_stride_trains_and_extracts(self) -> None:
        plan = unet_plan(output_stride=4)
        assert [level.stride for level in plan.levels] == [2, 4]
        assert plan.by_name["blocks.4.conv2.conv"].dilation == 2
        for op in ("shift", "add"):
            net = make_supernet(plan, op, ["stem"], width_multipliers=(1.0, 2.0), divisor=2)
            net(unet_images(), widest(net)).square().mean().backward()
            assert max_difference(net, extract_target(net).net, unet_images()) == 0

    def test_a_reorder_of_the_multiplicative_net_changes_no_output(self) -> None:
        net, x = make_unet("mult").double().eval(), unet_images(dtype=torch.float64)
        for tensor in net.parameters():
            if tensor.dim() > 1:
                nn.init.kaiming_uniform_(tensor)
        before = net(x, widest(net))
        orders = permutations(net)
        assert crossed(net, orders)[0] > 0
        assert {"blocks.0", "blocks.2", "blocks.4", "decoder.0"} <= orders.keys()
        weights = {name: value.clone() for name, value in net.state_dict().items()}
        apply(orders, net)
        after = net(x, widest(net))
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9 * float(before.detach().abs().max()))
        apply({space: order.argsort() for space, order in orders.items()}, net)
        assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())

    def test_every_channel_of_every_source_has_its_column(self) -> None:
        net = make_unet("mult")
        widths = space_widths(net)
        rows = [row for row in channel_dims(net) if row.name == "decoder.0.conv.weight" and row.dim == 1]
        assert [row.space for row in rows] == ["blocks.4", "blocks.2"]
        columns = torch.cat([row.positions for row in rows if row.positions is not None])
        assert columns.sort().values.tolist() == list(range(sum(widths[row.space].max for row in rows)))


class TestModules:
    @pytest.mark.parametrize("kind", ["plain", "supernet"])
    def test_a_copy_computes_with_its_own_weights(self, kind: str) -> None:
        net: Any = plain(plan_of("mbv3_w035")) if kind == "plain" else make_unet("shift").eval()
        x = images(2) if kind == "plain" else unet_images()
        before = net(x)
        other = copy.deepcopy(net)
        assert torch.equal(other(x), before)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
        assert torch.equal(other(x), before)
        assert not torch.equal(net(x), before)

    def test_a_module_that_is_replaced_is_computed_with(self) -> None:
        """As torch's own conversion does it, and by hand."""
        net = plain(plan_of("mbv3_w035"))
        x = images(2)
        before = net(x)
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        assert converted is net
        assert isinstance(net.module("stem.norm"), nn.SyncBatchNorm)
        torch.testing.assert_close(net(x), before)
        net.get_submodule("blocks.0.project").norm = nn.Identity()
        assert isinstance(net.module("blocks.0.project.norm"), nn.Identity)
        values = net.values(x, ["blocks.0.project.conv", "blocks.0.project.norm"])
        assert torch.equal(values["blocks.0.project.conv"], values["blocks.0.project.norm"])

    def test_a_factory_may_make_a_module_for_a_node_of_any_kind(self) -> None:
        class Seen(nn.Module):
            def __init__(self, node: Node) -> None:
                super().__init__()
                self.node, self.shapes = node, []  # type: ignore[var-annotated]

            def forward(self, *inputs: Tensor) -> Tensor:
                self.shapes.append([x.shape[1] for x in inputs])
                return inputs[0] + inputs[1] if len(inputs) == 2 else F.relu(inputs[0])

        plan = plan_of("resnet20")
        make = plain_factory(plan, assign(plan, Mult()))
        net = Net(plan, lambda node: Seen(node) if node.kind in ("add", "act") else make(node))
        wanted = plain(plan)
        net.load_state_dict(wanted.state_dict())
        assert list(net.state_dict()) == list(wanted.state_dict())
        assert torch.equal(net.eval()(images(2)), wanted(images(2)))
        module: Any = net.module("blocks.3.add")
        assert module.shapes == [[32, 32]]

    def test_names_are_those_of_the_plan(self) -> None:
        net = make_unet("add")
        assert [name for name, module in net.named_modules() if name in net.graph.registered] == [*net.graph.registered]
        assert net.module("blocks.0.se.gate") is None
        assert set(extract_target(net).net.state_dict()) == set(
            build_plain(net.plan, assign(net.plan, operators.build("add"), ["stem"])).state_dict()
        )


class TestValues:
    def test_by_name_and_nothing_more_is_computed(self) -> None:
        class Counting(Run):
            def __init__(self) -> None:
                self.computed: list[str] = []

            def __call__(self, node: Node, module: nn.Module | None, inputs: list[Tensor]) -> Tensor:
                self.computed.append(node.name)
                return super().__call__(node, module, inputs)

        net, run = plain(plan_of("mbv3_w035")), Counting()
        x = images(2)
        values = net.values(x, ["blocks.0.add", "stem.act"], run)
        assert list(values) == ["blocks.0.add", "stem.act"]
        assert run.computed[-1] == "blocks.0.add"
        conv: Any = net.module("stem.conv")
        norm: Any = net.module("stem.norm")
        assert torch.equal(values["stem.act"], F.hardswish(norm(conv(x))))

    def test_every_value_is_dropped_after_its_last_reader(self) -> None:
        """While a node is computed, what lives are its inputs and what later nodes read."""

        class Watching(Run):
            def __init__(self, plan: Plan) -> None:
                steps = plan.last_uses()
                self.dropped = {node.name: set(over) for node, over in steps}
                self.living: dict[str, weakref.ref[Tensor]] = {}
                self.wanted: set[str] = set()

            def __call__(self, node: Node, module: nn.Module | None, inputs: list[Tensor]) -> Tensor:
                alive = {name for name, value in self.living.items() if value() is not None}
                assert alive == self.wanted, node.name
                y = super().__call__(node, module, inputs)
                self.living[node.name] = weakref.ref(y)
                self.wanted = (self.wanted | {node.name}) - self.dropped[node.name]
                return y

        gc.disable()
        try:
            with torch.no_grad():
                for net, x in ((plain(plan_of("resnet20")), images(2)), (plain(unet_plan()), unet_images())):
                    net.outputs(x, Watching(net.plan))
        finally:
            gc.enable()

    def test_a_unit_that_is_skipped_passes_on_what_it_reads(self) -> None:
        class Without(Run):
            skipped = frozenset({"blocks.1"})

        net = plain(plan_of("resnet20"))
        values = net.values(images(2), ["blocks.0.act", "blocks.1.act"], Without())
        assert torch.equal(values["blocks.0.act"], values["blocks.1.act"])


@pytest.mark.slow
class TestCompilers:
    @pytest.mark.parametrize("kind", ["plain", "supernet", "augmented"])
    def test_one_graph_with_the_same_results(self, kind: str) -> None:
        torch.compiler.reset()
        x = unet_images()
        if kind == "plain":
            eager: Any = plain(unet_plan())
            arguments: tuple[Any, ...] = (x,)
        else:
            eager = make_unet("shift").eval()
            arguments = (x,) if kind == "supernet" else (x, widest(eager))
        compiled = torch.compile(eager, backend="eager", fullgraph=True)
        assert torch.equal(compiled(*arguments), eager(*arguments))

    @pytest.mark.parametrize("strict", [True, False])
    def test_export_keeps_results_and_names(self, strict: bool) -> None:
        net, x = plain(unet_plan()), unet_images()
        exported = torch.export.export(net, (x,), strict=strict)
        assert torch.equal(exported.module()(x), net(x))
        # batch-norms do not count batches when they evaluate
        assert exported.state_dict.keys() == net.state_dict().keys()

    def test_size_is_not_built_in(self) -> None:
        assert unet_plan().image_size == SIZE
        assert plain(unet_plan())(unet_images((33, 47))).shape[-2:] == (17, 24)
