"""A run that needs more memory than the machine has is refused with both figures."""

from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.spec import Widening
from shiftaddaug.runs import memory as module
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.memory import GIB, machine_memory, training_bytes
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import composed

HUGE = ("net.head.channels=60000", "net.width_mult=20", "trainer.accelerator=cpu")


def widened(folder: Path, *overrides: str) -> tuple[dict[str, Any], Widening]:
    cfg = composed(folder, *overrides)
    config, plan = plain(cfg), read_settings(cfg).plan
    aug = config["aug"]
    extras = plan_extra_blocks(plan, aug["extra_blocks"], aug["extra_after"])
    return config, Widening(plan, aug["width_multipliers"], aug["expand_multipliers"], aug["divisor"], extras)


@pytest.mark.parametrize("op", ["add", "shift", "mult"])
@pytest.mark.parametrize("aug", ["none", "width", "expand", "full"])
def test_weights_are_those_of_the_supernet(op: str, aug: str, tmp_path: Path) -> None:
    from shiftaddaug.nets.build import assign, supernet_from_config
    from shiftaddaug.operators import from_config

    config, widening = widened(tmp_path, f"op={op}", f"aug={aug}", "optim.optimizer.momentum=0")
    assignment = assign(widening.plan, from_config(config["op"]), config["net"]["mult_layers"])
    net = supernet_from_config(config, widening.plan, assignment)
    assert training_bytes(config, widening) == 2 * 4 * sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("overrides", "tensors"),
    [
        (("optim=sgd",), 3),
        (("optim=sgd", "optim.optimizer.momentum=0"), 2),
        (("optim=adamw",), 4),
        (("optim=radam",), 4),
        (("optim=timm",), 2),
        (("optim=sgd", "trainer.precision=64-true"), 6),
        (("optim=sgd", "trainer.precision=bf16-mixed"), 3),
    ],
)
def test_tensors_of_the_optimiser(overrides: tuple[str, ...], tensors: int, tmp_path: Path) -> None:
    weights = training_bytes(*widened(tmp_path, "optim.optimizer.momentum=0")) // 2
    assert training_bytes(*widened(tmp_path, *overrides)) == tensors * weights


def test_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "machine_memory", lambda: 24 * GIB)
    wanted = (
        r"^net\.width_mult=20: net=mbv2_micro with aug=width_expand needs \d+\.\d GiB for weights, gradients and "
        r"optimiser state, and this machine has 24\.0 GiB; options: "
    )
    with pytest.raises(UserError, match=wanted):
        read_settings(composed(tmp_path, *HUGE))
    assert not [*tmp_path.iterdir()]


def test_what_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_settings(composed(tmp_path, *HUGE, "trainer.accelerator=gpu"))
    monkeypatch.setattr(module, "DEVICES", (str(tmp_path),))
    read_settings(composed(tmp_path, *HUGE, "trainer.accelerator=auto"))
    monkeypatch.setattr(module, "machine_memory", lambda: None)
    read_settings(composed(tmp_path, *HUGE))


def test_the_machines_memory() -> None:
    memory = machine_memory()
    assert memory is None or memory > GIB
