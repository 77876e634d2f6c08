"""The name of a study: a hash of all that a search's scores depend on."""

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

SCORED_BY = ("trainer.max_time", "hardware")
"""Keys that a score depends on besides what identifies a run."""
SEARCHED_BY = ("params", "custom_search_space", "direction", "objectives", "constraints")
"""Keys of `hydra.sweeper` that say what is searched."""


def study_name(config: DictConfig) -> str:
    """Return the name of a search's study: what somebody called it, and a hash of all that its scores depend on.

    Args:
        config: of a multirun, Hydra's own node included.
    """
    return f"{config.hydra.sweeper.study_name or 'search'} {search_hash(config)}"


def search_hash(config: DictConfig) -> str:
    """Hash of what is trained, how it is scored and what is searched: 8 hexadecimal digits of a SHA-256.

    Args:
        config: of a multirun, Hydra's own node included. What is swept over on the command line is not in it, but
            among its overrides.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from shiftaddaug.catalogue import catalogue_of
    from shiftaddaug.data.checks import holds_any_images
    from shiftaddaug.hybrid.remap_file import remap_of
    from shiftaddaug.runs.identity import identity
    from shiftaddaug.runs.searched import with_searched_net

    composed: Any = OmegaConf.to_container(config, resolve=False)  # interpolations lead to what is hashed too
    swept_net = composed["net"].get("path", "") is None  # over net.path: the files are named by what is swept
    plain = composed if swept_net else with_searched_net(composed, catalogue_of(composed["plugins"]))
    parse = OverridesParser.create().parse_override
    swept = [override for override in plain["hydra"]["overrides"]["task"] if parse(override).is_sweep_override()]
    images = plain["data"]["data_dir"] if holds_any_images(plain["data"]) else None
    remap = None if plain["sharing"].get("remap_file") is None else remap_of(plain)[0]
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    search = {key: sweeper.get(key) for key in SEARCHED_BY}
    content = [identity(plain, SCORED_BY), images, remap, search, sorted(swept)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
