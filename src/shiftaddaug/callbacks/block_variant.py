"""Block-variant training: the target's layers multiply at first, and turn multiplication-free one by one."""

import logging
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.callbacks.training_share import Progress, refuse_other_settings
from shiftaddaug.errors import UserError
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.timetable import Conversion
from shiftaddaug.settings import Granularity, Order, Share

log = logging.getLogger(__name__)


class BlockVariant(pl.Callback):
    """Set which layers of the target multiply (ShiftAddAug, arXiv 2407.02881).

    Only layers whose operator is multiplication-free take part; they train the same weight before and after. Which of
    them have turned is a function of the share of training, and all have by `end`. It sets `multiplied` and
    `blends` of the task's `target_spec` and nothing else of it; augmented sub-networks follow
    (`SubnetSpec.around`).

    They turn from the first epoch, in which all multiply, to `end`, or to the last epoch, in which none does.

    NOTE: without `blend` layers turn between epochs; with it the share moves at every step. Validation, and so the
    choice of the best checkpoint, judges the final target, in which all layers have turned: before `end` it says
    little of what is trained, and running statistics are those of layers that multiply (`bn=recalibrated` measures
    the target's own).

    Args:
        start, end: share of training in [0, 1] in which layers turn, in equal slots.
        order: shallow_to_deep or deep_to_shallow.
        granularity: layer, or block: all layers of a block at once.
        blend: mix both results over a layer's slot, the operator's share rising linearly from 0 to 1; costs both.

    Raises:
        UserError: an argument outside its range.
    """

    stage = Stage.TARGET
    warn_when_idle = True

    def __init__(
        self,
        start: Share = 0.0,
        end: Share = 0.5,
        order: Order = "shallow_to_deep",
        granularity: Granularity = "layer",
        blend: bool = False,
    ) -> None:
        self.conversion = Conversion(start, end, order, granularity, blend)
        self._progress = Progress()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look whether every layer that is to turn can multiply first.

        Raises:
            UserError: an operator without a weight that could be multiplied by.
        """
        for layer in _turning_layers(pl_module.net):
            if not layer.operator.turns:
                raise UserError(
                    f"callbacks.block_variant: op={layer.operator.name} trains no weight that a layer could multiply "
                    f"by first; options: no callbacks.block_variant, or another op"
                )

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say why no layer turns: there is none, or no time."""
        if not _turning_layers(pl_module.net):
            return "no layer is multiplication-free"
        if not self.conversion.blend and (trainer.max_epochs or 1) == 1:
            return "layers turn between epochs and trainer.max_epochs=1"
        return None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Turn layers, with `blend` too: other callbacks ask now which layers multiply, in a resumed run too."""
        self._set(pl_module, self._progress.share(trainer, self.conversion.blend))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.conversion.blend:
            self._set(pl_module, self._progress.share(trainer, steps=True))

    def _set(self, pl_module: Any, share: float) -> None:
        net: Supernet = pl_module.net
        exempt = [name for name, layer in _target_layers(net).items() if not layer.operator.multiplication_free]
        multiplied, blends = self.conversion.schedule(net.plan, exempt, share)
        followers = _followers(net)
        multiplied |= {extra for extra, model in followers.items() if model in multiplied}
        shares = dict(blends)
        blends += tuple((extra, shares[model]) for extra, model in followers.items() if model in shares)
        target = pl_module.target_spec
        pl_module.target_spec = replace(target, multiplied=multiplied, blends=blends)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Say which layers have not turned, where training was cut short: they are deployed as they never trained."""
        spec = pl_module.target_spec
        unfinished = spec.multiplied | {name for name, _ in spec.blends}
        late = [name for name in _target_layers(pl_module.net) if name in unfinished]
        if late:
            log.warning(
                "training ended before callbacks.block_variant.end=%s: the deployed net computes these layers "
                "multiplication-free, and training did not: %s",
                self.conversion.end,
                ", ".join(late),
            )

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.conversion) | {"over": self._progress.over}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check the settings, and note whether all have turned: where training is says the rest.

        Raises:
            UserError: the checkpoint was trained with other settings.
        """
        refuse_other_settings("block_variant", asdict(self.conversion), state_dict)
        self._progress.over = bool(state_dict.get("over"))


def _followers(net: Supernet) -> dict[str, str]:
    """Layers of extra blocks that turn, as they are multiplication-free at all, by the layer that they turn with: the
    one of the block that theirs is built as."""
    models = {extra.name: extra.model for extra in net.widening.extra_blocks}
    return {
        name: model + name.removeprefix(block)
        for name, layer in net.hybrid_layers().items()
        for block, model in models.items()
        if name.startswith(f"{block}.") and layer.operator.multiplication_free
    }


def _target_layers(net: Supernet) -> dict[str, Any]:
    """The plan's layers by name, in forward order; extra blocks' are not among them."""
    layers = net.hybrid_layers()
    return {layer.name: layers[layer.name] for layer in net.plan.layers()}


def _turning_layers(net: Supernet) -> list[Any]:
    return [layer for layer in _target_layers(net).values() if layer.operator.multiplication_free]
