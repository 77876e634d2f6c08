"""Files that need nothing of this package: read in a process that has none of it, they compute what the target does."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tests.build import NETS, OPS, SIDE, bottlenecks, images, make_supernet, narrowed, plan_of, unsettled
from tests.nets.decoders import ARCHS, make_masks
from torch import Tensor, nn

import shiftaddaug.interop.timm_models  # noqa: F401
from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.interop import exporting
from shiftaddaug.interop.exporting import (
    OWN_ROUNDING,
    TOLERANCE,
    largest_difference,
    memory,
    metadata,
    own_rounding,
    record,
    write,
)
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.extract import Target, extract_target
from shiftaddaug.nets.interface import Interface
from shiftaddaug.nets.supernet import Supernet

ELSEWHERE = """
import importlib.util, json, sys
sys.path.append(sys.argv[1])  # without the files of it that bring our package
import numpy, onnxruntime, torch
assert importlib.util.find_spec("shiftaddaug.errors") is None
for name, path, images, outputs in json.load(sys.stdin):
    x = numpy.load(images)
    if path.endswith(".onnx"):
        session = onnxruntime.InferenceSession(path)
        run = lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    else:
        module = torch.export.load(path).module() if path.endswith(".pt2") else torch.jit.load(path)
        run = lambda x: module(torch.from_numpy(x)).detach().numpy()
    for count in (1, 3, 8):
        y = run(x[:count])
        numpy.save(f"{outputs}.{count}.npy", y)
