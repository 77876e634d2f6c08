"""Reorder the channels of a supernet by importance, the most important into the target's slots.

NetAug (arXiv 2110.08890) and once-for-all (arXiv 1908.09791): the importance of a channel is the l1 norm of the
weights that read it. All layers of a space are permuted by one permutation, residual streams included, and everything
that belongs to a weight moves with it. Where every layer multiplies the widest sub-network computes what it did;
elsewhere a channel that crosses the target's border changes its operator.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.weight import HybridWeight
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.nets.nodes import GATE, WEIGHTED, Node
from shiftaddaug.nets.supernet import Supernet

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class ChannelDim:
    """A dimension of a parameter or buffer of a supernet that counts the channels of a space."""

    name: str
    """Name of the tensor in the state dict."""
    tensor: Tensor
    dim: int
    space: str
    positions: Tensor | None = None
    """Where the dimension holds the space's channels, int64; all of it, in their order, by default."""

    of_target: bool = False
    """Whether it counts the target's channels alone: then one that enters takes what one that leaves had."""

    def permuted(self, tensor: Tensor, order: Tensor) -> Tensor:
        """Return a tensor like this one, its new channel i being the old channel order[i]."""
        if self.of_target:
            order = within(order, tensor.shape[self.dim])
        order = order.to(tensor.device)
        if self.positions is None:
            return tensor.index_select(self.dim, order)
        positions = self.positions.to(tensor.device)
        return tensor.index_copy(self.dim, positions, tensor.index_select(self.dim, positions[order]))


def within(order: Tensor, channels: int) -> Tensor:
    """Return a permutation as the first `channels` see it: those that enter take the places of those that leave."""
    inside = order[:channels].clone()
    stayed = set(inside[inside < channels].tolist())
    leaving = [channel for channel in range(channels) if channel not in stayed]
    inside[inside >= channels] = torch.tensor(leaving, dtype=inside.dtype)
    return inside


def channel_dims(net: Supernet) -> Iterator[ChannelDim]:
    """Every dimension that counts channels, of every parameter and buffer, of fixed spaces too."""
    for node in net.graph.nodes:
        module: Any = net.module(node.name)
        if node.kind in WEIGHTED:
            if "weight" in module.parameter_names:
                yield from _weight_dims(net, node, module, f"{node.name}.weight", module.weight)
            if module.bias is not None:
                yield ChannelDim(f"{node.name}.bias", module.bias, 0, node.space)
            for key in module.operator.channel_tensors:
                yield ChannelDim(f"{node.name}.{key}", getattr(module, key), 0, node.space, of_target=True)
        elif node.kind == "norm":
            for key in NORM_TENSORS:
                yield ChannelDim(f"{node.name}.{key}", getattr(module, key), 0, node.space)


def _weight_dims(net: Supernet, node: Node, layer: HybridWeight, name: str, tensor: Tensor) -> Iterator[ChannelDim]:
    yield ChannelDim(name, tensor, 0, node.space)
    for i, space in enumerate(() if node.depthwise else net.graph.sources(node)):
        yield ChannelDim(name, tensor, 1, space, layer.positions(i) if len(node.inputs) > 1 else None)


def space_widths(net: Supernet) -> dict[str, Widths]:
    """Widths of every space that a layer reads or writes, by its name."""
    modules, widths = net.hybrid_layers(), dict[str, Widths]()
    for node in net.graph.layers():
        module = modules[node.name]
        pairs = zip((*net.graph.sources(node), node.space), (*module.sources, module.out), strict=True)
        for space, width in pairs:
            assert widths.setdefault(space, width) == width, f"{node.name}: {space} is {width}, not {widths[space]}"
    return widths


@torch.no_grad()
def importance(net: Supernet, space: str) -> Tensor:
    """Return sum |w| over all that reads a channel, of the whole stored weights; float64 (C,), on the weights' device.

    What reads it are the space's dense layers: pointwise convolutions, in residual nets k x k ones, the classifier.
    NOTE: as in NetAug's code neither depthwise convolutions nor squeeze-excite count. Weights of output channels and
    extra blocks that are no longer drawn count too: they stay as they were then.
    """
    layers = net.hybrid_layers()
    nodes = (net.graph.by_name[name] for name in layers)
    readers = [
        node for node in nodes if space in net.graph.sources(node) and not (node.depthwise or node.group == GATE)
    ]
    assert readers, space
    # blocks first, as they always were: another order of the sum may round otherwise, and sort otherwise
    readers.sort(key=lambda node: not node.unit)
    sums = []
    for node in readers:
        layer = layers[node.name]
        columns = layer.weight.detach().transpose(0, 1).flatten(1).double().abs().sum(1)
        for i, source in enumerate(net.graph.sources(node)):
            if source == space:
                sums.append(columns if len(node.inputs) == 1 else columns[layer.positions(i).to(columns.device)])
    return torch.stack(sums).sum(0)


