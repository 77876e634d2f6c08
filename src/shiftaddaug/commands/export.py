"""`python src/export.py target=... format=onnx`: write a target into a file that needs nothing of this package."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.commands.entry import run_command
from shiftaddaug.data.settings import ImageSize
from shiftaddaug.errors import UserError
from shiftaddaug.interop.formats import EXTRA, FORMATS, ONNX, refuse_missing, runs_onnx
from shiftaddaug.nets.sizes import Size, as_size
from shiftaddaug.nets.target_files import ARCHITECTURE, target_folder
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.importing import importing_torch
from shiftaddaug.runs.settings import PathsSettings
from shiftaddaug.settings import CheckpointPath, PluginNames, check_group

if TYPE_CHECKING:
    from shiftaddaug.interop.exporting import Written
    from shiftaddaug.nets.extract import Target

log = logging.getLogger(__name__)

EXPORT = "export.json"
ONE = Literal[FORMATS]  # type: ignore[valid-type]
Formats = Annotated[ONE | Annotated[list[ONE], Meta(min_length=1)], Meta(title="onnx, pt2, or both, [onnx,pt2]")]


@dataclass(frozen=True)
class ExportSettings:
    """Keys of configs/export.yaml."""

    target: CheckpointPath
    format: Formats = ONNX
    image_size: ImageSize | None = None
    plugins: PluginNames = ()  # type: ignore[assignment]

    @property
    def formats(self) -> tuple[str, ...]:
        """What is written, each once."""
        return (self.format,) if isinstance(self.format, str) else tuple(dict.fromkeys(self.format))


def export(cfg: DictConfig) -> float | None:
    """Write a target into files of some formats, read them again and compare; write export.json and print a table.

    Returns:
        The largest difference of a file's outputs from the target's, in units of the largest output; None if nothing
        here runs the files.

    Raises:
        UserError: a mistake in the configuration, no such target, or a file that computes something else.
    """
    settings, folder, catalogue = _check(cfg)

    with importing_torch():
        from shiftaddaug.interop.exporting import OPSET, memory, record, write
        from shiftaddaug.nets.extract import load_target
        from shiftaddaug.report.results import print_result, shortest_path, write_json

    target = load_target(Path(str(settings.target)).expanduser(), catalogue, key="target")
    size = size_of(settings, target)
    program = record(target, size)
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Written] = {}
    for format in settings.formats:
        written[format] = write(program, target, size, format, folder / f"target.{format}")
    content: dict[str, Any] = {
        "target": str(settings.target),
        "image_size": list(size),
        "in_channels": target.net.plan.in_channels,
        "dtype": "float32",
        "memory_bytes_per_image": memory(program),
        **({"opset": OPSET} if ONNX in written else {}),
        "files": {format: _described(each) for format, each in written.items()},
    }
    write_json(folder / EXPORT, content)
    rows = {format: f"{shortest_path(each.path)} ({_shown(each)})" for format, each in written.items()}
    title = f"{target.net.plan.name}, op={target.assignment.title()}, of {size[0]} x {size[1]} px"
    print_result(
        title, rows | {"memory": f"{content['memory_bytes_per_image'] / 2**20:.1f} MiB an image, weights aside"}
    )
    differences = [each.difference for each in written.values() if each.difference is not None]
    return max(differences, default=None)


def _check(cfg: DictConfig) -> tuple[ExportSettings, Path, Catalogue]:
    """Return the settings, the folder that is written into, and what plugins hold."""
    config = plain(cfg)
    folder = Path(check_group("paths", config.pop("paths"), PathsSettings).output_dir)
    settings = check_group("", config, ExportSettings)
    path = Path(str(settings.target)).expanduser()
    if not path.exists():
        raise UserError(f"target={path}: no such folder; options: a run's folder, or its target folder")
    if not (target_folder(path) / ARCHITECTURE).is_file():
        raise UserError(
            f"target={path}: no target there; options: the folder of a run that has finished, its target folder"
        )
    refuse_missing(settings.formats)
    for name in (EXPORT, *(f"target.{format}" for format in settings.formats)):
        if (folder / name).exists():
            raise UserError(f"paths.output_dir={folder}: holds {name} already, which is never overwritten")
    if ONNX in settings.formats and not runs_onnx():
        log.warning("onnxruntime is not installed: target.onnx is written, but not compared; options: %s", EXTRA)
    return settings, folder, catalogue_of(settings.plugins)


def size_of(settings: ExportSettings, target: "Target") -> Size:
    """Return the (height, width) of images that a file takes."""
    prepared = target.interface.preprocessing
    if settings.image_size is None and prepared is not None:
        return prepared.height_and_width
    data: Mapping[str, Any] = target.config.get("data") or {}
    return as_size(settings.image_size or data.get("eval_size") or target.net.plan.image_size)


def _described(written: "Written") -> dict[str, Any]:
    return {"file": written.path.name, "bytes": written.bytes, "largest_relative_difference": written.difference}


def _shown(written: "Written") -> str:
    if written.difference is None:
        return f"{written.bytes:,} bytes, not compared"
    return f"{written.bytes:,} bytes, outputs within {written.difference:.1e} of the target's"


def main() -> None:
    """Run the command."""
    run_command("export", export)


if __name__ == "__main__":
    main()
