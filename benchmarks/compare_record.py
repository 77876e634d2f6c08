"""The callback that records what a run computes, exactly. It serves both checkouts that are compared."""

import ctypes
import gc
import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import compare_adapter
import lightning.pytorch as pl
import torch
from compare_names import STATE, is_left_out, new_name
from measure import memory_kib
from torch import Tensor

SHORT = 16
"""Hexadecimal digits of a digest that are recorded."""


class Stopped(Exception):
    """Ends a run where it was to be stopped."""


def digest(tensor: Tensor) -> str:
    """Digest of shape, dtype and bytes."""
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype} ".encode() + raw).hexdigest()[:SHORT]


def digests(tensors: Mapping[str, Tensor], old: bool) -> dict[str, str]:
    """Digests by name, under the new checkout's names, in the order given."""
    named = ((new_name(STATE, name) if old else name, tensor) for name, tensor in tensors.items())
    return {name: digest(tensor) for name, tensor in named if not is_left_out(STATE, name)}


def combined(parts: Mapping[str, str]) -> str:
    """One digest of all, whatever their order: the order is compared once, by itself."""
    text = "\n".join(f"{name} {part}" for name, part in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT]


def gradient_norm(parameters: Iterable[torch.nn.Parameter]) -> str:
    """Exact digits of the norm of all gradients, whatever the order of the parameters."""
    squares = [p.grad.double().square().sum().item() for p in parameters if p.grad is not None]
    total = math.fsum(squares) if all(map(math.isfinite, squares)) else math.nan
    return f"{math.sqrt(total).hex()} of {len(squares)} gradients"


class Record(pl.Callback):
    """Record start, steps and end of a run into `content`.

    The worker sets the class attributes: what stands in the configuration would stand in checkpoints, too.
    """

    old: ClassVar[bool] = False
    """Whether this is the old checkout."""
    stop: ClassVar[int | None] = None
    """Epoch at whose beginning the run stops; -1: before anything is trained."""
    content: ClassVar[dict[str, Any]] = {}

    @classmethod
    def begin(cls, stop: int | None) -> dict[str, Any]:
        """Return the dictionary that the next run is recorded in."""
        cls.stop, cls.content = stop, {"steps": []}
        return cls.content

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        names = [new_name(STATE, name) if self.old else name for name, _ in pl_module.named_parameters()]
        state = digests(pl_module.state_dict(), self.old)
        self.content["start"] = {
            "parameters": [name for name in names if not is_left_out(STATE, name)],
            "state_order": list(state),
            "state": state,
            "spaces": compare_adapter.spaces(pl_module, self.old),
        }
        if self.stop == -1:
            raise Stopped

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.stop:
            raise Stopped

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self._gradient = gradient_norm(pl_module.parameters())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = {
            "epoch": trainer.current_epoch,
            "loss": outputs["loss"].item().hex(),
            "gradient": getattr(self, "_gradient", None),
            "update": gradient_norm(pl_module.parameters()),  # as clipped, and rescaled by the operators
            "weights": combined(digests(pl_module.state_dict(), self.old)),
        }
        self.content["steps"].append(step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        optimizer = trainer.optimizers[0]
        names = {id(p): new_name(STATE, name) if self.old else name for name, p in pl_module.named_parameters()}
        groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        state = {
            f"{names[id(parameter)]}.{key}": digest(value)
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
        self.content["end"] = {
            "state": digests(pl_module.state_dict(), self.old),
            "optimiser_order": groups,
            "optimiser": state,
        }


class PeakMemory(pl.Callback):
    """Record the peak of each step: KiB of anonymous memory above what was held before."""

    training: ClassVar[list[int]] = []
    evaluation: ClassVar[list[int]] = []

    def _begin(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would hide what is needed now
        self._before = memory_kib("RssAnon")
        Path("/proc/self/clear_refs").write_text("5")

    def _peak(self) -> int:
        peak = memory_kib("VmHWM") - memory_kib("RssFile") - memory_kib("RssShmem")
        return max(0, peak - self._before)

    def on_train_batch_start(self, *arguments: Any) -> None:
        self._begin()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.training.append(self._peak())

    def on_validation_batch_start(self, *arguments: Any) -> None:
        self._begin()

    def on_validation_batch_end(self, *arguments: Any) -> None:
        self.evaluation.append(self._peak())
