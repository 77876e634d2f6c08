"""The settings of an architecture search, checked before anything is drawn. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta
from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.catalogue import Catalogue
from shiftaddaug.data.checks import settings_of
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.hybrid.settings import kind_of_sharing
from shiftaddaug.nas.settings import LimitSettings, MethodSettings, SpaceSettings, check_method, check_space
from shiftaddaug.nas.space import largest_table
from shiftaddaug.nas.tinynas import Setting
from shiftaddaug.nets import archs
from shiftaddaug.nets.settings import check_net
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.searched import with_searched_net
from shiftaddaug.runs.settings import GROUPS, PathsSettings
from shiftaddaug.runs.settings import TopLevel as TrainTopLevel
from shiftaddaug.runs.target_plan import outputs_of, target_plan
from shiftaddaug.settings import CheckpointPath, check_group

OWN_GROUPS = ("space", "search", "limits")
"""Groups of configs/search.yaml that a training has not."""
SAMPLER = "shiftaddaug.nas.sandwich.SampleSandwich"


@dataclass(frozen=True, kw_only=True)
class TopLevel(TrainTopLevel):
    """Keys of configs/search.yaml that are no group."""

    stage: Literal["space", "supernet", "target"]
    draws: Annotated[int, Meta(ge=1, le=10**6)]
    macs_quantile: Annotated[float, Meta(gt=0, lt=1)]
    supernet: CheckpointPath | None = None


@dataclass(frozen=True)
class SearchSettings:
    """A search."""

    top: TopLevel
    config: Mapping[str, Any]
    """The whole configuration as plain containers, its interpolations resolved."""
    table: Mapping[str, Any]
    """The `net` group, as plain containers."""
    space: SpaceSettings
    method: MethodSettings
    limits: LimitSettings
    hardware: Hardware
    operators: tuple[OperatorSettings, ...]
    """Settings of the space's operators, multiplication first."""
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
    top = check_group("", config, TopLevel, more=(*GROUPS, *OWN_GROUPS))
    task = tasks.settings_from(config["task"], catalogue)
    check_net(config["net"], catalogue)
    space, hardware = check_space(config["space"]), hardware_from(config["hardware"])
    method, limits = check_method(config["search"]), check_group("limits", config["limits"], LimitSettings)
    _refuse_what_is_trained(config["sharing"])
    data, arch = config["data"], archs.check_arch(config["arch"], catalogue)
    if arch.dense:
        raise UserError(f"arch={arch.name}: architectures are searched of classifiers; options: classifier")
    settings_of(data)
    target_plan(config, arch, task, catalogue)
    paths = check_group("paths", config["paths"], PathsSettings)
    return SearchSettings(
        top,
        config,
        config["net"],
        space,
        method,
        limits,
        hardware,
        operators_of([*space.operators, *method.operators], catalogue),
        outputs_of(data, task),
        data["in_channels"],
        Path(paths.output_dir),
        str(data["name"]),
    )


def _refuse_what_is_trained(sharing: Mapping[str, Any]) -> None:
    """Refuse sharing that a search knows nothing of: it reads the weights of one supernet with several operators."""
    kind, name = kind_of_sharing(sharing), sharing["name"]
    if kind.penalises:
        raise UserError(
            f"sharing={name}: is a penalty of a training, and a search reads weights; options: none, heterogeneous"
        )
    if kind.learns:
        raise UserError(
            f"sharing={name}: trains factors for a layer's one operator, and a search reads weights with several; "
            f"options: none, heterogeneous"
        )


def operators_of(names: list[str], catalogue: Catalogue) -> tuple[OperatorSettings, ...]:
    """Return the settings of operators, each with its defaults, multiplication first.

    Raises:
        UserError: one that is not there, or whose layers have no weight to inherit.
    """
    found = []
    for name in dict.fromkeys(["mult", *names]):
        try:
            settings = operators.settings_from({"name": name}, catalogue)
        except UserError as error:
            raise UserError(f"space.operators: {error}") from None
        if not settings.shareable:
            raise UserError(f"space.operators: {name}: its layers train no weight that they could inherit")
        found.append(settings)
    return tuple(found)


def supernet_config(cfg: DictConfig, settings: SearchSettings, chosen: Setting) -> DictConfig:
    """Return the configuration of a training of the space's largest network, and of what is inside of it.

    Args:
        cfg: composed from configs/search.yaml.
        settings: read from it.
        chosen: at which resolution and width.

    Raises:
        UserError: an operator, or an augmentation, that is none of a supernet's.
    """
    _refuse_own_ways(settings.config)
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    config = {
        key: raw[key] for key in (*GROUPS, "seed", "ckpt_path", "resume", "plugins", "tags", "debug") if key in raw
    }
    table = largest_table(settings.table, settings.space, chosen.width_mult)
    trained = settings.method.training()
    space = {**settings.config["space"], "operators": trained["operators"]}
    config["net"] = {**table, "width_multipliers": [1.0], "expand_multipliers": [1.0]}
    config["data"] = {**raw["data"], "image_size": chosen.image_size}
    config["sharing"] = {"name": "none"}  # of the layers' own operator, which multiplies
    config["hardware"] = {**raw["hardware"], "sram_kib": None, "flash_kib": None}  # what is inside has to fit, not it
    config["callbacks"] = {
        **raw["callbacks"],
        "sample_subnets": {
            "_target_": SAMPLER,
            "_convert_": "all",
            "seed": "${seed}",
            "space": space,
            "divisor": table["divisor"],
            "sandwich": trained["sandwich"],
            "random_subnets": trained["random_subnets"],
        },
    }
    return OmegaConf.create(config)


def _refuse_own_ways(config: Mapping[str, Any]) -> None:
    """Refuse what would make another network of the supernet than the space does."""
    if config["op"]["name"] != "mult":
        raise UserError(
            f"op={config['op']['name']}: a supernet multiplies; options: mult, and space.operators for what layers of "
            f"the target may compute with"
        )
    if config["aug"]["name"] != "none":
        raise UserError(f"aug={config['aug']['name']}: a supernet is surrounded by nothing; options: none")
