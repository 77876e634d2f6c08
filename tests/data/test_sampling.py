"""Splits are exact and fixed; samplers show every image once, in an order that (seed, epoch) decides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from shiftaddaug.data.sampling import DrawSampler, ShardSampler, equal_batches, random_split, stratified_split
from shiftaddaug.errors import UserError


def dataset_of(length: int) -> TensorDataset:
    return TensorDataset(torch.arange(length))


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(lambda c: max(c) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_a_split_is_exact(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    kept, held_out = stratified_split(labels, fraction, seed)
    assert torch.cat([kept, held_out]).sort().values.equal(torch.arange(len(labels)))
    assert kept.equal(kept.sort().values)
    assert held_out.equal(held_out.sort().values)
    for label, count in enumerate(counts):
        expected = min(max(round(count * fraction), 1), max(count - 1, 0))
        assert abs(int((labels[held_out] == label).sum()) - expected) <= (count * fraction % 1 == 0.5)


def test_a_split_is_even_over_classes() -> None:
    labels = torch.arange(1000) % 10
    _, held_out = stratified_split(labels, 0.1, 0)
    assert torch.bincount(labels[held_out]).tolist() == [10] * 10


def test_a_split_follows_its_seed_alone() -> None:
    labels = torch.arange(200) % 5
    torch.manual_seed(0)
    first = stratified_split(labels, 0.2, 7)
    torch.manual_seed(1)
    assert all(a.equal(b) for a, b in zip(first, stratified_split(labels, 0.2, 7), strict=True))
    assert not first[1].equal(stratified_split(labels, 0.2, 8)[1])


def test_nothing_is_held_out_of_a_split_by_0() -> None:
    kept, held_out = stratified_split(torch.arange(7) % 3, 0, 0)
    assert kept.tolist() == [0, 1, 2, 3, 4, 5, 6] and held_out.dtype == torch.int64 and len(held_out) == 0


def test_nothing_to_split_is_an_error() -> None:
    with pytest.raises(UserError, match=r"data\.val_fraction=0\.1: .*two images"):
        stratified_split(torch.arange(5), 0.1, 0)


@pytest.mark.parametrize(("length", "replicas"), [(10, 1), (10, 3), (2, 4)])
def test_shards_cover_everything_once(length: int, replicas: int) -> None:
    shards = [ShardSampler(dataset_of(length), replicas, rank) for rank in range(replicas)]
    assert sorted(index for shard in shards for index in shard) == list(range(length))
    assert all(list(shard) == sorted(shard) and len(shard) == len(list(shard)) for shard in shards)


def draws_of(seed: int, epoch: int, replicas: int = 1) -> list[tuple[int, int]]:
    samplers = [DrawSampler(dataset_of(12), replicas, rank, seed=seed) for rank in range(replicas)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [pair for sampler in samplers for pair in sampler]


def test_draws_follow_seed_and_epoch() -> None:
    assert draws_of(1, 5) == draws_of(1, 5)
    now = dict(draws_of(1, 5))  # by image, whatever the order
    for later in (dict(draws_of(1, 6)), dict(draws_of(2, 5))):
        assert not any(now[image] == later[image] for image in now)
    assert len({draw for _, draw in draws_of(1, 5)}) == 12


def test_draws_do_not_depend_on_the_number_of_processes() -> None:
    assert sorted(draws_of(1, 5, replicas=3)) == sorted(draws_of(1, 5))


def batches(images: int, replicas: int, rank: int, size: int) -> int:
    return -(-len(range(rank, images, replicas)) // size)


@pytest.mark.parametrize(("images", "replicas", "size"), [(100, 1, 10), (100, 2, 10), (101, 2, 10), (19, 3, 6)])
def test_every_process_has_as_many_batches(images: int, replicas: int, size: int) -> None:
    found = equal_batches(images, replicas, size)
    assert len({batches(images, replicas, rank, found) for rank in range(replicas)}) == 1
    assert found in (size, size - 1)


def test_no_equal_batches_is_an_error() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size=8: 3 images .* 4 processes"):
        equal_batches(3, 4, 8)


def test_a_split_survives_missing_labels() -> None:
    labels = torch.tensor([0, 0, 3, 3])
    kept, held_out = stratified_split(labels, 0.5, 0)
    assert sorted(labels[kept].tolist()) == sorted(labels[held_out].tolist()) == [0, 3]


def test_a_random_split_has_every_index_once() -> None:
    kept, held = random_split(30, 0.1, 3)
    assert (len(kept), len(held)) == (27, 3)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(30))
    assert torch.equal(held, held.sort().values)
    assert torch.equal(random_split(30, 0.1, 3)[1], held) and not torch.equal(random_split(30, 0.1, 4)[1], held)
    assert [len(part) for part in random_split(2, 0.01, 0)] == [1, 1]
    assert [len(part) for part in random_split(2, 0.99, 0)] == [1, 1]
    assert [len(part) for part in random_split(1, 0, 0)] == [1, 0]
