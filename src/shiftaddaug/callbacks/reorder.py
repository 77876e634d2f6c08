"""Reorder between epochs: the most important channels move into the target's slots."""

from collections.abc import Iterator
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.nets.reorder import apply, crossed, permutations, refuse_tensors_that_stay
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.settings import PositiveInt, Share, checked


class ReorderChannels(pl.Callback):
    """Sort channels by l1 importance (`nets/reorder.py`), with optimiser state and moving averages.

    A function of the weights and the epoch, without state of its own. Logs `reorder/crossed`, the number of channels
    that entered the target, and `reorder/crossed_share`, of the target's channels in the reordered spaces.

    NOTE: ShiftAddAug reorders at the end of an epoch, NetAug at the start of the next; so does this. An epoch's
    validation and checkpoints then belong to the weights it ended with, and a resumed run reorders as it goes on.

    Args:
        every_n_epochs: reorder after so many epochs, positive.
        until: share of the epochs, in [0, 1], after which the channels stay where they are.
        spaces: whose channels are sorted: `all` widened ones, or those of `hidden` layers of blocks alone, as in
            NetAug's code.
        width_until, expand_until: as of `SampleSubnets`. Channels that no augmented pass has trained in the epoch
            that ended are not sorted: once width augmentation has stopped, its channels are out of date.

    Raises:
        UserError: an argument outside its range.
    """

    stage = Stage.REORDER

    @checked("callbacks.reorder")
    def __init__(
        self,
        every_n_epochs: PositiveInt = 1,
        until: Share = 1.0,
        spaces: Literal["all", "hidden"] = "all",
        width_until: Share = 1.0,
        expand_until: Share = 1.0,
    ) -> None:
        self.every_n_epochs, self.until, self.spaces = every_n_epochs, until, spaces
        self.width_until, self.expand_until = width_until, expand_until

    def sorted_channels(self, widening: Widening, epoch: int, max_epochs: int) -> tuple[int, ...] | None:
        """Channels to sort before `epoch`, by space: the widest of the epoch that ended; None: no
        reorder is due."""
        progress = (epoch - 1) / max(1, max_epochs)
        if epoch == 0 or epoch % self.every_n_epochs or progress >= self.until:
            return None
        channels = widening.widest(progress < self.width_until, progress < self.expand_until)
        if self.spaces == "all":
            return channels
        return tuple(
            count if space.kind == "hidden" else space.channels
            for space, count in zip(widening.spaces, channels, strict=True)
        )

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say why no channel is ever sorted: nothing is widened, or no reorder is due."""
        widening, epochs = pl_module.net.widening, trainer.max_epochs or 1
        target = tuple(space.channels for space in widening.spaces)
        if widening.max_channels() == target:
            return "nothing is widened"
        if epochs == 1:
            return "channels are sorted between epochs and trainer.max_epochs=1"
        sorted_ones = {self.sorted_channels(widening, epoch, epochs) for epoch in range(1, epochs)}
        return None if sorted_ones - {None, target} else f"no reorder is due in {epochs} epochs"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look whether all that is to move can be moved.

        Raises:
            UserError: an operator has tensors of which nobody knows how.
        """
        refuse_tensors_that_stay(pl_module.net)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        net: Supernet = pl_module.net
        channels = self.sorted_channels(net.widening, trainer.current_epoch, trainer.max_epochs or 1)
        if channels is None:
            return
        # all ranks hold the same weights, but sums may round otherwise on another device
        orders = trainer.strategy.broadcast(permutations(net, channels))
        if not orders:
            return
        apply(orders, net, trainer.optimizers, averaged_supernets(trainer))
        entered, target = crossed(net, orders)
        pl_module.log("reorder/crossed", float(entered), on_step=False, on_epoch=True, sync_dist=True)
        pl_module.log("reorder/crossed_share", entered / target, on_step=False, on_epoch=True, sync_dist=True)


def averaged_supernets(trainer: pl.Trainer) -> Iterator[Supernet]:
    """The supernets of averaged weights; Lightning's callback has no public name for its model."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            task: Any = callback._average_model.module
            yield task.net
