"""What a network costs: every layer and all together, in both modes, with the memory that it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.budget import KIB
from shiftaddaug.hardware.layer import PICO_IN_MILLI, Cost, layer_cost, no_tiling
from shiftaddaug.hardware.memory import Peak, flash_bytes, peak_sram
from shiftaddaug.hardware.rules import DIFFERENCES, MODES, PAPER, Rules, steps, unit_of
from shiftaddaug.hardware.settings import Accelerator, Hardware
from shiftaddaug.hardware.shapes import shape_of
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import NetCost, layer_macs, layer_weights, net_cost
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.operators.settings import Arithmetic


@dataclass(frozen=True)
class LayerPrice:
    """What a layer costs."""

    name: str
    operator: str
    macs: int
    params: int
    """Weights, and a bias."""
    operations: Mapping[str, int]
    """Operations by kind."""
    costs: Mapping[str, Cost]
    """Costs by mode; none where the hardware models no energy."""


@dataclass(frozen=True)
class NetPrice:
    """What a network costs: one image, forwards."""

    net: NetCost
    layers: tuple[LayerPrice, ...]
    costs: Mapping[str, Cost]
    """Costs of all layers together, by mode."""
    sram: Peak
    flash: int
    """Bytes."""

    def record(self) -> dict[str, Any]:
        """Return what results.json and loggers say, with units in the names: values in a row."""
        energies = {
            f"{name}_{mode}": value
            for mode, cost in self.costs.items()
            for name, value in (("energy_mj", cost.energy), ("latency_ms", cost.ms))
        }
        return {
            **energies,
            "peak_sram_kib": self.sram.bytes / KIB,
            "flash_kib": self.flash / KIB,
        }


def price(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> NetPrice:
    """Return what a network costs.

    Args:
        plan: of the network; its image size is what is priced.
        assignment: of operators, or of their settings, to its layers.
        hardware: that computes it.

    Raises:
        UserError: a layer without a tiling; an operation that the technology says nothing of; an operator that states
            no arithmetic.
    """
    layers = tuple(_layer_price(plan, layer, assignment[layer.name], hardware) for layer in plan.layers())
    modes = MODES if hardware.accelerator is not None else {}
    totals = {mode: reduce(add, (layer.costs[mode] for layer in layers), Cost()) for mode in modes}
    sram = peak_sram(plan, hardware.in_place_depthwise)
    return NetPrice(net_cost(plan, assignment), layers, totals, sram, flash_bytes(plan, assignment))


def _layer_price(plan: Plan, layer: Node, operator: Any, hardware: Hardware) -> LayerPrice:
    arithmetic, macs, channels = arithmetic_of(operator, layer.name), layer_macs(plan, layer), plan.channels()
    outputs, inputs = channels[layer.space], sum(channels[space] for space in plan.sources(layer))
    return LayerPrice(
        name=layer.name,
        operator=operator.name,
        macs=macs,
        params=layer_weights(plan, layer) + (outputs if layer.bias else 0),
        operations={kind: macs * times for kind, times in arithmetic.operations.items()},
        costs=layer_costs(plan, layer, inputs, outputs, layer.kernel, operator, hardware),
    )


def layer_costs(
    plan: Plan,
    layer: Node,
    inputs: int,
    outputs: int,
    kernel: int,
    operator: Any,
    hardware: Hardware,
    modes: Mapping[str, Rules] = MODES,
) -> dict[str, Cost]:
    """Return what a layer of so many channels costs by mode; nothing where the hardware models no energy.

    Args:
        plan: that the layer is of.
        layer: whose size, stride and kind it has.
        inputs: channels that it reads.
        outputs: channels that it computes.
        kernel: of the layer.
        operator: or its settings.
        hardware: that computes it.
        modes: rules by name.

    Raises:
        UserError: as `price`.
    """
    accelerator = hardware.accelerator
    if accelerator is None:
        return {}
    shape, arithmetic = shape_of(plan, layer, inputs, outputs, kernel), arithmetic_of(operator, layer.name)
    norms = outputs * prod(layer.size) * sum(node.kind == "norm" and layer.name in node.inputs for node in plan.nodes)
    found = {}
    for mode, rules in modes.items():
        as_priced = shape if rules.grouped_depthwise else shape.as_images()
        try:
            unit = unit_of(arithmetic, accelerator, rules)
            norm = _norm_energy(norms, arithmetic, accelerator) if rules.norms else 0.0
        except UserError as error:
            raise UserError(f"{error} (op={operator.name}, layer {layer.name})") from None
        cost = layer_cost(as_priced, accelerator, unit)
        if cost is None:
            raise no_tiling(layer.name, as_priced, accelerator, hardware.name)
        found[mode] = cost + Cost(norm=norm)
    return found


def _norm_energy(elements: int, arithmetic: Arithmetic, accelerator: Accelerator) -> float:
    """Return the energy of a batch-norm, mJ. After a multiplication it folds into weights, and leaves an addition."""
    operations = {"add": elements} if "mult" in arithmetic.operations else {"add": elements, "mult": elements}
    return accelerator.operations.of(operations) / PICO_IN_MILLI if elements else 0.0


def differences(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> dict[str, float]:
    """Return what each difference between the modes adds to the energy, in mJ, made one after the other.

    They add up to the difference between the totals. Empty where the hardware models no energy.
    """
    if hardware.accelerator is None:
        return {}
    modes = {"": PAPER, **dict(steps())}
    energies = dict.fromkeys(modes, 0.0)
    channels = plan.channels()
    for layer in plan.layers():
        inputs, outputs = sum(channels[space] for space in plan.sources(layer)), channels[layer.space]
        operator = assignment[layer.name]
        costs = layer_costs(plan, layer, inputs, outputs, layer.kernel, operator, hardware, modes)
        for mode, cost in costs.items():
            energies[mode] += cost.energy
    totals = list(energies.values())
    return {
        words: after - before for words, before, after in zip(DIFFERENCES.values(), totals, totals[1:], strict=False)
    }


def arithmetic_of(operator: Any, layer: str) -> Arithmetic:
    """Return what an operator states.

    Raises:
        UserError: it states none.
    """
    try:
        found = operator.arithmetic
    except NotImplementedError:
        found = None
    if not isinstance(found, Arithmetic):
        raise UserError(f"op={operator.name}: states no arithmetic, which prices layer {layer}")
    return found
