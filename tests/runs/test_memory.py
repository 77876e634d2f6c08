"""A run that needs more memory than the machine has is refused with the figures and the remedy."""

import re
from pathlib import Path

import pytest

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.memory import peak_sram
from shiftaddaug.runs import memory as module
from shiftaddaug.runs.memory import GIB, Step, machine_memory
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import composed

HUGE = ("net.head.channels=60000", "net.width_mult=20", "trainer.accelerator=cpu")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 24 GiB."""
    monkeypatch.setattr(module, "machine_memory", lambda: 24 * GIB)


NO_MOMENTUM = ("optim.optimizer.momentum=0", "optim.optimizer.nesterov=false")


def step_of(folder: Path, *overrides: str) -> Step:
    return read_settings(composed(folder, *overrides)).step


@pytest.mark.parametrize("op", ["add", "shift", "mult"])
@pytest.mark.parametrize("aug", ["none", "width", "expand", "full"])
def test_weights_are_those_of_the_supernet(op: str, aug: str, tmp_path: Path) -> None:
    from shiftaddaug.nets.build import assign, supernet_from_config
    from shiftaddaug.operators import from_config

    step = step_of(tmp_path, f"op={op}", f"aug={aug}", *NO_MOMENTUM)
    plan = step.widening.plan
    assignment = assign(plan, from_config(step.config["op"]), step.config["net"]["mult_layers"])
    net = supernet_from_config(step.config, plan, assignment)
    assert step.weight_bytes() == 2 * 4 * sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("overrides", "tensors"),
    [
        (("optim=sgd",), 3),
        (("optim=sgd", *NO_MOMENTUM), 2),
        (("optim=adamw",), 4),
        (("optim=radam",), 4),
        (("optim=timm",), 2),
        (("optim=sgd", "trainer.precision=64-true"), 6),
        (("optim=sgd", "trainer.precision=bf16-mixed"), 3),
    ],
)
def test_tensors_of_the_optimiser(overrides: tuple[str, ...], tensors: int, tmp_path: Path) -> None:
    weights = step_of(tmp_path, *NO_MOMENTUM).weight_bytes() // 2
    assert step_of(tmp_path, *overrides).weight_bytes() == tensors * weights


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (
            HUGE,
            r"net\.width_mult=20: net=mbv2_micro with aug=width_expand needs \d+\.\d GiB for weights, gradients and "
            r"optimiser state, and this machine has 24\.0 GiB; options: fewer channels, or smaller",
        ),
        (
            ("data.batch_size=1000000000", "op=add"),
            r"data\.batch_size=1000000000: net=mbv2_micro with aug=width_expand at data\.image_size=32 needs "
            r"[\d,]+\.\d GiB for a step, [\d,]+\.\d GiB of it for activations, and this machine has 24\.0 GiB; "
            r"options: data\.batch_size=\d{3,4} at most, or smaller images",
        ),
        (
            ("data.image_size=16384", "data.batch_size=2", "aug=none"),
            r"data\.batch_size=2: net=mbv2_micro with aug=none at data\.image_size=16384 needs [\d,]+\.\d GiB for a "
            r"step, [\d,]+\.\d GiB of it for activations, and this machine has 24\.0 GiB; options: smaller images",
        ),
    ],
)
def test_the_line(overrides: tuple[str, ...], wanted: str, tmp_path: Path, memory: None) -> None:
    with pytest.raises(UserError, match=f"^{wanted}"):
        read_settings(composed(tmp_path, "trainer.accelerator=cpu", *overrides))
    assert not [*tmp_path.iterdir()]


def test_the_batch_that_is_offered_is_let_through(tmp_path: Path, memory: None) -> None:
    given = ("trainer.accelerator=cpu", "op=add", "aug=full")
    with pytest.raises(UserError) as caught:
        read_settings(composed(tmp_path, *given, "data.batch_size=100000"))
    offered = re.search(r"data\.batch_size=(\d+) at most", str(caught.value))
    assert offered is not None
    read_settings(composed(tmp_path, *given, f"data.batch_size={offered[1]}"))
    with pytest.raises(UserError):
        read_settings(composed(tmp_path, *given, f"data.batch_size={int(offered[1]) + 2}"))


def test_every_process_needs_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    one, three = (step_of(tmp_path, f"trainer.devices={n}").total_bytes() for n in (1, 3))
    assert three == 3 * one


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("op=mult", "op=mult trainer.precision=64-true", (2, 2.5)),  # convolutions copy their patches
        ("op=mult", "op=mult trainer.precision=bf16-mixed", (0.5, 0.51)),
        ("op=add", "op=add trainer.precision=bf16-mixed", (0.95, 1.2)),  # adders stay in float32
        ("op=shift aug=none", "op=shift aug=width_expand", (4, 12)),
        ("data.image_size=32", "data.image_size=64", (0.9, 1.1)),  # the stem strides from 48 px on
        ("data.image_size=64", "data.image_size=128", (3.9, 4.1)),
    ],
)
def test_values(one: str, other: str, ratio: tuple[float, float], tmp_path: Path) -> None:
    before, after = (step_of(tmp_path, *overrides.split()).value_bytes() for overrides in (one, other))
    assert ratio[0] <= after / before <= ratio[1]


def test_what_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_settings(composed(tmp_path, *HUGE, "trainer.accelerator=gpu"))
    monkeypatch.setattr("shiftaddaug.runs.trainer_settings.DEVICES", (str(tmp_path),))
    read_settings(composed(tmp_path, *HUGE, "trainer.accelerator=auto"))
    monkeypatch.setattr(module, "machine_memory", lambda: None)
    read_settings(composed(tmp_path, *HUGE))


def test_the_machines_memory() -> None:
    memory = machine_memory()
    assert memory is None or memory > GIB


@pytest.mark.usefixtures("memory")
def test_evaluation_of_larger_images_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = ("data=shapes", "trainer.accelerator=cpu", "data.batch_size=32")
    step = step_of(tmp_path, *data, "data.eval_size=512")
    each = 4 * peak_sram(step.widening.plan).bytes * (4096 // 64) ** 2
    most = 24 * GIB // each
    assert 1 <= most < 32
    wanted = (
        rf"^data.batch_size=32: evaluation of images of 4096 px .* options: data.batch_size={most} at most, a smaller"
    )
    with pytest.raises(UserError, match=wanted):
        step_of(tmp_path, *data, "data.eval_size=4096")
    step_of(tmp_path, *data, "data.eval_size=4096", f"data.batch_size={most}")
    step_of(tmp_path, *data, "data.eval_size=4096", "task.window=512")
