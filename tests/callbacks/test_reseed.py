"""Draws of an epoch that depend on seed, epoch and rank, and on nothing else."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shiftaddaug.callbacks.reseed import ReseedEachEpoch

Draws = dict[str, tuple[float, ...]]


def draws(seed: int = 0, epoch: int = 0, rank: int = 0) -> Draws:
    """What each generator draws in the epoch."""
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    ReseedEachEpoch(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    return {
        "random": tuple(random.random() for _ in range(4)),
        "numpy": tuple(np.random.rand(4)),  # noqa: NPY002 (the legacy generator is the one that is seeded)
        "torch": tuple(torch.rand(4).tolist()),
    }


def test_are_the_same_whatever_was_drawn_before() -> None:
    wanted = draws(1, 2, 3)
    draws(4, 5, 6)
    random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    assert draws(1, 2, 3) == wanted


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["seed", "epoch", "rank"])
@pytest.mark.parametrize("generator", ["random", "numpy", "torch"])
def test_differ_with_seed_epoch_and_rank(other: tuple[int, int, int], generator: str) -> None:
    assert draws(*other)[generator] != draws(0, 0, 0)[generator]


def test_seed_epoch_and_rank_do_not_stand_in_for_each_other() -> None:
    cases = [(seed, epoch, rank) for seed in (0, 1, 2, 12) for epoch in (0, 1, 2, 12) for rank in (0, 1, 2, 12)]
    assert len({draws(*case)["torch"] for case in cases}) == len(cases)
