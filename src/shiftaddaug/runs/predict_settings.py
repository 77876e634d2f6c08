"""The settings of a prediction, checked before torch is imported."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.data.listing import images_below
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.nets.interface import Interface
from shiftaddaug.nets.target_files import ARCHITECTURE, INTERFACE, target_folder
from shiftaddaug.report.predictions import PREDICTIONS
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.named import LAST, newest_target
from shiftaddaug.runs.settings import PathsSettings
from shiftaddaug.settings import CheckpointPath, PathName, PluginNames, PositiveInt, check_group

Images = Annotated[PathName | list[PathName | int] | int, Meta(title="a file, a folder, or a list of them")]


@dataclass(frozen=True)
class PredictKeys:
    """Keys of configs/predict.yaml."""

    target: CheckpointPath
    images: Images = ()  # type: ignore[assignment]
    top: PositiveInt = 3
    batch_size: PositiveInt = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"
    plugins: PluginNames = ()  # type: ignore[assignment]


@dataclass(frozen=True)
class Picture:
    """A file that is predicted, or why there is none."""

    path: Path
    name: Path
    """Path by which its mask is called: below the folder that was searched, if one was."""
    mistake: str | None = None
    """Why it cannot be read, where that shows already."""


@dataclass(frozen=True)
class PredictSettings:
    """A prediction."""

    keys: PredictKeys
    path: Path
    """What the user named as the target."""
    pictures: tuple[Picture, ...]
    folder: Path
    """Where predictions are written."""
    catalogue: Catalogue


def read_predict_settings(cfg: DictConfig, paths: Sequence[str] = ()) -> PredictSettings:
    """Return the settings of a prediction.

    Args:
        cfg: composed from configs/predict.yaml.
        paths: images and folders besides those of the key `images`.

    Raises:
        UserError: the first mistake, by key; no target; one that does not say how images are prepared; no image.
    """
    config = plain(cfg)
    keys = check_group("", config, PredictKeys, more=("paths",))
    folders = check_group("paths", config["paths"], PathsSettings)
    target = str(keys.target)
    path = newest_target("target", Path(folders.log_dir)) if target == LAST else Path(target).expanduser()
    _check_target(path)
    catalogue = catalogue_of(keys.plugins)
    given = keys.images if isinstance(keys.images, list | tuple) else [keys.images]
    named = [Path(str(each)).expanduser() for each in (*given, *paths)]
    if not named:
        raise UserError("images=[]: nothing to look at; options: files and folders, such as photo.png photos/")
    pictures = {picture.path: picture for each in named for picture in _pictures(each)}
    if all(picture.mistake for picture in pictures.values()):
        raise UserError("; ".join(filter(None, [picture.mistake for picture in pictures.values()][:3])))
    folder = Path(folders.output_dir)
    if (folder / PREDICTIONS).exists():
        raise UserError(f"paths.output_dir={folder}: holds predictions already, which are never overwritten")
    return PredictSettings(keys, path, tuple(pictures.values()), folder, catalogue)


def _pictures(path: Path) -> list[Picture]:
    """Return a file, or the images in a folder."""
    if not path.is_dir():
        mistake = None if path.is_file() else f"{path}: no such file" if not path.exists() else f"{path}: is no file"
        return [Picture(path, Path(path.name), mistake)]
    found = [Picture(each, each.relative_to(path)) for each in images_below(path)]
    return found or [Picture(path, Path(path.name), f"{path}: no image in this folder")]


def _check_target(path: Path) -> None:
    """Refuse what shows of a target before torch is imported; what is damaged is refused when it is loaded.

    Raises:
        UserError: there is none, or it does not say how images are prepared.
    """
    if not path.exists():
        raise UserError(f"target={path}: no such file; options: last, a run's folder, or its target/")
    if path.suffix == ".ckpt" and not path.is_dir():
        raise UserError(f"target={path}: a supernet's checkpoint; options: its run's folder, or that one's target/")
    file = target_folder(path) / ARCHITECTURE
    if not file.is_file():
        raise UserError(f"target={path}: no {ARCHITECTURE} there; options: last, a run's folder, or its target/")
    try:
        raw = json.loads(file.read_text())[INTERFACE]
        known = Interface.from_dict(raw)
    except KeyError:
        raise UserError(f"target={path}: {_UNSAID}; it was written by an earlier version") from None
    except UserError as error:
        raise UserError(f"target={path}: {error}") from None
    except (OSError, *DAMAGE):
        return
    if known.preprocessing is None:
        raise UserError(f"target={path}: {_UNSAID}; data modules of plugins may: docs/extending.md, A data set")


_UNSAID = "does not say how images are prepared"
