"""The settings of an architecture search, checked before anything is drawn. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug import tasks
from shiftaddaug.catalogue import Catalogue
from shiftaddaug.data.checks import settings_of
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.nas.settings import SpaceSettings, check_space
from shiftaddaug.nets import archs
from shiftaddaug.nets.settings import check_net
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.searched import with_searched_net
from shiftaddaug.runs.settings import GROUPS, PathsSettings
from shiftaddaug.runs.target_plan import outputs_of, target_plan
from shiftaddaug.settings import CheckpointPath, PluginNames, Seed, check_group


@dataclass(frozen=True)
class TopLevel:
    """Keys of configs/search.yaml that are no group."""

    stage: Literal["space"]
    draws: Annotated[int, Meta(ge=1, le=10**6)]
    macs_quantile: Annotated[float, Meta(gt=0, lt=1)]
    seed: Seed
    ckpt_path: CheckpointPath | None = None
    resume: bool = False
    plugins: PluginNames = ()  # type: ignore[assignment]


@dataclass(frozen=True)
class SearchSettings:
    """A search."""

    top: TopLevel
    table: Mapping[str, Any]
    """The `net` group, as plain containers."""
    space: SpaceSettings
    hardware: Hardware
    outputs: int
    """Channels of the logits."""
    in_channels: int
    folder: Path
    """Where the results are written."""
    data: str

    @property
    def title(self) -> str:
        """What is searched, for people."""
        return f"space={self.space.name}, net={self.table['name']}, data={self.data}, hardware={self.hardware.name}"


def read_search(cfg: DictConfig, catalogue: Catalogue) -> SearchSettings:
    """Return the settings of a search.

    Args:
        cfg: composed from configs/search.yaml.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    config = with_searched_net(plain(cfg), catalogue)
    top = check_group("", config, TopLevel, more=(*GROUPS, "space"))
    task = tasks.settings_from(config["task"], catalogue)
    check_net(config["net"], catalogue)
    space, hardware = check_space(config["space"]), hardware_from(config["hardware"])
    if hardware.sram_kib is None and hardware.flash_kib is None:
        raise UserError(
            f"hardware={hardware.name}: limits no memory, by which a space is chosen; options: stm32f412, stm32f746, "
            f"stm32h743, or hardware.sram_kib=NUMBER"
        )
    data, arch = config["data"], archs.check_arch(config["arch"], catalogue)
    if arch.dense:
        raise UserError(f"arch={arch.name}: a space is chosen of classifiers; options: classifier")
    settings_of(data)
    target_plan(config, arch, task, catalogue)
    paths = check_group("paths", config["paths"], PathsSettings)
    return SearchSettings(
        top,
        config["net"],
        space,
        hardware,
        outputs_of(data, task),
        data["in_channels"],
        Path(paths.output_dir),
        str(data["name"]),
    )
