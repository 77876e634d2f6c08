"""Refuse a run that needs more memory than the machine has, before torch is imported.

A step needs the supernet's weights, their gradients and the optimiser's tensors; what the passes compute with instead
of the stored weights; and the values that are kept for the backward pass, of the target and of the widest sub-network
(`nets/activations.py`). The sum of the tensors is exact to a few percent (`tests/nets/test_activations.py`). What a
process takes for them is within a factor of 1.5 of the figures here (`benchmarks/memory.py`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.memory import peak_sram
from shiftaddaug.hybrid.settings import SharingSettings
from shiftaddaug.nets.activations import LayerMemories, LayerMemory, peak_bytes
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import count_parameters
from shiftaddaug.nets.extras import with_extras
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import Size, shown_size
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.operators.mult.settings import MultSettings
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.runs.trainer_settings import processes_of, trains_on_cpu
from shiftaddaug.tasks.optim_settings import optimizer_facts

GIB = 2**30

HEAP = 1.5
"""What a process takes for a byte of tensors. Measured: 1.2 to 2.1, for the C library keeps what a step frees, in
pieces (`commands/freed_memory.py`)."""

R_TEMPORARIES = 8
"""Tensors that are made, at once, of all weights that are read through R (`hybrid/remap.py`)."""

T_COPIES = 3
"""Tensors that are kept for the backward pass of each weight that is read through T (`hybrid/affine.py`), in its
elements: what is read, and an index of twice their size."""

MASK = 1
"""Bytes of an element of a mask, such as of what a fixed-point input does not saturate."""

IMAGE_COPIES = 2
"""Copies of a batch of images while it is prepared."""


@dataclass(frozen=True)
class Precision:
    """Bytes of an element, by `trainer.precision`."""

    weight: int
    value: int
    """Result of a layer that leaves the precision to others."""


PRECISIONS = {
    **dict.fromkeys(("64", "64-true"), Precision(8, 8)),
    **dict.fromkeys(("16-true", "bf16-true"), Precision(2, 2)),
    **dict.fromkeys(("16", "bf16", "16-mixed", "bf16-mixed"), Precision(4, 2)),
}
SINGLE = Precision(4, 4)
"""Every other precision."""


@dataclass(frozen=True)
class Step:
    """A training step, as far as memory goes."""

    config: Mapping[str, Any]
    """The run's configuration as plain containers, checked."""
    widening: Widening
    assignment: Assignment[OperatorSettings]
    """The operators of the target's layers."""
    sharing: SharingSettings

    @property
    def precision(self) -> Precision:
        """Bytes of an element."""
        return PRECISIONS.get(str(self.config["trainer"].get("precision")), SINGLE)

    @cached_property
    def target(self) -> Plan:
        """The plan of the target when training begins, extra blocks among its own."""
        return self.widening.deepened()

    @cached_property
    def widest(self) -> Plan:
        """The plan of the whole supernet."""
        return self.target.at(SubnetSpec(self.widening.max_channels()))

    def weight_bytes(self) -> int:
        """Return the bytes of the supernet's weights, their gradients and the optimiser's tensors."""
        optimizer = self.config["optim"]["optimizer"]
        facts = optimizer_facts(optimizer)
        states = (0 if facts is None else facts.states) + bool(optimizer.get("momentum"))
        return count_parameters(self.widest) * (2 + states) * self.precision.weight

    def read_bytes(self) -> int:
        """Return the bytes of what passes read instead of the stored weights: slices, powers of two, R(W)."""
        target, widest = count_parameters(self.target), count_parameters(self.widest)
        copies = target + (widest if widest > target else 0)
        converted, operators = 0, self.assignment.operators()
        if self.sharing.remaps and any(operator.remap is not None for operator in operators):
            converted = R_TEMPORARIES * target
        elif self.sharing.learns and any(operator.turns for operator in operators):
            converted = T_COPIES * target
        return copies * self.precision.weight + converted * max(4, self.precision.weight)

    def value_bytes(self) -> int:
        """Return the most bytes that are held of the values of one image."""
        passes = [(self.target, self.layers(widened=False))]
        if self.widest != self.widening.plan:
            passes.append((self.widest, self.layers(widened=True)))
        plan = self.widening.plan
        pixels = plan.in_channels * plan.image_size[0] * plan.image_size[1]
        return IMAGE_COPIES * pixels * max(4, self.precision.weight) + peak_bytes(passes, self.precision.weight)

    def total_bytes(self) -> int:
        """Return the bytes that steps take at their peak, beside what the process has with everything imported."""
        return self._taken(self.weight_bytes() + self.read_bytes() + self._batch * self.value_bytes())

    def layers(self, widened: bool) -> LayerMemories:
        """Return what each layer of a pass keeps; in a widened pass another operator may compute beside its own."""
        multiplies = self.config["aug"]["operator"] == "mult"
        beside = MultSettings() if multiplies else None
        layers = with_extras(self.widening.plan, self.widening.extra_blocks, self.assignment, beside)
        kept = {operator: self._kept(operator, widened and multiplies) for operator in layers.operators()}
        return lambda node: kept[layers[node.name]]

    def _kept(self, operator: OperatorSettings, beside: bool) -> LayerMemory:
        """Return what a layer of an operator keeps.

        Args:
            operator: its own.
            beside: whether multiplication computes beside it.
        """
        value = self.precision.value
        result = self.precision.weight if operator.single_under_autocast else value
        workspace = max(4, result) if operator.computes_in_single else result
        unfolds = result == 8 and not operator.computes_in_single
        prepared = (result, MASK) if operator.copies_input else ()
        inputs = () if prepared else (result,)
        return LayerMemory(result, tuple({*inputs, value}) if beside else inputs, prepared, workspace, unfolds)

    @property
    def _batch(self) -> int:
        return int(self.config["data"]["batch_size"])

    @property
    def _processes(self) -> int:
        """How many processes of this machine train, each with all of it."""
        return max(1, processes_of(self.config["trainer"]) or 1)

    def _taken(self, tensors: int) -> int:
        """Return what the processes take for so many bytes of tensors in each."""
        return int(HEAP * tensors) * self._processes

    def refuse_beyond(self, memory: int) -> None:
        """Refuse a step that needs more than that.

        Raises:
            UserError: naming the figures and the remedy.
        """
        net, aug, batch = self.config["net"], self.config["aug"], self._batch
        run = f"net={net['name']} with aug={aug['name']}"
        weights = self.weight_bytes()
        if weights * self._processes > memory:
            raise UserError(
                f"net.width_mult={net.get('width_mult', 1.0)}: {run} needs {weights / GIB:.1f} GiB for weights, "
                f"gradients and optimiser state, and this machine has {memory / GIB:.1f} GiB; options: fewer channels, "
                "or smaller aug.width_multipliers and aug.expand_multipliers"
            )
        fixed, each = self._taken(weights + self.read_bytes()), self._taken(self.value_bytes())
        needed = fixed + batch * each
        if needed > memory:
            most, size = max(0, memory - fixed) // each, shown_size(self.widening.plan.image_size)
            smaller = f"data.batch_size={most} at most, or " if most else ""
            raise UserError(
                f"data.batch_size={batch}: {run} at data.image_size={size} needs {needed / GIB:,.1f} GiB "
                f"for a step, {batch * each / GIB:,.1f} GiB of it for activations, and this machine has "
                f"{memory / GIB:.1f} GiB; options: {smaller}smaller images, or fewer channels"
            )


