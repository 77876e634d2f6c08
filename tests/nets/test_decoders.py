"""What training does to a network of masks: the target stays exact, and every mechanism reaches the decoder."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.build import SHARINGS, free_layers, images, widest
from tests.nets.decoders import ARCHS, CLASSES, FULL, ODD, WIDTH, make_masks
from torch import Tensor

from shiftaddaug.nets import own_terms, reorder
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import extract, extract_target, load_target, max_difference, save_target
from shiftaddaug.nets.recalibrate import recalibrate
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.timetable import Conversion, Retirement

STEPS = 3
TRAINED: list[tuple[str, str, dict[str, Any]]] = [
    ("mult", "plain", FULL),
    ("shift", "plain", FULL),
    ("shift_ps", "plain", {}),
    ("add", "plain", WIDTH),
    ("add", "remapped", FULL),
]
"""Operator, sharing and augmentation."""


def masks(seed: int) -> Tensor:
    return torch.randint(CLASSES, (2, *ODD), generator=torch.Generator().manual_seed(seed))


def target_at(net: Supernet, progress: float) -> SubnetSpec:
    """The target at a share of training: layers turn, extra blocks retire."""
    exempt = [name for name, layer in net.hybrid_layers().items() if not layer.operator.multiplication_free]
    exempt = [name for name in exempt if name in net.plan.by_name]
    turns = all(net.hybrid_layers()[name].operator.turns for name in free_layers(net))
    multiplied = Conversion(end=1.0).schedule(net.plan, exempt, progress)[0] if turns else frozenset()
    extras = [extra.name for extra in net.widening.extra_blocks]
    active = Retirement(start=0.0, end=1.0).schedule(extras, progress)
    spec = SubnetSpec(net.target_spec.channels, multiplied=multiplied, skipped=net.target_spec.skipped)
    return spec.at_depth(extras, active)


def train(net: Supernet) -> None:
    """A few steps of the whole method, distillation too, all channels sorted after each."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for step in range(STEPS):
        target = target_at(net, step / STEPS)
        beside = net.widening.sample(random.Random(step)).around(target)
        x, wanted = images(2, size=ODD, seed=step), masks(step)
        weights = net.operator_weights(target.multiplied)
        outputs, teacher = net(x, target, weights), net(x, beside, weights)
        loss = F.cross_entropy(outputs, wanted) + F.cross_entropy(teacher, wanted)
        loss = loss + F.kl_div(outputs.log_softmax(1), teacher.detach().softmax(1), reduction="batchmean") / 1000
        optimizer.zero_grad()
        loss.backward()
        net.rescale_gradients(target, beside)
        optimizer.step()
        own_terms.project(net, target)
        reorder.apply(reorder.permutations(net), net, [optimizer])


@pytest.mark.parametrize(("op", "sharing", "augmentation"), TRAINED)
@pytest.mark.parametrize("arch", ARCHS)
def test_the_deployed_target_is_exactly_the_trained_one(
    arch: str, op: str, sharing: str, augmentation: dict[str, Any], tmp_path: Path
) -> None:
    net = make_masks(arch, op, SHARINGS[sharing][op], **augmentation)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    train(net)
    still = [name for name, value in net.named_parameters() if name.startswith("decoder") and value.equal(before[name])]
    assert still == []
    x = images(2, size=ODD, seed=9)
    evaluated = net.eval()(x)
    net(x, widest(net))
    assert torch.equal(net(x), evaluated) and evaluated.isfinite().all()
    save_target(extract_target(net), tmp_path / "target")
    deployed = load_target(tmp_path / "target")
    assert max_difference(net, deployed.net, x) == 0
    assert deployed.net(x).shape == (2, CLASSES, *ODD)
    assert deployed.net.plan == net.plan
    free = {name for name in net.plan.by_name if name.startswith("decoder")} & {*free_layers(net)}
    assert bool(free) == (op != "mult")


@pytest.mark.parametrize("arch", ARCHS)
def test_sorting_channels_of_a_net_that_multiplies_changes_no_output(arch: str) -> None:
    """Across skips and concatenations, where a source's columns lie in two places."""
    net = make_masks(arch, "mult", **FULL).double().eval()
    spec, x = widest(net), images(2, size=ODD, dtype=torch.float64)
    outputs = net(x, spec)
    orders = reorder.permutations(net)
    assert {space for space in orders if space.startswith("decoder")} == {
        space.name for space in net.plan.spaces if space.name.startswith("decoder")
    }
    assert reorder.crossed(net, orders)[0] > 0
    reorder.apply(orders, net)
    torch.testing.assert_close(net(x, spec), outputs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_wider_network_is_extracted_exactly_and_costs_what_it_computes(arch: str) -> None:
    net = make_masks(arch, "shift", **FULL).eval()
    spec = SubnetSpec(net.widening.max_channels(), skipped=net.target_spec.skipped)
    target, x = extract(net, spec), images(2, size=ODD)
    assert torch.equal(target.net(x), net(x, spec))
    wide, narrow = (net_cost(plan, net.assignment) for plan in (net.graph.at(spec), net.plan))
    assert wide.params == sum(parameter.numel() for parameter in target.net.parameters())
    assert narrow.params < wide.params and narrow.macs < wide.macs


@pytest.mark.parametrize("arch", ARCHS)
def test_layers_turn_from_the_stem_to_the_decoder(arch: str) -> None:
    net = make_masks(arch, "add")
    units = [names for unit in Conversion().units(net.plan, ["stem", "se", "classifier"]) for names in unit]
    groups = [net.plan.by_name[name].group for name in units]
    assert groups == sorted(groups, key=["blocks", "decoder"].index)
    blocks = Conversion(granularity="block").units(net.plan, ["stem", "se", "classifier"])
    owners = [{net.plan.by_name[name].unit for name in names} for names in blocks]
    assert all(len(owner) == 1 for owner in owners) and len(blocks) < len(units)


def test_statistics_of_a_decoder_are_measured_anew() -> None:
    net = make_masks("unet", "shift")
    recalibrate(net, [images(2, size=ODD)])
    name = "decoder.blocks.4.conv2"
    values = net.train().values(images(2, size=ODD), [f"{name}.conv"])[f"{name}.conv"]
    norm: Any = net.get_submodule(f"{name}.norm")
    torch.testing.assert_close(norm.running_mean, values.mean((0, 2, 3)))
