"""A reorder changes no function of a multiplicative net, and takes along everything that belongs to its weights."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from tests.build import (
    KINDS,
    REMAPS,
    bottlenecks,
    images,
    make_supernet,
    narrowed,
    plan_of,
    unsettled,
    widest,
)
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.reorder import ChannelDim, apply, channel_dims, crossed, importance, permutations, space_widths
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.units import ends

TOLERANCE = 1e-6  # float64, but batch-norms of three values magnify rounding; what stayed behind is off by 1e-2

LITTLE = bottlenecks(depth=3, se=True)
"""Two expansions and the head read the stream `blocks.0`."""

BASIC: dict[str, Any] = {
    "name": "basic",
    "divisor": 2,
    "stem": {"channels": 4},
    "stages": [{"block": "basic", "channels": 4, "stride": 2, "depth": 1}],
}


def make(
    net: str | dict[str, Any], op: str = "mult", width: float = 1.6, expand: float = 1.6, sharing: Sharing = PLAIN
) -> Supernet:
    """Float64, every tensor moved off its initial state; nets of configs/net at half their width, with extra blocks."""
    table = narrowed(net) if isinstance(net, str) else net
    plan = plan_of(table)
    supernet = make_supernet(
        plan,
        op,
        ["stem"],
        width_multipliers=(1.0, width),
        expand_multipliers=(1.0, expand),
        divisor=table["divisor"],
        extra_blocks=int(any(ends(plan, unit) is not None for unit in plan.units())),
        sharing=sharing,
    )
    for tensor in supernet.parameters():
        if tensor.dim() > 1 and op == "mult":  # the target would begin with larger weights than what surrounds it
            torch.nn.init.kaiming_uniform_(tensor)
    return unsettled(supernet).double()


def doubles(seed: int = 1) -> Tensor:
    return images(seed=seed, dtype=torch.float64)


def random_orders(net: Supernet, within: bool = False) -> dict[str, Tensor]:
    """Random permutations of the widened spaces; `within`: the target keeps its set of channels."""
    generator, orders = torch.Generator().manual_seed(3), {}
    for space, widths in space_widths(net).items():
        if widths.max > widths.target and within:
            beyond = widths.target + torch.randperm(widths.max - widths.target, generator=generator)
            orders[space] = torch.cat([torch.randperm(widths.target, generator=generator), beyond])
        elif widths.max > widths.target:
            orders[space] = torch.randperm(widths.max, generator=generator)
    return orders


def inverse(orders: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {space: order.argsort() for space, order in orders.items()}


def step(net: Supernet, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """Of the widest sub-network alone: the target's function changes with its channels."""
    optimizer.zero_grad()
    net(doubles(seed), widest(net)).square().mean().backward()
    optimizer.step()


def optimizer_of(kind: str, net: Supernet) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01)
    # some biases have no gradient but rounding, which a small eps would make steps of
    return torch.optim.Adam(net.parameters(), lr=0.01, eps=1e-3, amsgrad=True)


def everything(net: Supernet, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a net and its optimiser."""
    yield from net.state_dict().items()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        yield f"{name} gradient", parameter.grad
        for key, value in optimizer.state[parameter].items():
            yield f"{name} {key}", value


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def snapshot(net: Supernet, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in everything(net, optimizer)}


@pytest.mark.parametrize("net", KINDS)
def test_the_table_names_every_channel_dimension(net: str) -> None:
    """All but kernels and the one input of depthwise filters, each once, with its space's size."""
    supernet = make(net)
    rows = [(row.name, row.dim) for row in channel_dims(supernet)]
    assert len(set(rows)) == len([row for row in channel_dims(supernet) if is_first_source(row)])
    depthwise = {name for name, layer in supernet.hybrid_layers().items() if layer.depthwise}
    wanted = set()
    for name, tensor in [*supernet.named_parameters(), *supernet.named_buffers()]:
        dense = tensor.dim() > 1 and name.removesuffix(".weight") not in depthwise
        wanted |= {(name, dim) for dim in range(2 if dense else min(1, tensor.dim()))}
    assert set(rows) == wanted
    widths = dict(zip(supernet.widening.index(), supernet.widening.max_channels(), strict=True))
    assert any(name.startswith("extras.0.") for name, _ in rows) == bool(supernet.widening.extra_blocks)
    for row in channel_dims(supernet):
        size = row.tensor.shape[row.dim] if row.positions is None else len(row.positions)
        assert size == widths[row.space], row.name


def is_first_source(row: ChannelDim) -> bool:
    """Whether the row is not of a further source of a layer: those share a dimension."""
    return row.positions is None or bool((row.positions == 0).any())


@pytest.mark.parametrize("kind", ["random", "l1"])
@pytest.mark.parametrize("net", KINDS)
def test_a_multiplicative_net_computes_what_it_did(net: str, kind: str) -> None:
    """Logits of the widest sub-network, and its gradients, permuted."""
    supernet = make(net)
    before = supernet(doubles(), widest(supernet))
    before.square().sum().backward()
    orders = random_orders(supernet) if kind == "random" else permutations(supernet)
    assert crossed(supernet, orders)[0] > 0
    apply(orders, supernet)
    wanted = {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}
    supernet.zero_grad()
    after = supernet(doubles(), widest(supernet))
    torch.testing.assert_close(after, before, rtol=TOLERANCE, atol=TOLERANCE)
    after.square().sum().backward()
    for name, parameter in supernet.named_parameters():
        largest = float(wanted[name].abs().max())
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=TOLERANCE, atol=TOLERANCE * (1 + largest))


