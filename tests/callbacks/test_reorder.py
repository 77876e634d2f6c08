"""The reorder between epochs, in real training: when it happens, what it moves, and that resuming repeats it."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.build import plan_of
from tests.callbacks.training import EPOCHS, TABLE, fit, make_task
from tests.tasks.little import quiet_trainer
from torch import Tensor

from shiftaddaug.callbacks.ema import WarmedUpEMA
from shiftaddaug.callbacks.reorder import ReorderChannels
from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.reorder import importance, permutations
from shiftaddaug.nets.spec import Widening


class _Watch(pl.Callback):
    """What a run looks like when each epoch begins, after the callbacks before this one."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.logged: list[dict[str, float]] = []
        self.sorted: list[bool] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        net = pl_module.net
        self.weights.append({name: value.clone() for name, value in net.state_dict().items()})
        spaces = permutations(net)
        self.sorted.append(all(importance(net, space).diff().le(0).all() for space in spaces))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.logged.append({name: value for name, value in metrics.items() if name.startswith("reorder/")})


def test_every_epoch_but_the_first_begins_in_order(tmp_path: Path) -> None:
    watch = _Watch()
    fit(tmp_path, make_task(), ReorderChannels(), watch)
    assert watch.sorted == [False, True, True, True]
    assert watch.logged[0] == {}
    counts = [logged["reorder/crossed"] for logged in watch.logged[1:]]
    assert all(count == round(count) >= 0 for count in counts)
    target = 4 + 8 + 4 + 8 + 8  # stem, hidden, stream, hidden, head
    assert [logged["reorder/crossed_share"] for logged in watch.logged[1:]] == pytest.approx(
        [c / target for c in counts]
    )


def test_the_weights_validated_and_saved_are_those_the_epoch_ended_with(tmp_path: Path) -> None:
    """The next epoch begins with the saved ones, reordered."""
    watch = _Watch()
    fit(tmp_path, make_task(), ReorderChannels(), watch)
    for epoch in range(EPOCHS - 1):
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["state_dict"]
        begun = watch.weights[epoch + 1]
        assert any(not torch.equal(saved[f"net.{name}"], value) for name, value in begun.items())
        for name, value in begun.items():
            old = saved[f"net.{name}"]
            assert torch.equal(value.flatten().sort().values, old.flatten().sort().values), name


@pytest.mark.parametrize(("epoch", "average"), [(0, True), (1, False), (EPOCHS - 2, True)])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, epoch: int, average: bool) -> None:
    def callbacks() -> list[pl.Callback]:
        return [WarmedUpEMA(0.9), ReorderChannels()] if average else [ReorderChannels()]

    fit(tmp_path / "whole", make_task(), *callbacks())
    resume = tmp_path / "whole" / f"epoch={epoch}.ckpt"
    fit(tmp_path / "resumed", make_task(), *callbacks(), resume=resume)
    whole, resumed = (
        torch.load(tmp_path / run / f"epoch={EPOCHS - 1}.ckpt", weights_only=True) for run in ("whole", "resumed")
    )
    for part in ("state_dict", *(["current_model_state"] if average else [])):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(value, whole[part][name]) for name, value in resumed[part].items())
    states = [run["optimizer_states"][0]["state"] for run in (whole, resumed)]
    assert all(torch.equal(states[0][i]["momentum_buffer"], value["momentum_buffer"]) for i, value in states[1].items())


class _Compare(pl.Callback):
    """Reorder, and see that momentum and averages are where their weights are, by marking all three alike."""

    def __init__(self, average: WarmedUpEMA) -> None:
        self.average, self.compared = average, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            return
        assert self.average._average_model is not None
        task: Any = self.average._average_model.module
        state = trainer.optimizers[0].state
        averaged = dict(task.net.named_parameters())
        for name, parameter in pl_module.net.named_parameters():
            state[parameter]["momentum_buffer"].copy_(parameter.data)
            averaged[name].data.copy_(parameter.data)
        before = {name: value.clone() for name, value in pl_module.net.state_dict().items()}
        ReorderChannels().on_train_epoch_start(trainer, pl_module)
        for name, parameter in pl_module.net.named_parameters():
            assert torch.equal(state[parameter]["momentum_buffer"], parameter.data), name
            assert torch.equal(averaged[name].data, parameter.data), name
            self.compared += not torch.equal(parameter.data, before[name])


