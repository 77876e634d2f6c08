"""Many sub-networks at once cost what each costs alone."""

from dataclasses import replace

import numpy as np
import pytest
from tests.build import plan_of
from tests.hardware.oracles import eyeriss

from shiftaddaug import operators
from shiftaddaug.hardware.candidates import Candidates, Pricer
from shiftaddaug.hardware.price import price
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import count_parameters, total_macs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec

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


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("net", ["mcunet", "mbv3_w035", "resnet20"])
def test_each_costs_what_it_costs_alone(net: str, in_place: bool) -> None:
    plan = plan_of(net, side=[32, 48])
    hardware = Hardware("eyeriss_168", replace(eyeriss(), pad=True), in_place_depthwise=in_place)
    specs, assignments = drawn(plan, 4)
    pricer = Pricer(plan, OPS, hardware)
    found = pricer.price(pricer.candidates(specs, assignments))
    again = pricer.price(pricer.candidates(specs[::-1], assignments[::-1]))
    for i, (spec, assignment) in enumerate(zip(specs, assignments, strict=True)):
        subnet = plan.at(spec)
        kept = Assignment({layer.name: assignment[layer.name] for layer in subnet.layers()})
        wanted = price(subnet, kept, hardware).record()
        wanted |= {"macs": total_macs(subnet), "params": count_parameters(subnet)}
        assert {name: values[i] for name, values in found.items()} == pytest.approx(wanted, rel=1e-12)
        assert {name: values[-1 - i] for name, values in again.items()} == pytest.approx(wanted, rel=1e-12)


def test_operators_that_are_not_priced_and_widths_beyond_all_are_refused() -> None:
    plan = plan_of("mbv2_micro", side=32)
    pricer = Pricer(plan, OPS[:1], Hardware("stm32", None))
    specs, assignments = drawn(plan, 1)
    with pytest.raises(ValueError, match=r"^op=(add|shift): none of the operators that are priced"):
        pricer.candidates(specs, assignments)
    layers, zeros = plan.layers(), np.zeros
    wide = np.full((1, len(plan.spaces)), 2**17)
    candidates = Candidates(
        wide, np.ones((1, len(layers)), int), zeros((1, len(layers)), int), zeros((1, len(plan.skippable)), bool)
    )
    with pytest.raises(ValueError, match="reads 131072 channels; at most 131071"):
        pricer.price(candidates)