"""
"""A process that has torch and ONNX Runtime; it computes 1, 3 and 8 images with every file."""


class Elsewhere:
    """What another process computes with files.

    Args:
        folder: of files of images and outputs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[tuple[str, str, str, str]] = []
        self.wanted: dict[str, Tensor] = {}

    def add(self, path: Path, net: nn.Module, x: Tensor) -> None:
        """Let it compute eight images with a file, that a network of ours computes here."""
        name, kept = f"{len(self.jobs)}: {path.parent.name}/{path.name}", self.folder / f"images{len(self.jobs)}.npy"
        _save(kept, x)
        self.jobs.append((name, str(path), str(kept), str(self.folder / f"outputs{len(self.jobs)}")))
        with torch.no_grad():
            self.wanted[name] = net(x)

    def differences(self) -> dict[str, float]:
        """Largest difference by file, in units of the largest output."""
        import numpy

        packages = str(Path(torch.__file__).parents[1])
        line = [sys.executable, "-I", "-S", "-c", ELSEWHERE, packages]
        done = subprocess.run(line, input=json.dumps(self.jobs), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = {}
        for name, _, _, outputs in self.jobs:
            wanted, largest = self.wanted[name], 0.0
            for count in (1, 3, 8):
                y = torch.from_numpy(numpy.load(f"{outputs}.{count}.npy"))
                assert y.shape == wanted[:count].shape
                largest = max(largest, ((y - wanted[:count]).abs().max() / wanted.abs().max()).item())
            found[name] = largest
        return found


def _save(path: Path, x: Tensor) -> None:
    import numpy

    numpy.save(path, x.numpy())


def settled(supernet: Supernet, **config: Any) -> Target:
    """The target of a supernet whose answers depend on the image: statistics are those of noise, no weight is 0."""
    torch.manual_seed(0)
    for parameter in unsettled(supernet).parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    target = extract_target(supernet.eval(), config)
    for module in target.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    plan = target.net.plan
    with torch.no_grad():
        target.net.train()(inputs(8, plan.image_size, plan.in_channels))
        outputs = target.net.eval()(inputs(2, plan.image_size, plan.in_channels))
    assert (outputs[0] - outputs[1]).abs().max() > 0.01 * outputs.abs().max()
    return target


def inputs(count: int, size: Any = SIDE, channels: int = 3) -> Tensor:
    """Noise, brighter from image to image."""
    return images(count, channels, size) + torch.linspace(-2, 2, count).view(-1, 1, 1, 1)


LITTLE = bottlenecks(depth=1, se=True)


def mixed() -> Supernet:
    """Layers of four operators in turn, one with a fixed-point input; the gate and the classifier multiply."""
    plan = plan_of(LITTLE)
    fixed = operators.build("shift", activation_bits=24, activation_fraction_bits=14)
    turns = [operators.build("mult"), operators.build("add"), fixed, operators.build("shift_ps")]
    torch.manual_seed(0)
    layers = {layer.name: turns[i % 4] for i, layer in enumerate(plan.layers())}
    exempt = {name: turns[0] for name in layers if ".se." in name or name == "classifier"}
    return build_supernet(plan, Assignment(layers | exempt))


def written(target: Target, folder: Path) -> list[Path]:
    """Files of both formats."""
    size = target.net.plan.image_size
    program = record(target, size)
    folder.mkdir()
    return [write(program, target, size, format, folder / f"target.{format}").path for format in ("onnx", "pt2")]


def add_all(elsewhere: Elsewhere, target: Target, folder: Path) -> None:
    """Add a target in both formats and as a trace."""
    paths, x = written(target, folder), inputs(8, target.net.plan.image_size)
    paths.append(folder / "target.pt")
    torch.jit.save(torch.jit.trace(target.net, x[:2]), paths[-1])
    for path in paths:
        elsewhere.add(path, target.net, x)


def assert_near(elsewhere: Elsewhere, files: int) -> None:
    """Fail unless so many files compute what they should."""
    found = elsewhere.differences()
    assert len(found) == files
    assert {name: difference for name, difference in found.items() if not difference <= TOLERANCE} == {}


def test_files_compute_where_the_package_is_not(tmp_path: Path) -> None:
    """A net of all operators, in both formats, as a trace, and by the older writer of ONNX."""
    elsewhere, target, x = Elsewhere(tmp_path), settled(mixed()), inputs(8)
    add_all(elsewhere, target, tmp_path / "mixed")
    path = tmp_path / "mixed" / "older.onnx"
    options: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    options |= {"training": torch.onnx.TrainingMode.PRESERVE}  # else batch-norms are multiplied into the weights
    torch.onnx.export(nn.Sequential(target.net), (x[:2],), path, dynamo=False, **options)
    elsewhere.add(path, target.net, x)
    assert_near(elsewhere, 4)


@pytest.mark.slow
def test_targets_of_every_operator_and_a_model_of_timm_s_do_too(tmp_path: Path) -> None:
    elsewhere, allowed = Elsewhere(tmp_path), dict[str, float]()
    for op in OPS:
        target = settled(make_supernet("mbv2_micro", op))
        add_all(elsewhere, target, tmp_path / op)
        allowed[op] = max(TOLERANCE, OWN_ROUNDING * own_rounding(target, target.net.plan.image_size))
    model = timm.create_model("shiftaddaug_resnet20", op="shift", num_classes=5, img_size=16).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        program = torch.export.export(model, (images(2),), dynamic_shapes=[{0: torch.export.Dim("n")}])
    torch.export.save(program, tmp_path / "timm.pt2")
    elsewhere.add(tmp_path / "timm.pt2", model, inputs(8))
    found = elsewhere.differences()
    assert len(found) == 3 * len(OPS) + 1
    for name, difference in found.items():
        op = Path(name.split(": ")[1]).parts[0]
        assert difference <= allowed.get(op, TOLERANCE), name  # sums of an adder lose digits in float32 by themselves


def test_the_files_say_what_they_are_and_nothing_of_this_machine(tmp_path: Path) -> None:
    import onnx

    target = settled(make_supernet(LITTLE, "shift"), data={"name": "digits"})
    target = dataclasses.replace(target, interface=Interface(task="classification", classes=tuple("abcdefg")))
    paths = written(target, tmp_path / "files")
    said = {"net": "little", "op": "shift", "data": "digits", "image_size": "[16, 16]"}
    said |= {key: _text(value) for key, value in target.interface.to_dict().items()}
    assert said["task"] == "classification" and json.loads(said["classes"]) == list("abcdefg")
    assert metadata(target, (16, 16)) == said
    model = onnx.load(paths[0])
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == said
    extra = {exporting.METADATA: ""}
    torch.export.load(paths[1], extra_files=extra)
    assert json.loads(extra[exporting.METADATA]) == said
    assert [path.name for path in paths if str(Path(exporting.__file__).parents[2]).encode() in path.read_bytes()] == []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_a_file_that_computes_something_else_is_refused_and_removed(tmp_path: Path) -> None:
    target, other = (settled(make_supernet(LITTLE, op)) for op in ("mult", "shift"))
    program = record(target, (16, 16))
    with pytest.raises(UserError, match=r"target.pt2: computes something else than the target: outputs differ by"):
        write(program, other, (16, 16), "pt2", tmp_path / "target.pt2")
    assert list(tmp_path.iterdir()) == []
    assert largest_difference(target.net, target, (16, 16)) == 0
    assert not largest_difference(lambda x: target.net(x) * float("nan"), target, (16, 16)) <= TOLERANCE


def test_what_float32_makes_of_the_target_itself_is_allowed() -> None:
    exact, coarse = settled(make_supernet(LITTLE, "mult")), settled(mixed())
    assert 0 < own_rounding(exact, (16, 16)) < 1e-6
    assert own_rounding(coarse, (16, 16)) < TOLERANCE


def test_memory_is_that_of_the_largest_moment() -> None:
    """A convolution of 3 channels by 8 filters of 16 px: 3 x 3 patches, and two buffers of all differences."""
    table = bottlenecks()
    target = settled(make_supernet(table, "mult"))
    pixels, widest = 16 * 16, max(target.net.plan.channels().values())
    assert 2 * 4 * widest * pixels <= memory(record(target, (16, 16))) <= 3 * 4 * widest * pixels + 4 * 3 * pixels
    adder = memory(record(settled(make_supernet(table, "add")), (16, 16)))
    assert adder > memory(record(target, (16, 16)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "op"), [*((net, "shift") for net in NETS), *(("mbv2_micro", op) for op in OPS if op != "shift")]
)
def test_every_net_and_operator(net: str, op: str, tmp_path: Path) -> None:
    target = settled(make_supernet(narrowed(net), op))
    assert len(written(target, tmp_path / "files")) == 2  # which compares


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "op"), [*((arch, "shift") for arch in ARCHS), ("lraspp", "add"), ("unet", "add")])
def test_every_decoder(arch: str, op: str, tmp_path: Path) -> None:
    target = settled(make_masks(arch, op))
    assert len(written(target, tmp_path / "files")) == 2