@pytest.mark.parametrize(
    ("op", "sharing"),
    [("shift", PLAIN), ("add", Sharing(REMAPS["add"]))],
    ids=["shift", "add-remapped"],
)
@pytest.mark.parametrize("net", KINDS)
def test_the_target_computes_what_it_did_if_it_keeps_its_channels(net: str, op: str, sharing: Sharing) -> None:
    """Its evaluation, with its running statistics; and the hybrid sub-network, whose operators nobody changed."""
    supernet = make(net, op, sharing=sharing).eval()
    with torch.no_grad():
        before = supernet(doubles()), supernet(doubles(), widest(supernet))
        orders = random_orders(supernet, within=True)
        assert crossed(supernet, orders)[0] == 0
        apply(orders, supernet)
        after = supernet(doubles()), supernet(doubles(), widest(supernet))
    for y, wanted in zip(after, before, strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(y, wanted, rtol=TOLERANCE, atol=TOLERANCE * scale)


@pytest.mark.parametrize(("net", "kind"), [*((net, "sgd") for net in KINDS), ("mbv3_w035", "adam")])
def test_a_step_after_the_reorder_is_the_step_before_it_permuted(net: str, kind: str) -> None:
    supernet = make(net)
    optimizer = optimizer_of(kind, supernet)
    step(supernet, optimizer, seed=1)
    other = copy.deepcopy(supernet)
    other_optimizer = optimizer_of(kind, other)
    other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    orders = random_orders(supernet)
    apply(orders, other, [other_optimizer])
    step(other, other_optimizer, seed=2)
    step(supernet, optimizer, seed=2)
    apply(orders, supernet, [optimizer])
    wanted = dict(everything(supernet, optimizer))
    state = {"sgd": "momentum_buffer", "adam": "exp_avg_sq"}[kind]
    assert f"{supernet.plan.layers()[-1].name}.weight {state}" in wanted
    for name, value in everything(other, other_optimizer):
        if "running" not in name:  # the target's stand still in augmented passes, whichever channels those are
            atol = TOLERANCE * (1 + float(wanted[name].abs().max()))
            torch.testing.assert_close(value, wanted[name], rtol=TOLERANCE, atol=atol)


@pytest.mark.parametrize("net", KINDS)
def test_the_inverse_restores_every_bit(net: str) -> None:
    """Of net, gradients, optimiser state and averaged copy; and before that, all of it has moved."""
    supernet = make(net, "shift")
    average = copy.deepcopy(supernet)
    optimizer = optimizer_of("adam", supernet)
    step(supernet, optimizer, seed=1)
    before, average_before = snapshot(supernet, optimizer), copy.deepcopy(average.state_dict())
    orders = random_orders(supernet)
    apply(orders, supernet, [optimizer], [average])
    moved = {row.name for row in channel_dims(supernet) if row.space in orders}
    assert changed(average_before, average.state_dict()) == moved
    after = snapshot(supernet, optimizer)
    assert {name for name in changed(before, after) if " " not in name} == moved
    assert {f"{name} {kept}" for name in moved for kept in ("gradient", "exp_avg")} & after.keys() <= changed(
        before, after
    )
    apply(inverse(orders), supernet, [optimizer], [average])
    assert changed(before, snapshot(supernet, optimizer)) == set()
    assert changed(average_before, average.state_dict()) == set()


@pytest.mark.parametrize("net", KINDS)
def test_afterwards_the_first_channels_are_the_most_important(net: str) -> None:
    supernet = make(net)
    before = {space: importance(supernet, space) for space in permutations(supernet)}
    apply(permutations(supernet), supernet)
    for space, values in before.items():
        torch.testing.assert_close(importance(supernet, space), values.sort(descending=True).values)
    settled = copy.deepcopy(supernet.state_dict())
    apply(permutations(supernet), supernet)
    assert changed(settled, supernet.state_dict()) == set()


class TestImportance:
    def test_is_the_sum_over_all_that_reads_the_channel(self) -> None:
        """Dense layers alone: neither depthwise convolutions nor gates. By hand: columns filled with numbers."""
        net = make(LITTLE, width=2.0, expand=2.0)
        for layer in net.hybrid_layers().values():
            torch.nn.init.zeros_(layer.weight)
        readers = ("blocks.1.expand.conv", "blocks.2.expand.conv", "head.conv")
        first, second, head = (net.hybrid_layers()[name].weight.data for name in readers)
        first[0, 5], first[31, 5], second[7, 5], head[15, 5] = 1.0, -2.0, 4.0, -8.0
        second[3, 2] = 15.5
        net.hybrid_layers()["blocks.1.se.reduce"].weight.data[:, 3] = 100.0
        net.hybrid_layers()["blocks.1.depthwise.conv"].weight.data[4] = 100.0
        net.hybrid_layers()["blocks.1.project.conv"].weight.data[7, 6] = -0.5
        net.hybrid_layers()["classifier"].weight.data[:, 9] = -1.0
        assert importance(net, "blocks.0").tolist() == [0, 0, 15.5, 0, 0, 15, 0, 0]
        assert importance(net, "blocks.1.hidden").tolist() == [0.5 if i == 6 else 0.0 for i in range(32)]
        assert importance(net, "head").tolist() == [7.0 if i == 9 else 0.0 for i in range(16)]
        orders = permutations(net)
        assert orders["blocks.0"].tolist() == [2, 5, 0, 1, 3, 4, 6, 7]
        assert orders["head"].tolist() == [9, *range(9), *range(10, 16)]
        only = {space: orders[space] for space in ("blocks.0", "head")}
        assert crossed(net, only) == (2, 4 + 8)  # 5 into the first four, 9 into the first eight

    def test_of_a_residual_net_counts_kernels_and_shortcut(self) -> None:
        net = make(BASIC, width=2.0, expand=2.0)
        for layer in net.hybrid_layers().values():
            torch.nn.init.zeros_(layer.weight)
        net.hybrid_layers()["blocks.0.conv1.conv"].weight.data[2, 1] = -1.0  # nine of its kernel
        net.hybrid_layers()["blocks.0.downsample.conv"].weight.data[0, 1] = 3.0
        net.hybrid_layers()["blocks.0.conv2.conv"].weight.data[0, 4, 1, 1] = 2.0
        assert importance(net, "stem").tolist() == [0, 12, 0, 0, 0, 0, 0, 0]
        assert importance(net, "blocks.0.hidden")[4] == 2


def test_channels_beyond_those_to_be_sorted_keep_their_place() -> None:
    net = make(LITTLE, width=2.0, expand=2.0)
    index = net.plan.index()
    narrow = list(net.widening.max_channels())
    narrow[index["stem"]], narrow[index["blocks.1.hidden"]] = 4, 12
    orders, full = permutations(net, narrow), permutations(net)
    assert full.keys() - orders.keys() == {"stem"}  # no more than the target's: nothing to sort
    order, values = orders["blocks.1.hidden"], importance(net, "blocks.1.hidden")
    assert order[12:].tolist() == list(range(12, 32))
    assert order[:12].tolist() == values[:12].argsort(descending=True).tolist()
    assert all(torch.equal(orders[space], full[space]) for space in orders.keys() - {"blocks.1.hidden"})


def test_nothing_is_widened_nothing_is_reordered() -> None:
    assert permutations(make(LITTLE, width=1.0, expand=1.0)) == {}
    assert set(permutations(make(LITTLE, width=1.0, expand=2.0))) == {
        "extras.0.hidden",
        *(f"blocks.{i}.hidden" for i in range(3)),
    }


def test_a_forgotten_tensor_is_noticed() -> None:
    net = make(LITTLE, width=2.0)
    layer = net.hybrid_layers()["head.conv"]
    layer.register_parameter("scale", torch.nn.Parameter(torch.ones(16)))
    with pytest.raises(AssertionError, match=r"head\.conv\.scale"):
        apply(permutations(net), net)


def test_no_permutation_is_noticed() -> None:
    net = make(LITTLE, width=2.0)
    with pytest.raises(AssertionError, match="head"):
        apply({"head": torch.zeros(16, dtype=torch.long)}, net)


def test_an_optimiser_that_mixes_channels_is_refused_before_anything_moves() -> None:
    net = make(LITTLE, width=2.0)
    optimizer = torch.optim.Adafactor(net.parameters())
    step(net, optimizer, seed=1)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UserError, match=r"^optim=Adafactor: its row_var .*; use another optim"):
        apply(permutations(net), net, [optimizer])
    assert changed(before, net.state_dict()) == set()
