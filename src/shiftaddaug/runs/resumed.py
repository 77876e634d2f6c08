"""Whether a checkpoint holds all that a run goes on from: what is not in it would be trained from scratch, unseen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.settings import Count, check

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from shiftaddaug.tasks.training import Training

HELD = {
    "epoch": Count,
    "global_step": Count,
    "pytorch-lightning_version": str,
    "optimizer_states": list[Any],
    "lr_schedulers": list[Any],
    "callbacks": dict[str, Any],
    "loops": dict[str, Any],
}
"""Entries of a checkpoint that a run goes on from, and their types; beside `config` and `state_dict`."""

FIT = ("loops", "fit_loop")
COUNTED = {
    "epoch": (*FIT, "epoch_progress", "current", "completed"),
    "global_step": (
        *(*FIT, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step"),
        *("total", "completed"),
    ),
}
"""Entries, and where Lightning counts the same."""

BEST = "BestCheckpoint"
"""What the key begins with under which the best epoch's callback has its state."""


def refuse_incomplete(path: Path, content: Mapping[str, Any], best: bool) -> None:
    """Refuse a checkpoint that lacks something, or contradicts itself, as far as that shows without torch.

    Args:
        path: of the checkpoint.
        content: with or without its tensors.
        best: whether the run keeps the epoch that was best on validation.

    Raises:
        UserError: naming the file, and what is missing in it.
    """
    for name, annotation in HELD.items():
        if name not in content:
            weights = "optimizer_states" not in content and "callbacks" in content
            remedy = "; it holds weights alone (save_weights_only); options: last.ckpt of its run" if weights else ""
            raise UserError(f"ckpt_path={path}: cannot be resumed: has no {name}{remedy}")
        try:
            check(name, content[name] if annotation in (Count, str) else _plain(content[name]), annotation)
        except UserError as error:
            raise UserError(f"ckpt_path={path}: cannot be resumed: {error}") from None
    for name in ("optimizer_states", "lr_schedulers"):
        if len(content[name]) != 1:
            raise UserError(f"ckpt_path={path}: cannot be resumed: has {len(content[name])} {name}; a run has one")
    if best and not any(str(key).startswith(BEST) for key in content["callbacks"]):
        raise UserError(
            f"ckpt_path={path}: cannot be resumed: callbacks has no {BEST}, so that the best epoch is unknown"
        )
    for name, place in COUNTED.items():
        counted = _at(content, place)
        if counted != content[name]:
            said = "is missing" if counted is None else f"is {counted}"
            raise UserError(
                f"ckpt_path={path}: cannot be resumed: {name} is {content[name]}, and {'.'.join(place)} {said}"
            )


def _plain(value: Any) -> Any:
    """The container itself, with what is in it left out."""
    return [] if isinstance(value, list) else {} if isinstance(value, dict) else value


def _at(content: Any, place: Sequence[str]) -> Any:
    for name in place:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def refuse_unlike(path: Path, checkpoint: Mapping[str, Any], task: "Training", trains: bool = True) -> None:
    """Refuse weights, and an optimiser's state, that are not those of a network.

    Args:
        path: of the checkpoint.
        checkpoint: with its tensors.
        task: that is to go on from it; it stays as it is.
        trains: whether it is trained further; else the optimiser's state does not matter.

    Raises:
        UserError: naming the file, and the first tensor that is missing, unknown, of another shape, or no number.
    """
    mistake = next(_mistakes(checkpoint["state_dict"], task.state_dict()), None)
    if mistake is not None:
        raise UserError(f"ckpt_path={path}: cannot be {'resumed' if trains else 'deployed'}: {mistake}")
    if not trains:
        return
    try:
        mistake = _optimizer_mistake(checkpoint["optimizer_states"][0], task)
    except DAMAGE as error:
        mistake = f"optimizer_states is not of this run's optimiser ({reason_of(error)})"
    if mistake is not None:
        raise UserError(f"ckpt_path={path}: cannot be resumed: {mistake}")


def _mistakes(found: Any, wanted: Mapping[str, "Tensor"]) -> Iterator[str]:
    if not isinstance(found, Mapping):
        yield f"state_dict is a {type(found).__name__}"
        return
    for name in wanted.keys() - found.keys():
        yield f"state_dict has no {name}"
    for name in found.keys() - wanted.keys():
        yield f"state_dict has {name}, which this network does not have"
    for name, tensor in wanted.items():
        shape = tuple(getattr(found[name], "shape", ()))
        if not hasattr(found[name], "isfinite"):
            yield f"{name} in state_dict is a {type(found[name]).__name__}, no tensor"
        elif shape != tuple(tensor.shape):
            yield f"{name} in state_dict has the shape {shape}, and this network's has {tuple(tensor.shape)}"
        elif not found[name].isfinite().all():
            yield f"{name} in state_dict holds values that are no numbers"


def _optimizer_mistake(saved: Any, task: "Training") -> str | None:
    """Say what is wrong with the saved state of an optimiser; one that cannot be read raises one of `DAMAGE`."""
    optimizer = task.new_optimizer()
    wanted = [set(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, keys in zip(saved["param_groups"], wanted, strict=True):
        if keys - group.keys():
            return f"optimizer_states has no {min(keys - group.keys())}"
    if not type(optimizer).__module__.startswith("torch.optim."):
        return None  # others may keep what they like
    names = {parameter: name for name, parameter in task.net.named_parameters()}
    for parameter, state in optimizer.state.items():
        name = names[cast("Parameter", parameter)]
        for key, value in state.items():
            shape = tuple(getattr(value, "shape", ()))
            if shape and not _fits(shape, tuple(parameter.shape)):
                shapes = f"the shape {shape}, and the weight has {tuple(parameter.shape)}"
                return f"{key} of {name} in optimizer_states has {shapes}"
    return None


def _fits(kept: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether what one of torch's optimisers keeps can be of a weight: Adafactor keeps one row or column."""
    return len(kept) == len(weight) and all(ours in (1, theirs) for ours, theirs in zip(kept, weight, strict=True))
