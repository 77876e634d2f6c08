"""What the `callbacks` group may say. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.settings import check, shown

BEST = "best_checkpoint"
"""The callback whose file is deployed."""


def check_callbacks(callbacks: Any, measured: Mapping[str, str], validated: bool = True) -> None:
    """Refuse what is no callback, what one does not take, and a monitor that nobody measures.

    Args:
        callbacks: the group, as plain containers; a name without content is a callback that is off.
        measured: figures that are measured on the validation split, and which way each is better, max or min.
        validated: whether there are images to validate on; without any, the best checkpoint has nothing to do.

    Raises:
        UserError: the first mistake, by key.
    """
    check("callbacks", callbacks, dict[str, Any] | None)
    check_node("callbacks", callbacks or {})
    for name, callback in (callbacks or {}).items():
        if callback and (not isinstance(callback, Mapping) or "_target_" not in callback):
            raise UserError(f"callbacks.{name}={shown(callback)}: must name a callback by `_target_`, or be null")
        if callback:
            better = {f"val/{figure}": way for figure, way in measured.items()}
            _check_monitor(name, callback.get("monitor"), list(better), validated)
            _check_mode(name, callback, better)


def _check_monitor(name: str, monitor: Any, options: Sequence[str], validated: bool) -> None:
    """Refuse to watch what nobody measures; what is no figure of validation may be a logged quantity."""
    if isinstance(monitor, str) and monitor not in options and (monitor.startswith("val/") or name == BEST):
        raise UserError(f"callbacks.{name}.monitor={monitor}: is not measured; options: {', '.join(options)}")
    if isinstance(monitor, str) and monitor in options and not validated and name != BEST:
        raise UserError(f"callbacks.{name}.monitor={monitor}: nothing is validated with data.val_fraction=0")


def _check_mode(name: str, callback: Mapping[str, Any], better: Mapping[str, str]) -> None:
    """Refuse to take the worst for the best; Lightning's own callbacks look for the least unless told otherwise."""
    monitor, lightnings = callback.get("monitor"), str(callback["_target_"]).startswith(("lightning.", "pytorch_l"))
    mode = callback.get("mode", "max" if name == BEST else "min" if lightnings else None)
    wanted = better.get(monitor) if isinstance(monitor, str) else None
    if mode in ("max", "min") and wanted is not None and mode != wanted:
        said = f"callbacks.{name}.mode={mode}" if "mode" in callback else f"callbacks.{name}.mode: is {mode} by default"
        raise UserError(f"{said}, and {monitor} is better the other way; options: {wanted}")
