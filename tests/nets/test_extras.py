"""Extra blocks: where they go, what they are made of, and that nothing of them reaches the target."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.build import DEEPENED, KINDS, WIDER, images, make_supernet, plan_of, unsettled, widest
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridLayer
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.nets.build import assign
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import extract_target, max_difference
from shiftaddaug.nets.extras import deepened, plan_extra_blocks
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.nodes import Space, is_extra
from shiftaddaug.nets.plain import plain_factory
from shiftaddaug.nets.spec import SubnetSpec, Widening
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.units import ends, last_norm


def make(net: str, op: str = "shift", **arguments: Any) -> Supernet:
    """With extra blocks, its norms moved off their initial state."""
    return unsettled(make_supernet(net, op, **{"extra_blocks": 1, **arguments}))


def full(supernet: Supernet) -> SubnetSpec:
    return replace(supernet.target_spec, skipped=frozenset())


def at_share(supernet: Supernet, factor: float) -> SubnetSpec:
    """The target with all extra blocks, this factor on their residual branches."""
    extras = supernet.widening.extras()
    return full(supernet).at_depth(extras, [(name, factor) for name in extras])


def deep_plain_net(supernet: Supernet, factors: dict[str, float]) -> Net:
    """Target and extra blocks as one plain network, residual branches scaled in their last batch-norm; evaluating."""
    graph, shift = supernet.widening.deepened(), operators.build("shift")
    extras = [layer.name for layer in graph.layers() if is_extra(layer.name)]
    net = Net(graph, plain_factory(graph, assign(graph, shift, ["stem", *extras])))
    state: dict[str, Tensor] = {}
    for name, part in supernet.named_modules():
        tensors: Any = {}
        if isinstance(part, HybridLayer):
            _, tensors = part.state()  # type: ignore[misc]
        elif isinstance(part, HybridBatchNorm2d):
            tensors = part.state()
        state |= {f"{name}.{key}": value for key, value in tensors.items()}
    for name, factor in factors.items():
        for key in ("weight", "bias"):
            state[f"{last_norm(graph, name)}.{key}"] *= factor
    net.load_state_dict(state)
    return net.eval()


def table(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"name": "little", "stem": {"channels": 8}, "stages": list(stages)}


class TestPlan:
    @pytest.mark.parametrize(
        ("net", "wanted"),
        [
            ("mbv2_micro", [2, 4, 7, 9, 11]),
            ("resnet20", [2, 5, 8]),
            ("mcunet", [4, 7, 10, 13, 16]),
            ("mbv3_w035", [0, 2, 5, 9, 11, 14]),
        ],
    )
    def test_one_at_the_end_of_every_residual_stage(self, net: str, wanted: list[int]) -> None:
        extras = plan_extra_blocks(plan_of(net), 1)
        assert [extra.after for extra in extras] == [f"blocks.{i}" for i in wanted]
        assert [extra.name for extra in extras] == [f"extras.{i}" for i in range(len(wanted))]

    @pytest.mark.parametrize("net", DEEPENED)
    def test_an_extra_block_is_the_last_of_its_stage_with_spaces_of_its_own(self, net: str) -> None:
        plan, extras = plan_of(net), plan_extra_blocks(plan_of(net), 2)
        graph, spaces = deepened(plan, extras), {space.name: space for space in plan.spaces}
        for extra in extras:
            assert extra.model == extra.after
            model, block = plan.units()[extra.after], graph.units()[extra.name]
            stream = model[-1].space
            for ours, theirs in zip(block, model, strict=True):
                assert replace(ours, name="", inputs=(), space="", unit="") == replace(
                    theirs, name="", inputs=(), space="", unit=""
                )
                assert (ours.name, ours.unit) == (theirs.name.replace(extra.model, extra.name), extra.name)
            assert not {space.name for space in extra.spaces} & spaces.keys()
            for space in extra.spaces:
                assert space.name.startswith(f"{extra.name}.")
                twin = spaces[space.name.replace(extra.name, extra.model)]
                assert replace(space, name=twin.name) == twin
            assert {node.space for node in block} == {space.name for space in extra.spaces} | {stream}
        assert graph.spaces == plan.spaces + tuple(space for extra in extras for space in extra.spaces)
        ours = [node for node in graph.nodes if not is_extra(node.name)]
        assert [node.name for node in ours] == [node.name for node in plan.nodes]

    def test_several_at_one_place_follow_each_other(self) -> None:
        plan = plan_of("mbv2_micro")
        graph = deepened(plan, plan_extra_blocks(plan, 2, ["blocks.11"]))
        chain = [ends(graph, unit) for unit in ("blocks.11", "extras.0", "extras.1")]
        assert [end.entry for end in chain[1:] if end] == [end.exit for end in chain[:-1] if end]
        assert graph.by_name["head.conv"].inputs == ("extras.1.add",)
        assert graph.levels[-1].node == "extras.1.add"
        assert graph.registered == (*plan.registered, *(name for name in graph.registered if is_extra(name)))

    def test_count_is_per_place_and_in_forward_order(self) -> None:
        extras = plan_extra_blocks(plan_of("resnet20"), 2)
        assert [extra.after for extra in extras] == [f"blocks.{i}" for i in (2, 2, 5, 5, 8, 8)]
        assert extras[3].spaces == (Space("extras.3.hidden", 32, "hidden", "blocks.3"),)

    def test_places_may_be_chosen_in_any_order(self) -> None:
        extras = plan_extra_blocks(plan_of("mbv2_micro"), 1, ["blocks.6", "blocks.1"])
        assert [extra.after for extra in extras] == ["blocks.1", "blocks.6"]

    @pytest.mark.parametrize(("op", "kept"), [("shift", {"stem"}), ("add", {"stem", "se", "classifier"})])
    def test_they_compute_as_what_surrounds_the_target_does(self, op: str, kept: set[str]) -> None:
        """By multiplication; or, with aug.operator=same, as the block that they are built as."""
        for multiply in (True, False):
            sharing = Sharing(multiplicative_augmentation=multiply)
            net = make_supernet("mbv3_w035", op, kept, extra_blocks=1, sharing=sharing)
            for name, layer in net.hybrid_layers().items():
                if name.startswith("extras."):
                    gated = ".se." in name or "squeeze" in name
                    wanted = "mult" if multiply or (gated and "se" in kept) else op
                    assert layer.operator.name == wanted, name

    def test_none_is_none(self) -> None:
        assert plan_extra_blocks(plan_of("mcunet"), 0) == ()

    @pytest.mark.parametrize(
        ("count", "after", "message"),
        [
            (-1, None, r"aug.extra_blocks=-1: must be a whole number >= 0 and <= 100"),
            (10**12, None, r"aug.extra_blocks=1000000000000: must be a whole number >= 0 and <= 100"),
            (1.5, None, r"aug.extra_blocks=1.5: must be a whole number"),
            (True, None, r"aug.extra_blocks=true: must be a whole number"),
            (1, ["blocks.99"], r"aug.extra_after=blocks.99: no such block in net=mbv2_micro; options: blocks.1, bl"),
            (1, ["blocks.0"], r"aug.extra_after=blocks.0: no block of its stage has an identity shortcut .*options:"),
            (1, "blocks.1", r"aug.extra_after=blocks.1: must be null or a list of blocks; options: blocks.1"),
            (1, [], r"aug.extra_after=\[\]: must be null or a list of blocks"),
        ],
    )
    def test_mistakes_are_one_line(self, count: Any, after: Any, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            plan_extra_blocks(plan_of("mbv2_micro"), count, after)
        assert "\n" not in str(caught.value)

    def test_a_net_without_identity_shortcuts_has_no_place(self) -> None:
        plan = plan_of(table({"block": "inverted_bottleneck", "channels": 16, "expand": 2}))
        with pytest.raises(UserError, match=r"aug.extra_blocks=1: net=little has no stage .*; options: 0"):
            plan_extra_blocks(plan, 1)

    def test_an_activation_that_cannot_be_repeated_has_no_place(self) -> None:
        stage = {"block": "basic", "channels": 8, "depth": 2}
        plan = plan_of(table({**stage, "act": "h_swish"}, {**stage, "channels": 16, "act": "relu"}))
        assert [extra.after for extra in plan_extra_blocks(plan, 1)] == ["blocks.3"]
        with pytest.raises(UserError, match=r"aug.extra_after=blocks.1: its activation h_swish would be applied again"):
            plan_extra_blocks(plan, 1, ["blocks.1"])


class TestTarget:
    @pytest.mark.parametrize("net", KINDS)
    @pytest.mark.parametrize("op", ["shift", "add", "shift_ps"])
    def test_cost_state_and_outputs_are_the_plain_nets(self, net: str, op: str) -> None:
        """Extra blocks widened and active before: the deployed net has, costs and computes what it would without."""
        supernet = make(net, op, **({} if op == "shift_ps" else WIDER))
        supernet(images(seed=2), supernet.widening.sample(random.Random(0)))
        target = extract_target(supernet)
        assert max_difference(supernet, target.net, images()) == 0
        assert target.net.plan == plan_of(net)
        assert target.net.state_dict().keys() == extract_target(make_supernet(net, op)).net.state_dict().keys()
        cost = net_cost(supernet.plan, supernet.assignment)
        assert sum(p.numel() for p in target.net.parameters()) == cost.params

    @pytest.mark.parametrize("net", KINDS)
    def test_one_seed_one_beginning_with_and_without_extra_blocks(self, net: str) -> None:
        states = []
        for extra_blocks in (0, 1, 2):
            supernet = make_supernet(net, "add", **WIDER, extra_blocks=extra_blocks)
            states.append({k: v for k, v in supernet.state_dict().items() if not k.startswith("extras.")})
        for state in states[1:]:
            assert state.keys() == states[0].keys()
            assert all(torch.equal(value, states[0][name]) for name, value in state.items())

    def test_draws_for_the_target_do_not_depend_on_extra_blocks(self) -> None:
        plan = plan_of("mcunet")
        plain = Widening(plan, (1.0, 1.6, 2.2), (1.0, 2.8))
        deep = replace(plain, extra_blocks=plan_extra_blocks(plan, 2))
        count, hidden = len(plan.spaces), set()
        for seed in range(20):
            spec, deeper = plain.sample(random.Random(seed)), deep.sample(random.Random(seed))
            assert deeper.channels[:count] == spec.channels
            assert (spec.skipped, deeper.skipped) == (frozenset(), frozenset())
            hidden.add(deeper.channels[count:])
        assert len(hidden) > 10
        assert deep.sample(random.Random(0), depth=False).skipped == deep.extras()


class TestForward:
    @pytest.mark.parametrize("net", KINDS)
    def test_a_deeper_target_is_its_blocks_one_after_the_other(self, net: str) -> None:
        supernet = make(net, extra_blocks=2).eval()
        factors = {extra.name: (1.0, 0.3, 0.0)[i % 3] for i, extra in enumerate(supernet.widening.extra_blocks)}
        spec = supernet.target_spec.at_depth(factors, factors.items())
        wanted = deep_plain_net(supernet, factors)
        for stride, y in supernet.levels(images(), supernet.run(spec)).items():
            torch.testing.assert_close(y, wanted.levels(images())[stride], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(supernet(images(), spec), wanted(images()), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(supernet(images(), spec), supernet(images()), rtol=1e-3)

    @pytest.mark.parametrize("net", KINDS)
    @pytest.mark.parametrize("training", [False, True])
    def test_without_factor_an_extra_block_is_not_there(self, net: str, training: bool) -> None:
        supernet = make(net, **WIDER).train(training)
        assert torch.equal(supernet(images(), at_share(supernet, 0.0)), supernet(images()))

    @pytest.mark.parametrize("net", KINDS)
    def test_a_vanishing_factor_leads_to_the_target(self, net: str) -> None:
        supernet = make(net).eval()
        y = supernet(images(), at_share(supernet, 1e-7))
        torch.testing.assert_close(y, supernet(images()), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("net", KINDS)
    def test_extra_blocks_begin_near_the_identity_and_learn(self, net: str) -> None:
        supernet = make_supernet(net, "shift", extra_blocks=1)
        spec = full(supernet)
        found = ends(supernet.graph, "extras.0")
        assert found is not None
        values = supernet.values(images(batch=8), [found.entry, found.join], supernet.run(spec))
        step = values[found.join] - values[found.entry]
        assert 0 < step.std() <= 0.11  # the last batch-norm's output: 0.1 x unit variance
        supernet(images(batch=8), spec).square().sum().backward()
        for name, parameter in supernet.extras.named_parameters():
            assert parameter.grad is not None, name
            # a bias in front of a batch-norm, or a dead channel's weight may have none, but no whole tensor of weights
            if not name.endswith("bias"):
                assert parameter.grad.abs().max() > 0, name

    @pytest.mark.parametrize("net", KINDS)
    @pytest.mark.parametrize("op", ["shift", "add"])
    def test_every_active_parameter_gets_a_finite_gradient(self, net: str, op: str) -> None:
        supernet = make(net, op, **WIDER)
        target, augmented = at_share(supernet, 0.5), widest(supernet)
        (supernet(images(), target).square().sum() + supernet(images(), augmented).square().sum()).backward()
        for name, parameter in supernet.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    def test_extra_blocks_multiply_whatever_the_operator(self) -> None:
        for op in ("shift", "add", "shift_ps"):
            extras = make("mbv3_w035", op).extras.modules()
            assert {layer.operator.name for layer in extras if isinstance(layer, HybridWeight)} == {"mult"}
