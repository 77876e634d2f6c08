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
        UserError: of which memory, by how much, and at which layer.
    """
    sram, flash = _over_sram(plan, hardware), _over_flash(plan, assignment, hardware)
    if not sram and not flash:
        return
    remedies = ["a narrower net", "another hardware"]
    if flash:
        remedies.insert(1, "an operator of fewer bits")
    if sram:
        remedies.insert(0, "smaller images")
        in_place = peak_sram(plan, in_place_depthwise=True).bytes / KIB
        if hardware.sram_kib is not None and in_place <= hardware.sram_kib:
            remedies.insert(0, "hardware.in_place_depthwise=true")
    raise UserError(
        f"hardware={hardware.name}: {'; '.join(filter(None, (sram, flash)))}; options: {', '.join(remedies[:-1])}, or "
        f"{remedies[-1]}"
    )


def _over_sram(plan: Plan, hardware: Hardware) -> str:
    """Return by how much activations take more than there is, in words; empty where they do not."""
    peak = peak_sram(plan, hardware.in_place_depthwise)
    taken = peak.bytes / KIB
    if hardware.sram_kib is None or taken <= hardware.sram_kib:
        return ""
    return (
        f"activations take {taken:.1f} KiB at {peak.layer}, {taken - hardware.sram_kib:.1f} KiB more than its "
        f"{hardware.sram_kib:g} KiB of SRAM"
    )


def _over_flash(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> str:
    """Return by how much weights take more than there is, in words; empty where they do not."""
    taken = flash_bytes(plan, assignment) / KIB
    if hardware.flash_kib is None or taken <= hardware.flash_kib:
        return ""
    weights = {layer.name: layer_weights(plan, layer) for layer in plan.layers()}
    largest = max(weights, key=weights.__getitem__)
    return (
        f"weights take {taken:.1f} KiB, {taken - hardware.flash_kib:.1f} KiB more than its {hardware.flash_kib:g} KiB "
        f"of Flash; {largest} alone has {weights[largest]:,} of them"
    )