def check_memory(step: Step) -> None:
    """Refuse what the machine's memory cannot hold. Runs on accelerators pass.

    Raises:
        UserError: naming the figures and the remedy.
    """
    memory = machine_memory()
    if memory is not None and trains_on_cpu(step.config["trainer"]):
        step.refuse_beyond(memory)


def check_evaluation_memory(plan: Plan, seen: Size, config: Mapping[str, Any]) -> None:
    """Refuse an evaluation whose values alone the machine's memory cannot hold. Runs on accelerators pass.

    Args:
        plan: of the target, at the size of training images.
        seen: size of what it is evaluated on at once.
        config: of the run.

    Raises:
        UserError: naming the figures and the remedy.
    """
    memory, batch = machine_memory(), int(config["data"]["batch_size"])
    if memory is None or not trains_on_cpu(config["trainer"]) or prod(seen) <= prod(plan.image_size):
        return
    value = PRECISIONS.get(str(config["trainer"].get("precision")), SINGLE).value
    each = value * peak_sram(plan).bytes * prod(seen) // prod(plan.image_size)
    if batch * each > memory:
        smaller = f"data.batch_size={memory // each} at most, " if each <= memory else ""
        raise UserError(
            f"data.batch_size={batch}: evaluation of images of {shown_size(seen)} px (data.eval_size) needs "
            f"{batch * each / GIB:,.1f} GiB for activations at least, and this machine has {memory / GIB:.1f} GiB; "
            f"options: {smaller}a smaller data.eval_size, or a smaller task.window"
        )


def machine_memory() -> int | None:
    """Return the bytes of memory of the machine, where the system says."""
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(getattr(os, "sysconf_names", ())):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
