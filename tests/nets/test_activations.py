"""What a pass keeps for its backward pass, by its plan, is what autograd saves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.build import images, widest
from tests.commands.running import composed

from shiftaddaug.nets.activations import PassMemory, peak_bytes
from shiftaddaug.nets.build import assign, supernet_from_config
from shiftaddaug.operators import from_config
from shiftaddaug.runs.settings import read_settings

BATCH = 6
CASES = {
    "op=mult aug=full": 1.0,
    "op=shift aug=width_expand": 1.0,
    "op=add aug=full": 1.0,
    "op=add aug=expand aug.operator=same trainer.precision=64-true": 1.0,
    "op=shift aug=expand op.activation_bits=9 op.activation_fraction_bits=8 trainer.precision=bf16-true": 1.3,
    "op=add aug=full trainer.precision=bf16-mixed": 1.02,
    "op=add aug=none trainer.precision=bf16-true": 1.0,
    "net=mcunet op=shift aug=expand data.image_size=48": 1.0,
    "net=mbv3_w035 op=add aug=expand": 1.0,
    "net=resnet20 op=add aug=width": 1.0,
    "net=resnet18 op=shift aug=none": 1.0,
    "data=shapes arch=unet op=add aug=full data.image_size=[50,60]": 1.0,
    "data=shapes arch=deeplabv3plus op=shift aug=width": 1.0,
}
"""How much too large the estimate may be: a copy of the target's input is counted as one of the whole input."""


def saved_bytes(net: torch.nn.Module, *arguments: Any) -> int:
    """Bytes of the values of a batch that autograd saves, each storage once; weights and statistics are left out."""
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() > 1 and tensor.shape[0] == BATCH:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = net(*arguments)
    assert outputs.requires_grad  # and what it was computed from lives until here
    return sum(saved.values())


@pytest.mark.parametrize("overrides", CASES)
def test_kept_values_are_those_that_autograd_saves(overrides: str, tmp_path: Path) -> None:
    settings = read_settings(composed(tmp_path, *overrides.split()))
    precision, plan = str(settings.config["trainer"]["precision"]), settings.plan
    dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    operator = from_config(settings.config["op"])
    net = supernet_from_config(settings.config, plan, assign(plan, operator, list(settings.net.mult_layers))).to(dtype)
    x = images(BATCH, plan.in_channels, plan.image_size).to(dtype).contiguous(memory_format=torch.channels_last)
    for spec, widened in ((net.target_spec, False), (widest(net), True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            saved = saved_bytes(net, x, spec)
        kept = BATCH * PassMemory(net.graph.at(spec), settings.step.layers(widened), dtype.itemsize).kept()
        assert 0.99 * saved <= kept <= CASES[overrides] * 1.01 * saved


def test_a_step_holds_what_both_passes_keep(tmp_path: Path) -> None:
    step = read_settings(composed(tmp_path, "op=mult", "aug=full")).step
    passes = [(step.target, step.layers(False)), (step.widest, step.layers(True))]
    kept = sum(PassMemory(plan, layers, 4).kept() for plan, layers in passes)
    both, alone = peak_bytes(passes, 4), peak_bytes(passes[:1], 4)
    assert kept <= both <= 1.1 * kept
    assert PassMemory(*passes[0], 4).kept() <= alone < both / 2
