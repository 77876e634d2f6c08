"""Every key of every group has a type, and where it is a number a range: nonsense in its place is refused by name."""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.configs.test_configs import CONFIGS, composed_once, files, overrides_of
from tests.nets.searching import written

from shiftaddaug import operators, tasks
from shiftaddaug.data.checks import settings_of
from shiftaddaug.errors import UserError
from shiftaddaug.operators.stated import make_stated
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.searched import with_searched_net
from shiftaddaug.runs.settings import read_groups

NONSENSE = [[None]]
"""Nothing that any key may be."""

UNTYPED = {
    "logger.wandb.": "handed on to Lightning's WandbLogger by a function that takes any argument",
    "logger.mlflow.": "handed on, as W&B's",
    "logger.comet.": "handed on, as W&B's",
    "logger.aim.": "handed on, as W&B's",
    "net.surroundings.": "what the file of a searched net holds, checked when it is read",
    "op.mult_layers": "the net's key mult_layers is read from it, and checked there",
    "optim.name": "the optimiser's key opt is read from it, and checked by timm, which knows the names",
    "optim.scheduler.": "timm's schedules take different arguments; timm_scheduler.py checks them by the schedule",
}
"""Keys (or what they begin with) whose type is not known before torch is imported, and why."""


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of the values that hold no others."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not children:
        yield path
    for key, child in children:
        if isinstance(child, dict) or (isinstance(child, list) and any(isinstance(each, dict) for each in child)):
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


def replaced(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(config)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


def refusal(config: dict[str, Any], written_optim: dict[str, Any]) -> str | None:
    """The answer of the checks that need no plan, if there is one."""
    try:
        read_groups(config, written_optim, tasks.settings_from(config["task"]))
        settings_of(config["data"])
        make_stated(config["op"], operators.settings_from)
    except UserError as error:
        return str(error)
    return None


def owner(config: dict[str, Any], path: tuple[Any, ...]) -> Any:
    """What says the type of a key: two keys of one name may belong to different classes."""
    node: Any = config
    for key in path[:-1]:
        node = node[key]
    own = node.get("_target_", node.get("name", node.get("block")))
    return own, tuple("*" if isinstance(key, int) else key for key in path)


def test_nonsense_is_refused_at_every_key_of_every_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shiftaddaug.runs.settings.check_packages", lambda _: None)  # whatever is installed
    seen, untyped = set(), set()
    searched = {"path": str(written(tmp_path))}
    for file in files():
        line = (CONFIGS / f"{file}.yaml").read_text().splitlines()[0]
        if "train.py" not in line or file.startswith(("paths/", "hydra/", "sweep/")):
            continue
        cfg = composed_once(*overrides_of(file))
        config, optim = plain(cfg), OmegaConf.to_container(cfg.optim, resolve=False)
        if "path" in config["net"]:
            config = with_searched_net(config | {"net": config["net"] | searched})
        assert refusal(config, optim) is None, file
        for path in leaves(config):
            if owner(config, path) in seen:
                continue
            seen.add(owner(config, path))
            key = ".".join(map(str, path))
            answer = refusal(replaced(config, path, NONSENSE), optim)
            if answer is None or not key.startswith(re.split("[=:]", answer)[0]):
                untyped.add(key)
    assert len(seen) > 100
    assert {key for key in untyped if not key.startswith(tuple(UNTYPED))} == set()
    assert [start for start in UNTYPED if not any(key.startswith(start) for key in untyped)] == []
    assert "optim.scheduler.gamma" not in untyped
