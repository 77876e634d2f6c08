"""Data modules as their yaml configures them."""

from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@cache
def _composed(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [f"data={name}", "paths.data_dir=null"])
    container = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def keys_of(name: str, /, **changes: Any) -> dict[str, Any]:
    """The composed keys of configs/data/<name>.yaml, some of them changed; nothing is downloaded."""
    keys = _composed(name)
    return keys | ({"download": False} if "download" in keys else {}) | changes


def module_of(name: str, /, **changes: Any) -> Any:
    """The data module of those keys."""
    keys = keys_of(name, **changes)
    return get_class(keys.pop("_target_"))(**keys)