def test_momentum_and_moving_average_follow_their_weights(tmp_path: Path) -> None:
    average = WarmedUpEMA(0.9)
    compare = _Compare(average)
    fit(tmp_path, make_task(), average, compare)
    assert compare.compared > 10


def test_nothing_widened_nothing_happens(tmp_path: Path) -> None:
    watch, plain = _Watch(), _Watch()
    fit(tmp_path / "with", make_task(width=1.0, expand=1.0), ReorderChannels(), watch)
    fit(tmp_path / "without", make_task(width=1.0, expand=1.0), plain)
    assert watch.logged == [{}] * EPOCHS
    for ours, theirs in zip(watch.weights, plain.weights, strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


class TestWhen:
    @pytest.fixture
    def widening(self) -> Widening:
        return Widening(plan_of(TABLE), (1.0, 2.0), (1.0, 3.0), divisor=2)

    @staticmethod
    def widened(plan: Plan, width: float, expand: float) -> tuple[int, ...]:
        factor = {"fixed": 1.0, "width": width, "hidden": width * expand}
        return tuple(int(space.channels * factor[space.kind]) for space in plan.spaces)

    def epochs(self, callback: ReorderChannels, widening: Widening, epochs: int = 8) -> list[tuple[int, ...] | None]:
        return [callback.sorted_channels(widening, epoch, epochs) for epoch in range(epochs)]

    def test_every_few_epochs(self, widening: Widening) -> None:
        found = self.epochs(ReorderChannels(every_n_epochs=3), widening)
        assert [epoch for epoch, channels in enumerate(found) if channels] == [3, 6]

    def test_until_the_share_of_epochs_that_ended(self, widening: Widening) -> None:
        """Epochs 0 to 3 are the first half: the fourth begins with a reorder, those after it do not."""
        found = self.epochs(ReorderChannels(until=0.5), widening)
        assert [epoch for epoch, channels in enumerate(found) if channels] == [1, 2, 3, 4]

    def test_channels_no_longer_trained_are_no_longer_sorted(self, widening: Widening) -> None:
        found = self.epochs(ReorderChannels(width_until=0.25, expand_until=0.75), widening)
        plan = widening.plan
        both, hidden, none = (self.widened(plan, *factors) for factors in ((2, 3), (1, 3), (1, 1)))
        assert found == [None, both, both, hidden, hidden, hidden, hidden, none]

    def test_hidden_channels_alone(self, widening: Widening) -> None:
        found = self.epochs(ReorderChannels(spaces="hidden", width_until=0.25), widening)
        targets = tuple(space.channels for space in widening.plan.spaces)
        for channels, factor in ((found[1], 6), (found[4], 3)):
            wanted = [
                n * factor if space.kind == "hidden" else n for n, space in zip(targets, widening.spaces, strict=True)
            ]
            assert channels == tuple(wanted) != targets

    def test_mistakes(self) -> None:
        with pytest.raises(UserError, match=r"^callbacks\.reorder\.spaces='?gates'?: .*all, hidden"):
            ReorderChannels(spaces="gates")
        with pytest.raises(UserError, match=r"^callbacks\.reorder\.every_n_epochs=0: must be a whole number >= 1"):
            ReorderChannels(every_n_epochs=0)
        with pytest.raises(UserError, match=r"^callbacks\.reorder\.until=1\.1: must be a number >= 0 and <= 1"):
            ReorderChannels(until=1.1)


@pytest.mark.parametrize(
    ("callback", "width", "expand", "epochs", "reason"),
    [
        (ReorderChannels(), 2.0, 1.0, 2, None),
        (ReorderChannels(), 1.0, 3.0, 2, None),
        (ReorderChannels(), 1.0, 1.0, 2, "nothing is widened"),
        (ReorderChannels(), 2.0, 3.0, 1, "channels are sorted between epochs and trainer.max_epochs=1"),
        (ReorderChannels(every_n_epochs=4), 2.0, 3.0, 4, "no reorder is due in 4 epochs"),
        (ReorderChannels(every_n_epochs=4), 2.0, 3.0, 5, None),
        (ReorderChannels(until=0.0), 2.0, 3.0, 4, "no reorder is due in 4 epochs"),
        (ReorderChannels(width_until=0.0), 2.0, 1.0, 4, "no reorder is due in 4 epochs"),
    ],
)
def test_it_is_idle_where_nothing_is_sorted(
    callback: ReorderChannels, width: float, expand: float, epochs: int, reason: str | None
) -> None:
    assert callback.idle(quiet_trainer(max_epochs=epochs), make_task(width=width, expand=expand)) == reason
