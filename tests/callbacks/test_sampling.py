"""Which sub-network a step trains: a function of (seed, step), over when it was told to be."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.build import plan_of

from shiftaddaug.callbacks.sampling import SampleSubnets
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import SubnetSpec, Widening

STEPS = range(30)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("mbv2_micro")


@pytest.fixture
def varied(plan: Plan) -> Widening:
    return Widening(plan, (1.0, 2.0), (1.0, 3.0))


@pytest.fixture
def certain(plan: Plan) -> Widening:
    """Of which there is one draw: twice the width, three times the hidden width."""
    return Widening(plan, (2.0,), (3.0,))


def widened(plan: Plan, width: int, expand: int) -> SubnetSpec:
    """Every width space times `width`, every hidden one times both (its width follows its parent's)."""
    factor = {"fixed": 1, "width": width, "hidden": width * expand}
    return SubnetSpec(tuple(space.channels * factor[space.kind] for space in plan.spaces), augmented=True)


def during(
    callback: SampleSubnets, widening: Widening, epoch: int, max_epochs: int, step: int = 0, rank: int = 0
) -> Any:
    """The sub-network that the callback hands to the task before a step."""
    task = SimpleNamespace(net=SimpleNamespace(widening=widening), augmented_spec="not set")
    trainer = SimpleNamespace(
        current_epoch=epoch, max_epochs=max_epochs, global_step=step, global_rank=rank, local_rank=rank, world_size=4
    )
    callback.on_train_batch_start(trainer, task, None, 0)  # type: ignore[arg-type]
    return task.augmented_spec


def test_the_draw_is_a_function_of_seed_and_step(varied: Widening) -> None:
    callback = SampleSubnets(seed=3)
    forward = [callback.spec(varied, step, 0.0) for step in STEPS]
    backward = [SampleSubnets(seed=3).spec(varied, step, 0.0) for step in reversed(STEPS)]
    assert forward == backward[::-1]
    assert len(set(forward)) > 25  # steps differ
    assert sum(a == SampleSubnets(seed=4).spec(varied, i, 0.0) for i, a in enumerate(forward)) < 3  # and so do seeds


def test_seed_and_step_are_not_summed(varied: Widening) -> None:
    assert SampleSubnets(seed=1).spec(varied, 10, 0.0) != SampleSubnets(seed=10).spec(varied, 1, 0.0)
    assert SampleSubnets(seed=1).spec(varied, 11, 0.0) != SampleSubnets(seed=11).spec(varied, 1, 0.0)
    assert SampleSubnets(seed=1).spec(varied, 2, 0.0) != SampleSubnets(seed=2).spec(varied, 1, 0.0)


def test_a_resumed_run_continues_the_sequence_of_the_checkpoints_seed(varied: Widening) -> None:
    first, resumed = SampleSubnets(seed=3), SampleSubnets(seed=4)
    resumed.load_state_dict(first.state_dict())
    assert [resumed.spec(varied, step, 0.0) for step in STEPS] == [first.spec(varied, step, 0.0) for step in STEPS]


def test_all_ranks_draw_the_same(varied: Widening) -> None:
    for step in STEPS:
        specs = {during(SampleSubnets(seed=0), varied, 0, 4, step, rank) for rank in range(4)}
        assert specs == {SampleSubnets(seed=0).spec(varied, step, 0.0)}


def test_width_and_expand_stop_where_told(plan: Plan, certain: Widening) -> None:
    callback = SampleSubnets(seed=0, width_until=0.5, expand_until=0.75)
    specs = [during(callback, certain, epoch, max_epochs=4) for epoch in range(4)]
    assert specs == [widened(plan, 2, 3), widened(plan, 2, 3), widened(plan, 1, 3), None]


@pytest.mark.parametrize("until", [0.0, 0.3, 0.5, 1.0])
def test_the_share_itself_is_past_the_end(plan: Plan, certain: Widening, until: float) -> None:
    before, both = until - 1e-9, widened(plan, 2, 3)
    width = SampleSubnets(seed=0, width_until=until)
    assert width.spec(certain, 0, until) == (widened(plan, 1, 3) if until < 1 else None)
    assert width.spec(certain, 0, before) == both
    expand = SampleSubnets(seed=0, width_until=1.0, expand_until=until)
    assert expand.spec(certain, 0, until) == (widened(plan, 2, 1) if until < 1 else None)
    assert expand.spec(certain, 0, before) == both


def test_both_last_to_the_end_of_the_run_if_told(plan: Plan, certain: Widening) -> None:
    callback = SampleSubnets(seed=0, width_until=1.0, expand_until=1.0)
    assert [during(callback, certain, epoch, 3) for epoch in range(3)] == [widened(plan, 2, 3)] * 3


def test_nothing_widened_is_no_sub_network(plan: Plan) -> None:
    assert during(SampleSubnets(seed=0), Widening(plan), 0, 4) is None


def test_it_is_idle_where_no_step_has_an_augmented_pass(plan: Plan, varied: Widening) -> None:
    def reason(callback: SampleSubnets, widening: Widening) -> str | None:
        task = SimpleNamespace(net=SimpleNamespace(widening=widening))
        return callback.idle(SimpleNamespace(), task)  # type: ignore[arg-type]

    assert reason(SampleSubnets(seed=0), varied) is None
    assert reason(SampleSubnets(seed=0), Widening(plan)) == "nothing surrounds the target"
    assert reason(SampleSubnets(seed=0), Widening(plan, (1.01,), (1.01,))) == "nothing surrounds the target"
    never = "width_until, expand_until and depth_until are 0"
    assert reason(SampleSubnets(0, width_until=0.0, expand_until=0.0, depth_until=0.0), varied) == never
    assert reason(SampleSubnets(0, width_until=0.0), Widening(plan, width_multipliers=(2.0,))) == never


def test_the_end_of_the_only_augmentation_is_the_end_of_sub_networks(plan: Plan) -> None:
    width = Widening(plan, width_multipliers=(2.0,))
    callback = SampleSubnets(seed=0, width_until=0.5)
    assert [during(callback, width, epoch, 4) for epoch in range(4)] == [widened(plan, 2, 1)] * 2 + [None] * 2
    expand = Widening(plan, expand_multipliers=(3.0,))
    assert [during(callback, expand, epoch, 4) for epoch in range(4)] == [widened(plan, 1, 3)] * 4
