"""Refuse a run that needs more memory than the machine has, before torch is imported."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.cost import count_parameters
from shiftaddaug.nets.spec import SubnetSpec, Widening

STATES = {
    **{"torch.optim.SGD": 0, "torch.optim.RMSprop": 1, "torch.optim.Adagrad": 1, "torch.optim.Adadelta": 2},
    **{f"torch.optim.{name}": 2 for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}
"""Tensors of a weight's size that an optimiser keeps besides momentum; none are counted for others."""

BYTES = {"64": 8, "64-true": 8, "16-true": 2, "bf16-true": 2}
"""Bytes of a weight by `trainer.precision`, where they are not 4."""

DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/accel0")
"""Files of accelerators that hold the weights in memory of their own."""

GIB = 2**30


def check_memory(config: Mapping[str, Any], widening: Widening) -> None:
    """Refuse a supernet whose weights, gradients and optimiser state the machine's memory cannot hold.

    Activations come on top of it: what passes may still need too much. Runs on accelerators pass.

    Args:
        config: of a run, as plain containers, checked.
        widening: of its target.

    Raises:
        UserError: naming both figures.
    """
    memory = machine_memory()
    if memory is None or not _trains_on_cpu(config["trainer"].get("accelerator", "auto")):
        return
    needed = training_bytes(config, widening)
    if needed > memory:
        net, aug = config["net"], config["aug"]
        raise UserError(
            f"net.width_mult={net.get('width_mult', 1.0)}: net={net['name']} with aug={aug['name']} needs "
            f"{needed / GIB:.1f} GiB for weights, gradients and optimiser state, and this machine has "
            f"{memory / GIB:.1f} GiB; options: fewer channels, or smaller aug.width_multipliers and "
            "aug.expand_multipliers"
        )


def training_bytes(config: Mapping[str, Any], widening: Widening) -> int:
    """Return the bytes of the supernet's weights, their gradients and the optimiser's tensors.

    Args:
        config: of a run, as plain containers, checked.
        widening: of its target.
    """
    weights = count_parameters(widening.deepened().at(SubnetSpec(widening.max_channels())))
    optimizer = config["optim"]["optimizer"]
    states = STATES.get(optimizer["_target_"], 0) + bool(optimizer.get("momentum"))
    return weights * (2 + states) * BYTES.get(str(config["trainer"].get("precision")), 4)


def machine_memory() -> int | None:
    """Return the bytes of memory of the machine, where the system says."""
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(getattr(os, "sysconf_names", ())):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _trains_on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not any(Path(device).exists() for device in DEVICES))