def permutations(net: Supernet, channels: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The order of the channels by decreasing importance, ties as they stand, of every widened space.

    Args:
        net: the supernet.
        channels: of each of the plan's spaces, how many to sort: those beyond keep their place. All by default.

    Returns:
        By space name, int64 (C,), on the CPU: new channel i is the old channel permutation[i]. Spaces of which no
        more channels than the target's are to be sorted are left out.
    """
    index, orders = net.widening.index(), {}
    for space, widths in space_widths(net).items():
        count = widths.max if channels is None else channels[index[space]]
        if count > widths.target:
            first = importance(net, space)[:count].cpu().argsort(descending=True, stable=True)
            orders[space] = torch.cat([first, torch.arange(count, widths.max)])
    return orders


def crossed(net: Supernet, orders: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many channels the permutations bring into the target, and how many the target has in their spaces."""
    widths = space_widths(net)
    targets = {space: widths[space].target for space in orders}
    entered = sum(int((order[: targets[space]] >= targets[space]).sum()) for space, order in orders.items())
    return entered, sum(targets.values())


@torch.no_grad()
def apply(
    orders: Mapping[str, Tensor],
    net: Supernet,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    copies: Iterable[Supernet] = (),
) -> None:
    """Permute the channels of a supernet, in place, with everything that belongs to its weights.

    Args:
        orders: by space name, as `permutations` returns them.
        net: the supernet.
        optimizers: of its parameters, whose momentum and the like moves along.
        copies: the same supernet with other values, such as averaged ones.

    Raises:
        UserError: an optimiser whose state is not laid out as the weights are; nothing has been permuted then.
    """
    widths, optimizers = space_widths(net), list(optimizers)
    for space, order in orders.items():
        assert torch.equal(order.sort().values, torch.arange(widths[space].max)), f"{space}: {order}"
    rows = [row for row in _checked(net) if row.space in orders]
    moves = [(tensor, row) for row in rows for tensor in (row.tensor, *_companions(row, optimizers))]
    for copy in copies:
        moves += [(row.tensor, row) for row in _checked(copy) if row.space in orders]
    for tensor, row in moves:
        tensor.copy_(row.permuted(tensor, orders[row.space]))


def refuse_tensors_that_stay(net: Supernet) -> None:
    """Refuse operators of widened layers with tensors of which nobody knows how to reorder them.

    Raises:
        UserError: naming the first.
    """
    for name, layer in net.hybrid_layers().items():
        operator, widened = layer.operator, layer.full_shape != layer.target_shape
        known = {*operator.channel_tensors, *operator.lasting_tensors}
        for key, tensor in layer.tensors().items():
            if widened and tensor.numel() > 1 and key not in known:
                raise UserError(
                    f"reorder: op={operator.name} keeps {key} {tuple(tensor.shape)} in layer {name}, and says neither "
                    f"that it counts channels nor that it may stay; options: reorder=none, or channel_tensors or "
                    f"lasting_tensors of the operator"
                )


def _checked(net: Supernet) -> list[ChannelDim]:
    """The table, after a look that it names every tensor of the net, and that the dimensions are their spaces'."""
    rows, widths = list(channel_dims(net)), space_widths(net)
    tensors = [*net.named_parameters(), *net.named_buffers()]
    layers = net.hybrid_layers().items()
    own = {f"{name}.{key}" for name, layer in layers for key in (*layer.tensors(), *layer.map_names)}
    forgotten = {name for name, tensor in tensors if tensor.dim() > 0} - {row.name for row in rows} - own
    assert not forgotten, f"which channels are these? {sorted(forgotten)}"
    for row in rows:
        size = row.tensor.shape[row.dim] if row.positions is None else len(row.positions)
        wanted = widths[row.space].target if row.of_target else widths[row.space].max
        assert size == wanted, f"{row.name}: {row.dim} is not {row.space}"
    return rows


def _companions(row: ChannelDim, optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[Tensor]:
    """The gradient of a parameter, and what optimisers know of each of its elements."""
    parameter = row.tensor
    if not isinstance(parameter, nn.Parameter):
        return
    if parameter.grad is not None:
        yield parameter.grad
    for optimizer in optimizers:
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor) or value.numel() == 1:  # a count of steps
                continue
            if value.shape != parameter.shape:
                raise UserError(
                    f"optim={type(optimizer).__name__}: its {key} {tuple(value.shape)} cannot be reordered with "
                    f"{row.name} {tuple(parameter.shape)}; use another optim (SGD, Adam, RAdam, ...) or no reorder"
                )
            yield value
