"""Whether a network fits in the memory that a hardware has."""

from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.memory import flash_bytes, peak_sram
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import layer_weights
from shiftaddaug.nets.plan import Plan

KIB = 1024


def check_budget(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> None:
    """Refuse a network that takes more memory than there is.

    Raises:
        UserError: by how much, and at which layer.
    """
    _check_sram(plan, hardware)
    _check_flash(plan, assignment, hardware)


def _check_sram(plan: Plan, hardware: Hardware) -> None:
    if hardware.sram_kib is None:
        return
    peak = peak_sram(plan, hardware.in_place_depthwise)
    taken = peak.bytes / KIB
    if taken <= hardware.sram_kib:
        return
    in_place = peak_sram(plan, in_place_depthwise=True).bytes / KIB
    remedy = "hardware.in_place_depthwise=true, " if in_place <= hardware.sram_kib else ""
    raise UserError(
        f"hardware={hardware.name}: activations take {taken:.1f} KiB at {peak.layer}, {taken - hardware.sram_kib:.1f} "
        f"KiB more than its {hardware.sram_kib:g} KiB of SRAM; options: {remedy}smaller images, a narrower net, or "
        f"another hardware"
    )


def _check_flash(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> None:
    if hardware.flash_kib is None:
        return
    taken = flash_bytes(plan, assignment) / KIB
    if taken <= hardware.flash_kib:
        return
    weights = {layer.name: layer_weights(plan, layer) for layer in plan.layers()}
    largest = max(weights, key=weights.__getitem__)
    raise UserError(
        f"hardware={hardware.name}: weights take {taken:.1f} KiB, {taken - hardware.flash_kib:.1f} KiB more than its "
        f"{hardware.flash_kib:g} KiB of Flash; {largest} alone has {weights[largest]:,} of them; options: a narrower "
        f"net, an operator of fewer bits, or another hardware"
    )
