"""Many sub-networks at once cost what each costs alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.build import plan_of, read_yaml
from tests.hardware.oracles import eyeriss

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.hardware.memory import peak_sram, reread_units
from shiftaddaug.hardware.price import price
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import count_parameters, total_macs
from shiftaddaug.nets.extras import deepened, plan_extra_blocks
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.nets.writer import IMAGE, Writer

OPS = [operators.settings_from({"name": op}) for op in ("mult", "add", "shift")]


def drawn(plan: Plan, count: int, seed: int = 0) -> tuple[list[SubnetSpec], list[Assignment]]:
    """Random widths, kernels, skipped blocks and operators."""
    rng = np.random.default_rng(seed)
    fixed = {plan.by_name[node].space for _, node in plan.outputs} | {plan.nodes[0].space}
    specs, assignments = [], []
    for _ in range(count):
        widths = [s.channels if s.name in fixed else int(rng.integers(1, 2 * s.channels)) for s in plan.spaces]
        kernels = {n.name: int(rng.choice(range(1, n.kernel + 1, 2))) for n in plan.layers() if n.kind == "conv"}
        skipped = frozenset(unit for unit in plan.skippable if rng.random() < 0.4)
        specs.append(SubnetSpec(tuple(widths), skipped=skipped, kernels=tuple(kernels.items())))
        assignments.append(Assignment({n.name: OPS[rng.integers(3)] for n in plan.layers()}))
    return specs, assignments


def planned(net: str, arch: str = "classifier", extra_blocks: int = 0, **changes: Any) -> Plan:
    plan = plan_net(read_yaml("net", net), 7, 3, [32, 48], PACKAGE_ONLY, read_yaml("arch", arch) | changes)
    return deepened(plan, plan_extra_blocks(plan, extra_blocks))


def long_ways() -> Plan:
    """A net whose blocks can be skipped, and what they read is read by others later: by layers, or as a result."""
    writer = Writer(3, (8, 12))
    stream = writer.space("stream", 4, "width")
    values = [writer.conv_norm_act("stem", IMAGE, out=stream)]
    for i in range(4):
        with writer.part("blocks", f"blocks.{i}"):
            hidden = writer.space(f"blocks.{i}.hidden", 24, "hidden", stream)
            y = writer.conv_norm_act(f"blocks.{i}.expand", values[-1], out=hidden, act="relu")
            y = writer.conv_norm_act(f"blocks.{i}.depthwise", y, out=hidden, kernel=5, depthwise=True)
            y = writer.conv_norm_act(f"blocks.{i}.project", y, out=stream)
            values.append(writer.add(f"blocks.{i}.add", values[-1], y))
    y = writer.conv_norm_act("down", values[-1], out=writer.space("coarse", 40, "width"), stride=2, kernel=3)
    y = writer.upsample("up", y, like=values[1])
    y = writer.conv_norm_act("join", y, values[1], values[3], out=stream)
    plan = writer.plan("net", {"logits": writer.concat("logits", y, values[2])})
    assert reread_units(plan) == ("blocks.1", "blocks.2", "blocks.3")
    return plan


def costs_alone(plan: Plan, spec: SubnetSpec, assignment: Assignment, hardware: Hardware) -> dict[str, float]:
    subnet = plan.at(spec)
    kept = Assignment({layer.name: assignment[layer.name] for layer in subnet.layers()})
    counts = {"macs": total_macs(subnet), "params": count_parameters(subnet)}
    return price(subnet, kept, hardware).record() | counts


PLANS = {
    "mcunet": lambda: planned("mcunet"),
    "mbv3_w035": lambda: planned("mbv3_w035"),
    "resnet20": lambda: planned("resnet20"),
    "deeper": lambda: planned("mbv2_micro", extra_blocks=2),
    "unet": lambda: planned("mcunet", "unet", decoder_channels=[16, 8, 8, 8]),
    "deeplab": lambda: planned("mbv2_micro", "deeplabv3plus"),
    "long_ways": long_ways,
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", PLANS)
def test_each_costs_what_it_costs_alone(name: str, in_place: bool) -> None:
    plan = PLANS[name]()
    hardware = Hardware("eyeriss_168", replace(eyeriss(), pad=True), in_place_depthwise=in_place)
    specs, assignments = drawn(plan, 4)
    pricer = Pricer(plan, OPS, hardware)
    found = pricer.price(pricer.candidates(specs, assignments))
    again = pricer.price(pricer.candidates(specs[::-1], assignments[::-1]))
    for i, (spec, assignment) in enumerate(zip(specs, assignments, strict=True)):
        wanted = costs_alone(plan, spec, assignment, hardware)
        assert {name: values[i] for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)
        assert {name: values[-1 - i] for name, values in again.items()} == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", ["deeper", "unet", "long_ways"])
def test_memory_is_that_of_each_alone_whichever_blocks_are_skipped(name: str, in_place: bool) -> None:
    plan, hardware = PLANS[name](), Hardware("stm32", None, in_place_depthwise=in_place)
    specs, assignments = drawn(plan, 60, seed=1)
    pricer = Pricer(plan, OPS, hardware)
    found = pricer.price(pricer.candidates(specs, assignments))["peak_sram_kib"]
    assert found.tolist() == [peak_sram(plan.at(spec), in_place).bytes / 1024 for spec in specs]


def test_large_kernels_and_wide_layers_are_told_apart() -> None:
    """A table would take one for another if their numbers ran into each other."""
    writer = Writer(2, (1, 1))
    wide = writer.space("wide", 3, "width")
    y = writer.conv_norm_act("a", IMAGE, out=wide, kernel=65)
    plan = writer.plan("net", {"logits": writer.conv_norm_act("b", y, out=writer.space("out", 2, "fixed"))})
    hardware = Hardware("stm32", None)
    pricer = Pricer(plan, OPS[:1], hardware)
    specs = [SubnetSpec((2, channels, 2), kernels=(("a.conv", k),)) for channels, k in ((3, 65), (4, 1), (131071, 63))]
    assignments = [Assignment({layer.name: OPS[0] for layer in plan.layers()})] * len(specs)
    found = pricer.price(pricer.candidates(specs, assignments))
    for i, spec in enumerate(specs):
        wanted = costs_alone(plan, spec, assignments[i], hardware)
        assert {name: values[i] for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("space", "channels", "kernel", "message"),
    [
        ("head", 2**17, 1, r"^channels that head.conv computes: 131072; must be 1 to 131071"),
        ("blocks.3", 0, 1, r"^channels that blocks.3.project.conv computes: 0; must be 1 to"),
        ("image", 2**17, 1, r"^channels that stem.conv reads: 131072; must be 1 to 131071"),
        ("image", 3, 2**10, r"^kernel of stem.conv: 1024; must be 1 to 1023"),
    ],
)
def test_what_tables_cannot_tell_apart_is_refused(space: str, channels: int, kernel: int, message: str) -> None:
    plan = plan_of("mbv2_micro", side=32)
    pricer = Pricer(plan, OPS, Hardware("stm32", None))
    candidates = pricer.candidates(*drawn(plan, 3))
    candidates.channels[1, plan.index()[space]] = channels
    candidates.kernels[1, 0] = kernel
    with pytest.raises(ValueError, match=message):
        pricer.price(candidates)


def test_layers_of_skipped_blocks_are_not_asked_for() -> None:
    plan = plan_of("mbv2_micro", side=32)
    pricer = Pricer(plan, OPS, Hardware("eyeriss_168", eyeriss()))
    unit = next(iter(plan.skippable))
    specs = [SubnetSpec(tuple(space.channels for space in plan.spaces), skipped=frozenset([unit]))] * 2
    candidates = pricer.candidates(specs, [Assignment({layer.name: OPS[0] for layer in plan.layers()})] * 2)
    candidates.channels[1, plan.index()[f"{unit}.hidden"]] = 0
    for values in pricer.price(candidates).values():
        assert values[0] == values[1] > 0


def test_operators_that_are_not_priced_are_refused() -> None:
    plan = plan_of("mbv2_micro", side=32)
    pricer = Pricer(plan, OPS[:1], Hardware("stm32", None))
    with pytest.raises(ValueError, match=r"^op=(add|shift): none of the operators that are priced"):
        pricer.candidates(*drawn(plan, 1))
