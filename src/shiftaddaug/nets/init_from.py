"""A network that begins with what another one learned: its encoder, and whatever else is the same."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.layers import HybridLayer
from shiftaddaug.hybrid.norm import HybridBatchNorm2d
from shiftaddaug.hybrid.transfer import take_layer, take_norm
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.nodes import WEIGHTED, Node
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet

AFTER_ENCODER = ("head", "decoder", "classifier")
"""Groups of nodes that follow the encoder, of stem and stages."""


@dataclass(frozen=True)
class Loaded:
    """Which nodes of a target took over what another network had learned, and which did not, by name."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    whole: bool
    """Whether what surrounds the encoder was taken, too, or nothing does."""

    def summary(self) -> str:
        """Return one line on both."""
        parts = [f"{len(self.taken)} layers and norms loaded ({', '.join(_groups(self.taken))})"]
        if self.fresh:
            parts.append(f"{len(self.fresh)} begin anew ({', '.join(_groups(self.fresh))})")
        return "; ".join(parts)


def init_from(net: Supernet, source: Net) -> Loaded:
    """Put what a network learned into the layers and norms that this one has, too.

    Every layer of the encoder must be there, of the same shape; others are taken if they are. What surrounds the target
    is taken where the other supernet had a layer as wide.

    Args:
        net: written to.
        source: a supernet, or a target.

    Raises:
        UserError: a layer of the encoder that the other has not, or that computes otherwise there.
    """
    taken, fresh, whole = [], [], True
    for node in _with_state(net.plan):
        ours, theirs = net.module(node.name), source.module(node.name)
        difference = _difference(net.plan, source.plan, node)
        if difference is not None:
            if is_encoder(node):
                raise UserError(f"{node.name} {difference}")
            fresh.append(node.name)
            continue
        assert ours is not None
        assert theirs is not None
        _take(net.plan, node, ours, theirs)
        taken.append(node.name)
        whole = whole and (not is_encoder(node) or _as_wide(ours, theirs))
    for extra in (node for node in _with_state(net.graph) if node.name not in net.plan.by_name):
        theirs = source.module(extra.name)
        if isinstance(source, Supernet) and theirs is not None and _as_wide(net.module(extra.name), theirs):
            _take(net.graph, extra, net.module(extra.name), theirs)
        else:
            whole = False
    return Loaded(tuple(taken), tuple(fresh), whole)


def is_encoder(node: Node) -> bool:
    """Whether a node is of the encoder: stem and stages."""
    return node.group not in AFTER_ENCODER


def encoder_modules(net: Supernet) -> Iterator[nn.Module]:
    """Yield the layers and norms of a supernet's encoder, those of extra blocks too."""
    for node in _with_state(net.graph):
        module = net.module(node.name)
        if is_encoder(node) and module is not None:
            yield module


def freeze_encoder(net: Supernet) -> None:
    """Let no gradient reach the encoder, and keep the running statistics that its norms compute with."""
    for module in encoder_modules(net):
        module.requires_grad_(False)
        if isinstance(module, HybridBatchNorm2d):
            module.frozen = True


def encoder_parameters(net: Supernet) -> set[str]:
    """Return the names of the parameters of the encoder."""
    modules = {id(module) for module in encoder_modules(net)}
    owners = {name: id(module) for name, module in net.named_modules()}
    return {name for name, _ in net.named_parameters() if owners[name.rpartition(".")[0]] in modules}


def _with_state(plan: Plan) -> list[Node]:
    return [node for node in plan.nodes if node.kind in (*WEIGHTED, "norm")]


def _difference(plan: Plan, source: Plan, node: Node) -> str | None:
    """Return why a node has nothing to take from another plan; channels of an image may differ."""
    other = source.by_name.get(node.name)
    if other is None or other.kind != node.kind:
        return "is not there"
    for key in ("kernel", "depthwise", "bias"):
        ours, theirs = getattr(node, key), getattr(other, key)
        if ours != theirs:
            return f"has {key}={theirs} there, and {ours} here"
    ours, theirs = (each.channels()[which.space] for each, which in ((plan, node), (source, other)))
    if ours != theirs:
        return f"has {theirs} channels there, and {ours} here"
    reads = [
        [each.channels()[space] for space in each.sources(which)] for each, which in ((plan, node), (source, other))
    ]
    if reads[0] != reads[1] and not _reads_image(plan, node):
        return f"reads {sum(reads[1])} channels there, and {sum(reads[0])} here"
    return None


def _reads_image(plan: Plan, node: Node) -> bool:
    return plan.sources(node) == (plan.nodes[0].space,)


def _take(plan: Plan, node: Node, ours: nn.Module | None, theirs: nn.Module) -> None:
    if isinstance(ours, HybridBatchNorm2d):
        assert isinstance(theirs, HybridBatchNorm2d | nn.BatchNorm2d)
        take_norm(ours, theirs)
        return
    assert isinstance(ours, HybridLayer)
    try:
        take_layer(ours, theirs, plan.in_channels if _reads_image(plan, node) else None)
    except UserError as error:
        raise UserError(f"{node.name} {error}") from None


def _as_wide(ours: nn.Module | None, theirs: nn.Module) -> bool:
    """Whether a layer or norm holds as many channels as another, those around its target too."""
    shapes = [
        {name: tuple(p.shape) for name, p in each.named_parameters()} for each in (ours, theirs) if each is not None
    ]
    return len(shapes) == 2 and shapes[0] == shapes[1]


def _groups(names: tuple[str, ...]) -> list[str]:
    """Return the first parts of names, each once."""
    return list(dict.fromkeys(name.split(".")[0] for name in names))
