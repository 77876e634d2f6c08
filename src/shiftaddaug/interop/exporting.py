"""Write a deployed network into one file that needs nothing of this package: ONNX, or torch's own `.pt2`.

Both compute in float32, take any number of images of one size, and are read again and compared with the network before
they count as written.
"""

import copy
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.files import write_whole
from shiftaddaug.interop.formats import ONNX, PT2, runs_onnx
from shiftaddaug.interop.recorded_memory import peak_bytes
from shiftaddaug.nets.extract import Target

log = logging.getLogger(__name__)

OPSET = 18
"""Version of ONNX's operators."""
TOLERANCE = 1e-5
"""Largest difference of a file's outputs from the network's, in units of the largest output: float32 rounds to 6e-8."""
OWN_ROUNDING = 10
"""Where that is more, a file may differ by this many times what float32 itself makes of the target, against float64. A
target that rounds its activations to fixed point turns the last bit of a sum into a whole step of them."""
BATCHES = (1, 3, 8)
"""Images that both are compared on, at once."""
IMAGES, LOGITS, METADATA = "images", "logits", "metadata.json"
"""Names of the input and the output, and of the file of metadata within a .pt2."""


@dataclass(frozen=True)
class Written:
    """A file that was written, read again and compared."""

    path: Path
    bytes: int
    difference: float | None
    """Largest difference from the target's outputs, in units of the largest one; None if nothing here runs the file."""


def record(target: Target, size: tuple[int, int]) -> ExportedProgram:
    """Return what the network computes in float32, by operations of torch alone.

    Args:
        target: that is deployed; it is left as it is.
        size: (height, width) of the images, whose number stays open.

    Raises:
        UserError: an operator computes in a way that cannot be recorded.
    """
    images = _images(target, 2, size)
    try:
        with torch.no_grad():
            program = torch.export.export(
                _in_float32(target.net), (images,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False
            )
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(f"op={target.assignment.title()}: cannot be exported ({reason_of(error)})") from error
    for node in program.graph.nodes:  # it names files of this machine
        node.meta.pop("stack_trace", None)
    _warn_of_constant(target, size)
    return program


@torch.no_grad()
def _warn_of_constant(target: Target, size: tuple[int, int]) -> None:
    outputs = _in_float32(target.net)(_images(target, 3, size))
    if torch.equal(outputs, outputs[:1].expand_as(outputs)):
        log.warning("the target answers all images of noise alike: that its files do so, too, says little of them")


def write(program: ExportedProgram, target: Target, size: tuple[int, int], format: str, path: Path) -> Written:
    """Write a file that is not there yet, read it again, and compare it with the target.

    Args:
        program: of `record`.
        target, size: what it was recorded of.
        format: one of `FORMATS`.
        path: of the file.

    Raises:
        UserError: it cannot be written, or computes something else; it is not there then.
    """
    content, opened = _WRITERS[format]
    try:
        data = content(program, metadata(target, size))
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(f"format={format}: cannot be written of this network ({reason_of(error)})") from error
    write_whole(path, data)
    try:
        run = opened(path)
        difference = None if run is None else largest_difference(run, target, size)
        if difference is not None and not difference <= TOLERANCE:
            allowed = max(TOLERANCE, OWN_ROUNDING * own_rounding(target, size))
            if not difference <= allowed:
                raise UserError(
                    f"{path}: computes something else than the target: outputs differ by {difference:.1e} of the "
                    f"largest one, and {allowed:.1e} is allowed; the file was removed"
                )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Written(path, len(data), difference)


def metadata(target: Target, size: tuple[int, int]) -> dict[str, str]:
    """Return what a file says of its network, by name.

    Args:
        target: of which the network is.
        size: (height, width) of the images.
    """
    plan, data = target.net.plan, target.config.get("data") or {}
    described = {"net": plan.name, "op": target.assignment.title(), "data": data.get("name"), "image_size": list(size)}
    described |= target.interface.to_dict()
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}


@torch.no_grad()
def largest_difference(run: Callable[[Tensor], Tensor], target: Target, size: tuple[int, int]) -> float:
    """Return the largest difference of a file's outputs from the target's, in units of the largest output.

    Args:
        run: computes what the file says, of images.
        target: in float32 the law.
        size: (height, width) of the images.
    """
    net, largest = _in_float32(target.net), torch.zeros(())
    for count in BATCHES:
        images = _images(target, count, size)
        wanted = net(images)
        found = run(images)
        if found.shape != wanted.shape:
            return float("inf")
        scale = wanted.abs().max().item() or 1.0
        largest = torch.maximum(largest, (found - wanted).abs().max() / scale)  # which keeps nan
    return largest.item()


def own_rounding(target: Target, size: tuple[int, int]) -> float:
    """Return by how much the target's outputs in float64 differ from those in float32, in units of the largest one."""
    exact = _in_float32(target.net).double()
    return largest_difference(lambda images: exact(images.double()).float(), target, size)


def memory(program: ExportedProgram) -> int:
    """Return the bytes of the values that live at once, at most, while one image is computed; without the weights."""
    return peak_bytes(program)


def _in_float32(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).float().eval().requires_grad_(False)


def _images(target: Target, count: int, size: tuple[int, int]) -> Tensor:
    """Noise, of another brightness and contrast in each image: a net that averages pixels answers mere noise alike."""
    drawn = torch.Generator().manual_seed(count)
    noise = torch.randn(count, target.net.plan.in_channels, *size, generator=drawn)
    brightness, contrast = torch.randn(2, count, 1, 1, 1, generator=drawn)
    return noise * contrast + brightness


def _pt2(program: ExportedProgram, described: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(described)})
    return file.getvalue()


def _opened_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    module: Any = torch.export.load(path).module()
    return module


def _onnx(program: ExportedProgram, described: Mapping[str, str]) -> bytes:
    """The content of a file. What depends on weights alone is computed here.

    NOTE: torch's own optimising (`optimize=True`) does more, and takes minutes for the operations of an add net.
    """
    from onnxscript import ir, optimizer

    with _quiet("onnxscript", "onnx_ir", "torch.onnx"):
        written = torch.onnx.export(
            program,
            input_names=[IMAGES],
            output_names=[LOGITS],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
        assert written is not None
        limit = 2**31
        optimizer.fold_constants(written.model, input_size_limit=limit, output_size_limit=limit)
        optimizer.remove_unused_nodes(written.model)
    for node in written.model.graph:  # they name files of this machine
        node.metadata_props.clear()
    written.model.metadata_props.clear()
    written.model.metadata_props.update(described)
    content: bytes = ir.to_proto(written.model).SerializeToString()
    return content


def _opened_onnx(path: Path) -> Callable[[Tensor], Tensor] | None:
    if not runs_onnx():
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([LOGITS], {IMAGES: images.numpy()})[0])


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Let some loggers say errors alone."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_WRITERS: Mapping[
    str,
    tuple[Callable[[ExportedProgram, Mapping[str, str]], bytes], Callable[[Path], Callable[[Tensor], Tensor] | None]],
] = {ONNX: (_onnx, _opened_onnx), PT2: (_pt2, _opened_pt2)}
