"""What identifies a run: every key but those that are named as exceptions, a plugin's keys too."""

import inspect
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from lightning.pytorch import Callback, Trainer
from omegaconf import OmegaConf

from shiftaddaug.nets.settings import NetSettings
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.identity import (
    FREE,
    WATCHERS,
    are_alike,
    first_difference,
    identity,
    identity_hash,
    only_watches,
)
from tests.commands.running import composed

COMMON = ("aug=full", "op=add", "sharing=heterogeneous", "reorder=l1", "block_variant=layer", "callbacks=ema")


def config_of(folder: Path, *overrides: str) -> dict[str, Any]:
    return plain(composed(folder, *overrides))


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    return [path]


def replaced(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(config)
    node = changed
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
    return changed


def is_free(config: dict[str, Any], path: tuple[str, ...]) -> bool:
    watches = path[0] == "callbacks" and only_watches(config["callbacks"][path[1]].get("_target_"))
    return watches or any(".".join(path[: i + 1]) in FREE for i in range(len(path)))


@pytest.mark.parametrize("data", ["digits", "cifar10", "image_folder", "imagenet"])
def test_every_key_of_every_group_identifies_but_the_exceptions(data: str, tmp_path: Path) -> None:
    config = config_of(tmp_path, *COMMON, f"data={data}", "logger=many", "bn=recalibrated")
    told = {}
    kinds = {(*path[:2], "_target_") for path in leaves(config) if path[0] == "callbacks" and is_free(config, path)}
    for path in {*leaves(config)} - kinds:
        difference = first_difference(config, replaced(config, path, "something else"))
        assert (difference is None) == is_free(config, path), path
        if data == "digits" and path[0] != "paths":  # other values point into the run's own folder
            hashes = [identity_hash(each) for each in (config, replaced(config, path, "something else"))]
            assert are_alike(*hashes) is (difference is None), path
        if difference is not None:
            assert difference[0] == ".".join(path)
            told.setdefault(path[0], path)
    groups = {"op", "net", "arch", "aug", "data", "task", "optim", "callbacks", "sharing", "trainer"}
    assert {*told} == groups | {"seed", "debug", "train"}


def test_keys_that_are_added_identify(tmp_path: Path) -> None:
    """Those that no yaml of the package has: of the Trainer, of a plugin's data, of a group of its own."""
    config = config_of(tmp_path)
    for key in (
        "trainer.limit_train_batches",
        "trainer.limit_val_batches",
        "data.jitter",
        "net.gates",
        "mine.strength",
    ):
        assert first_difference(config, replaced(config, tuple(key.split(".")), 2)) == (key, None, 2)
        assert first_difference(replaced(config, tuple(key.split(".")), None), config) is None


def test_exceptions_are_keys_that_there_are(tmp_path: Path) -> None:
    """A slip in the list would make no exception."""
    chosen = (("data=cifar10", "logger=wandb"), ("data=image_folder",))
    known = {".".join(path) for overrides in chosen for path in leaves(config_of(tmp_path, *overrides))}
    known |= {f"trainer.{name}" for name in inspect.signature(Trainer).parameters} | {"hydra", "sweep"}
    known |= {f"net.{field.name}" for field in fields(NetSettings)}  # a searched net has keys that others lack
    for key in FREE:
        assert any(each == key or each.startswith(f"{key}.") for each in known), key
    for kind in WATCHERS:
        assert issubclass(get_class(kind), Callback)


def test_a_callback_of_the_users_identifies_unless_it_is_known_only_to_watch(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    for target, free in (
        ("lightning.pytorch.callbacks.LearningRateMonitor", True),
        ("lightning.pytorch.callbacks.ModelCheckpoint", True),
        ("lightning.pytorch.callbacks.EarlyStopping", False),
        ("lightning.pytorch.callbacks.StochasticWeightAveraging", False),
        ("no_such_package.callbacks.norms.LogNorm", False),
        ("tests.commands.test_training._Stop", True),
        ("tests.commands.test_training._Poison", False),
    ):
        theirs = replaced(config, ("callbacks", "mine"), {"_target_": target, "swa_lrs": 0.1})
        assert (first_difference(config, theirs) is None) == free
        assert (first_difference(theirs, config) is None) == free
        assert first_difference(theirs, theirs) is None
    watching = replaced(config, ("callbacks", "ema"), {"_target_": "lightning.pytorch.callbacks.RichProgressBar"})
    averaging = config_of(tmp_path, "callbacks=ema")
    assert first_difference(watching, averaging) is not None


@pytest.mark.parametrize("folder", ["/logs/runs/1", "runs/1", "shift"])
def test_the_runs_own_folder_is_free_wherever_it_stands(folder: str) -> None:
    """A key that leads into it is another in every run. A word that is called as the folder is not the folder."""

    def config(folder: str, **more: Any) -> dict[str, Any]:
        return {"paths": {"output_dir": folder}, "callbacks": {"mine": {"_target_": "a.B", **more}}}

    theirs = config(folder, file=f"{folder}/mine.csv", files=[f"{folder}/a", 1], word="shift")
    ours = config("/elsewhere", file="/elsewhere/mine.csv", files=["/elsewhere/a", 1], word="shift")
    assert first_difference(theirs, ours) is None
    for key, value in (("file", "/elsewhere/other.csv"), ("files", ["/elsewhere/a", 2]), ("word", "/elsewhere")):
        other = replaced(ours, ("callbacks", "mine", key), value)
        found = first_difference(theirs, other)
        assert found is not None and found[0] == f"callbacks.mine.{key}"


def test_the_group_that_others_are_interpolated_from_is_told_first(tmp_path: Path) -> None:
    found = [first_difference(config_of(tmp_path), config_of(tmp_path, o)) for o in ("op=add", "seed=1", "aug=full")]
    assert [difference and difference[0] for difference in found] == ["op.name", "seed", "aug.name"]


def test_a_checkpoint_of_before_operators_had_epochs_goes_on(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    callbacks = {name: node for name, node in config["callbacks"].items() if name != "operators"}
    trainer = {key: value for key, value in config["trainer"].items() if key != "sync_batchnorm"}
    assert first_difference(config | {"callbacks": callbacks, "trainer": trainer}, config) is None


def test_interpolations_may_be_left_as_they_are(tmp_path: Path) -> None:
    """As a search hashes them; what its score depends on besides is asked for by name."""
    written: Any = OmegaConf.to_container(composed(tmp_path, "trainer.max_time=00:01:00:00"), resolve=False)
    assert "trainer.max_time" not in identity(written)
    assert identity(written, ["trainer.max_time"]) == identity(written) | {"trainer.max_time": "00:01:00:00"}
    assert identity(written)["callbacks.sample_subnets.seed"] == "${seed}"


def test_hashes_are_alike_where_configurations_are(tmp_path: Path) -> None:
    """Keys that came later, numbers that are written otherwise, and paths in a run's own folder."""
    ours = config_of(tmp_path / "a", "net.init_from=${paths.output_dir}/x")
    theirs = config_of(tmp_path / "b", "net.init_from=${paths.output_dir}/x", "optim.lr=0.1", "seed=0")
    theirs = replaced(theirs, ("optim", "warmup_epochs"), int(theirs["optim"]["warmup_epochs"]))
    del theirs["optim"]["decay_norms"]
    assert first_difference(theirs, ours) is None and are_alike(identity_hash(theirs), identity_hash(ours))
    assert are_alike("another version:abc", identity_hash(ours)) is None
