"""What identifies a run: everything but a short list of exceptions. Imports no torch.

A run resumes only its own checkpoint, a study tabulates only runs of its rows, a search compares only its own trials.
Each asks here whether two configurations train alike. A key that is not named here identifies, a plugin's, too.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from shiftaddaug.runs import earlier
from shiftaddaug.runs.absolute import PATHS, whole_path
from shiftaddaug.runs.earlier import as_of_today
from shiftaddaug.signatures import class_constant

FREE = {
    "ckpt_path": "what is resumed",
    "resume": "what is resumed, or not repeated",
    "plugins": "where code is found; what is used of it is named by other keys",
    "test": "whether the test set is looked at in the end",
    "tags": "what a run is found by",
    "print_config": "what is shown",
    "hydra": "how the command is run",
    "sweep": "how it is searched",
    "paths": "where files lie",
    "logger": "who is told",
    "hardware": "what costs are told of",
    "net.path": "where the net was read from; what was in it is told by other keys",
    "net.searched_at": "what its costs were of",
    "data.data_dir": "where images lie",
    "data.download": "how they get there",
    "data.verify": "whether their files are checked",
    "data.num_workers": "who reads them",
    "task.compile": "how a step is computed",
    "trainer.accelerator": "where it is computed",
    "trainer.devices": "where; another number is warned of",
    "trainer.num_nodes": "where",
    "trainer.strategy": "how devices share the work",
    "trainer.benchmark": "which kernels compute it",
    "trainer.deterministic": "which kernels compute it",
    "trainer.inference_mode": "how validation is computed",
    "trainer.detect_anomaly": "whether it is watched",
    "trainer.profiler": "whether time is taken",
    "trainer.max_time": "when this part of the run stops; a resumed one goes on",
    "trainer.num_sanity_val_steps": "a trial of the validation",
    "trainer.default_root_dir": "where files lie",
    "trainer.enable_model_summary": "what is shown",
    "trainer.enable_progress_bar": "what is shown",
    "trainer.log_every_n_steps": "how often loggers are told",
}
"""Keys, each with all that is below it, that may differ, and what they say instead of what is trained."""

WATCHERS = {
    "lightning.pytorch.callbacks.DeviceStatsMonitor": "measures",
    "lightning.pytorch.callbacks.LearningRateMonitor": "measures",
    "lightning.pytorch.callbacks.ThroughputMonitor": "measures",
    "lightning.pytorch.callbacks.ModelCheckpoint": "saves",
    "lightning.pytorch.callbacks.OnExceptionCheckpoint": "saves",
    "lightning.pytorch.callbacks.ModelSummary": "shows",
    "lightning.pytorch.callbacks.RichModelSummary": "shows",
    "lightning.pytorch.callbacks.RichProgressBar": "shows",
    "lightning.pytorch.callbacks.TQDMProgressBar": "shows",
    "lightning.pytorch.callbacks.Timer": "stops, as trainer.max_time",
}
"""Lightning's callbacks (`_target_`) that change nothing of what is trained, and what they do.

Others state `only_watches = True` in their class, or are taken for what changes it."""

ADDED = {
    "train": True,
    "trainer.sync_batchnorm": False,
    "net.classifier_norm": False,
    "net.freeze_encoder": False,
    "optim.decay_norms": False,
    "optim.encoder_lr_mult": 1.0,
    "data.min_epoch_batches": 0,
    "data.crop_area": 0.08,
    "data.test_fraction": 0.2,
    "callbacks.operators._target_": "shiftaddaug.callbacks.operator_epochs.UpdateOperators",
}
"""Keys that older checkpoints lack, and what those did."""

IDENTITY = "identity"
"""Key of run.json: the hash of what identifies the run. Reading hundreds of yamls instead takes half a minute."""

FIRST = ("seed", "op", "net", "arch", "data", "aug", "sharing", "task", "optim", "trainer")
"""Groups in the order in which a difference is told: values of one are often interpolated into others."""


def first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first key on which two configurations train differently, and both values; None if there is none.

    Args:
        theirs, ours: as plain containers, interpolations resolved.
    """
    return next(differences(theirs, ours), None)


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key on which two configurations train differently, and both values, as `first_difference` does."""
    values = [identity(config) for config in (theirs, ours)]
    for key in sorted(values[0] | values[1], key=_place):
        was, is_now = (ADDED.get(key) if found.get(key) is None else found[key] for found in values)
        same = was == is_now or _in_its_run(was, theirs) == _in_its_run(is_now, ours)
        if not same and not _are_one_path(key, was, is_now):
            yield key, was, is_now


def identity(config: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
    """Return the values of a configuration that identify its run, by dotted key.

    Args:
        config: as plain containers.
        also: keys of `FREE` that count here.
    """
    leaves = _leaves("", as_of_today(config))
    free = FREE.keys() - set(also)
    return {key: value for key, value in leaves.items() if not _starts(key, free)}


def identity_hash(config: Mapping[str, Any]) -> str:
    """Return a hash that two configurations share if they train alike, behind one of the rules that say so.

    Hashes of other rules, such as those of an earlier version, cannot be compared.

    Args:
        config: as plain containers, interpolations resolved.
    """
    values = {key: value for key, value in identity(config).items() if value is not None and value != ADDED.get(key)}
    content = {key: _comparable(_in_its_run(value, config)) for key, value in values.items()}
    return f"{_rules()}:{_hash(json.dumps(content, sort_keys=True, default=str).encode())}"


def are_alike(theirs: str, ours: str) -> bool | None:
    """Whether configurations train alike, by their hashes; None if these cannot be compared."""
    return theirs == ours if theirs.partition(":")[0] == ours.partition(":")[0] else None


@lru_cache(maxsize=1)
def _rules() -> str:
    return _hash(b"".join(Path(module).read_bytes() for module in (__file__, earlier.__file__)))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _comparable(value: Any) -> Any:
    """Return a value so that equal ones are written alike: 1, 1.0 and true."""
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    return float(value) if isinstance(value, int | float) else value


def _leaves(name: str, node: Any) -> dict[str, Any]:
    """Values by dotted key; a list is a value. Callbacks that only watch have none."""
    if not isinstance(node, Mapping):
        return {name: node}
    if name.startswith("callbacks.") and only_watches(node.get("_target_")):
        return {}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= _leaves(f"{name}.{key}" if name else str(key), value)
    return leaves


def only_watches(target: Any) -> bool:
    """Whether a callback, by its `_target_`, changes nothing of what is trained."""
    return isinstance(target, str) and (target in WATCHERS or class_constant(target, "only_watches") is True)


def _starts(key: str, free: Iterable[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in free)


def _place(key: str) -> int:
    group = key.split(".")[0]
    return FIRST.index(group) if group in FIRST else len(FIRST)


def _in_its_run(value: Any, config: Mapping[str, Any]) -> Any:
    """Return a value with the run's own folder taken out of it: every run has another."""
    if isinstance(value, list | tuple):
        return [_in_its_run(each, config) for each in value]
    paths = config.get("paths")
    folder = paths.get("output_dir") if isinstance(paths, Mapping) else None
    if not isinstance(value, str) or not isinstance(folder, str):
        return value
    inside = value == folder if "/" in folder else False
    return f"<run>{value[len(folder) :]}" if inside or value.startswith(f"{folder}/") else value


def _are_one_path(key: str, was: Any, is_now: Any) -> bool:
    """Whether values of a key are one path; runs of earlier versions have recorded it as it was typed."""
    return key in PATHS and isinstance(was, str) and isinstance(is_now, str) and whole_path(was) == whole_path(is_now)
