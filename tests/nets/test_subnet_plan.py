"""The plan of any sub-network, and so what it costs: by torch's own counters, by hand, from its description."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from tests.build import (
    DEEPENED,
    KINDS,
    WIDER,
    images,
    narrowed,
    plan_of,
)
from tests.nets.subnets import flops, make, random_spec
from tests.nets.unet import images as unet_images
from tests.nets.unet import make_unet
from torch.utils.flop_counter import FlopCounterMode

from shiftaddaug.kernels.tracing import TRACE_HANDLES
from shiftaddaug.nets.cost import layer_macs, net_cost, total_macs
from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.units import ends

SPECS = 3


def convolution_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Of a convolution or a linear map of torch's: outputs x elements of a filter."""
    weight = inputs[1].type().sizes()
    return math.prod(outputs[0].type().sizes()) * math.prod(weight[1:])


@pytest.mark.parametrize("net", KINDS)
def test_its_cost_is_what_torch_counts(net: str) -> None:
    supernet = make(net, "mult", extra_blocks=1)
    for seed in range(SPECS):
        spec = random_spec(supernet, seed)
        plan, target = supernet.graph.at(spec), extract(supernet, spec)
        of_part = flops(partial(supernet, spec=spec), images(1))
        assert 2 * total_macs(plan) == flops(target.net, images(1)) == of_part
        cost = net_cost(plan, target.assignment)
        assert cost.params == sum(p.numel() for p in target.net.parameters())


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_backward_it_is_twice_that_but_for_the_image(op: str) -> None:
    """Of what is multiplied; an adder's own block is multiplied once more, by zeros, where channels surround it."""
    supernet = make("mbv3_w035", op, extra_blocks=1)
    for spec in (supernet.target_spec, random_spec(supernet, 1), SubnetSpec(supernet.widening.max_channels())):
        plan = supernet.graph.at(spec)
        with FlopCounterMode(display=False) as forward:
            y = supernet(images(2), spec)
        with FlopCounterMode(display=False) as backward:
            y.sum().backward()
        counted, stem = forward.get_total_flops(), 2 * 2 * layer_macs(plan, plan.layers()[0])
        assert backward.get_total_flops() == 2 * counted - stem
        least = 2 * 2 * total_macs(plan)
        assert counted == least or (op == "add" and spec != supernet.target_spec and counted > least)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
@pytest.mark.parametrize("net", ["mcunet", "mbv3_w035", "resnet20", "vgg_small"])
def test_a_trace_of_the_target_shows_all_of_it(net: str, op: str) -> None:
    """Counted as fvcore does: by the kinds of nodes, with our handles beside its own."""
    supernet = make(narrowed(net), op)
    target = extract(supernet, supernet.target_spec).net
    graph, _ = torch.jit._get_trace_graph(target, (images(1),))  # of which all values have sizes
    handles = TRACE_HANDLES | dict.fromkeys(("aten::_convolution", "aten::linear"), convolution_macs)
    nodes = [node for node in graph.nodes() if node.kind() in handles]
    counted = sum(handles[node.kind()](list(node.inputs()), list(node.outputs())) for node in nodes)
    assert counted == total_macs(target.plan)


def test_of_a_decoder_too() -> None:
    supernet = make_unet().eval()
    for seed in range(SPECS):
        spec = random_spec(supernet, seed)
        counted = flops(lambda x, spec=spec: supernet.outputs(x, supernet.run(spec)), unet_images()[:1])
        assert 2 * total_macs(supernet.graph.at(spec)) == counted


@pytest.mark.parametrize("net", DEEPENED)
def test_of_the_target_is_the_plan(net: str) -> None:
    plan = plan_of(net)
    for extras in ((), plan_extra_blocks(plan, 2 if net in DEEPENED else 0)):
        widening = Widening(plan, **WIDER, extra_blocks=extras)
        assert widening.deepened().at(widening.target()) == plan


def test_is_read_from_its_own_description() -> None:
    supernet = make("mbv3_w035", "shift", extra_blocks=1)
    for seed in range(SPECS):
        plan = supernet.graph.at(random_spec(supernet, seed))
        assert Plan.from_dict(plan.to_dict()) == plan


def test_values_by_hand() -> None:
    """Of mbv2_micro: one block skipped, one depthwise kernel of 1, one hidden space of 1 channel."""
    plan = plan_of("mbv2_micro")
    unit = next(unit for unit in plan.units() if ends(plan, unit))
    depthwise = next(node for node in plan.layers() if node.depthwise and node.unit == "blocks.0")
    channels = [1 if space.name == depthwise.space else space.channels for space in plan.spaces]
    spec = SubnetSpec(tuple(channels), kernels=((depthwise.name, 1),), skipped=frozenset({unit}))
    cut = plan.at(spec)
    assert unit not in cut.units() and not any(space.name.startswith(f"{unit}.") for space in cut.spaces)
    assert (cut.by_name[depthwise.name].kernel, cut.channels()[depthwise.space]) == (1, 1)
    found = ends(plan, unit)
    assert found is not None
    readers = [node for node in cut.nodes if found.entry in node.inputs]
    assert [node.unit for node in readers] != [unit]
    assert not any(found.exit in node.inputs for node in cut.nodes)
