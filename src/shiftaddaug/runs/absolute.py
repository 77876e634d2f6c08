"""Paths that a run records hold wherever they are read later: from another folder, by another process. No torch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

PATHS = (
    *("paths.root_dir", "paths.log_dir", "paths.output_dir", "paths.data_dir"),
    *("data.data_dir", "net.path", "net.init_from", "sharing.remap_file"),
)
"""Keys of a training's configuration that name files or folders."""


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Return a configuration whose paths are absolute: relative ones are taken from the working directory.

    What is interpolated from them becomes so, too.

    Args:
        cfg: composed; it is left as it is.
    """
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value and not Path(value).is_absolute():
            cfg = cfg.copy()
            OmegaConf.update(cfg, key, whole_path(value), force_add=True)
    return cfg


TIMM = "timm:"
"""Begins what names a model of timm, or a file with its state dict (`runs/init_from.py`)."""


def whole_path(path: str) -> str:
    """Return a path as an absolute one; `~` is the home folder. The name of a model of timm is none."""
    if path.startswith(TIMM):
        named = path.removeprefix(TIMM)
        is_file = "/" in named or Path(named).is_file()
        return TIMM + str(Path(named).expanduser().absolute()) if is_file else path
    return str(Path(path).expanduser().absolute())
