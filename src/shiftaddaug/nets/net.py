"""One interpreter and one network class: a plan, computed node by node, by modules that a factory makes."""

from collections.abc import Callable, Collection, Iterable, Sequence

from torch import Tensor, nn

from shiftaddaug.nets.functions import FUNCTIONS
from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan, Step

Factory = Callable[[Node], nn.Module | None]
"""Makes a node's module. Kinds of nodes that have a function of their own need none."""


class Run:
    """How the nodes of a network are computed: by their module, or else by their kind's function.

    A value, without state: a subclass holds what a pass depends on besides images and weights.
    """

    skipped: frozenset[str] = frozenset()
    """Units that are left out: they pass on what they read."""

    def __call__(self, node: Node, module: nn.Module | None, inputs: list[Tensor]) -> Tensor:
        """Return a node's value, given its module and the values that it reads."""
        if module is None:
            return FUNCTIONS[node.kind](node, inputs)
        y: Tensor = module(*layer_inputs(node, inputs))
        return y


def layer_inputs(node: Node, inputs: list[Tensor]) -> list[Tensor]:
    """Return what a node's module is called with: linear layers take (N, C), and pooled values are (N, C, 1, 1)."""
    return [x.flatten(1) for x in inputs] if node.kind == "linear" else inputs


PLAIN = Run()


class Net(nn.Module):
    """A network whose modules are named as the plan's nodes.

    A copy of a net computes with its own weights, and a module that is replaced in its parent (as
    `nn.SyncBatchNorm.convert_sync_batchnorm` does) is computed with: the net keeps the parents of modules, and their
    names in them. The parents themselves (`net.blocks`) only hold modules; nobody calls or replaces them.

    Args:
        plan: of the network.
        make: makes the modules, in the plan's order of registration.
        nodes: whose modules are made at once; the others are for `build` to make. All by default.
    """

    def __init__(self, plan: Plan, make: Factory, nodes: Iterable[Node] | None = None) -> None:
        super().__init__()
        self.plan = self.graph = plan
        """`graph` is what is computed; a subclass may let it hold more than `plan`, the network that is deployed."""
        self._parents: dict[str, tuple[nn.Module, str]] = {}
        self._programs: dict[tuple[str, ...], tuple[Step, ...]] = {}
        self.build(plan.nodes if nodes is None else nodes, make)

    def build(self, nodes: Iterable[Node], make: Factory) -> None:
        """Make the modules of some of the graph's nodes, those that need one first."""
        chosen = {node.name: node for node in nodes}
        names = [name for name in self.graph.registered if name in chosen]
        for name in (*names, *(name for name in chosen if name not in set(names))):
            module = make(chosen[name])
            if module is not None:
                self._attach(name, module)
        strides, names = self.graph.strides(), [node for _, node in self.graph.outputs]
        self._pooled = frozenset(name for name in names if strides[name] == 0)
        for wanted in (names[:1], names):  # now: compilers find them there
            self.program(wanted)

    def _attach(self, name: str, module: nn.Module) -> None:
        *path, leaf = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(leaf, module)
        self._parents[name] = parent, leaf

    def module(self, name: str) -> nn.Module | None:
        """Return a node's module, if it has one."""
        if name not in self._parents:
            return None
        parent, leaf = self._parents[name]
        return parent._modules[leaf]

    def program(self, names: Sequence[str]) -> tuple[Step, ...]:
        """Return the nodes to be computed for some values, each with the values that are dropped after it."""
        key = tuple(names)
        if key not in self._programs:
            self._programs[key] = self.graph.last_uses(key)
        return self._programs[key]

    def run(self) -> Run:
        """Return how nodes are computed where nothing is said."""
        return PLAIN

    def values(self, x: Tensor, names: Collection[str], run: Run | None = None) -> dict[str, Tensor]:
        """Return the values of some nodes, by name; nothing is computed that they do not need.

        Every other value is dropped after its last reader.

        Args:
            x: images (N, in_channels, H, W).
            names: of nodes of `graph`.
            run: how nodes are computed; `run()` by default.
        """
        run, names = run or self.run(), tuple(names)
        live: dict[str, Tensor] = {}
        for node, over in self.program(names):
            inputs = [live[name] for name in node.inputs]
            if not inputs:
                live[node.name] = x
            elif node.unit in run.skipped:
                live[node.name] = inputs[0]
            else:
                live[node.name] = run(node, self.module(node.name), inputs)
            del inputs  # it would keep a dropped value until the next node has been computed
            for name in over:
                del live[name]
        return {name: live[name] for name in names}

    def levels(self, x: Tensor, run: Run | None = None) -> dict[int, Tensor]:
        """Return the last feature map at each stride, finest first: what a decoder reads."""
        values = self.values(x, [level.node for level in self.graph.levels], run)
        return {level.stride: values[level.node] for level in self.graph.levels}

    def outputs(self, x: Tensor, run: Run | None = None) -> dict[str, Tensor]:
        """Return all results by name."""
        values = self.values(x, [node for _, node in self.graph.outputs], run)
        return {name: self._result(node, values[node]) for name, node in self.graph.outputs}

    def forward(self, x: Tensor) -> Tensor:
        """Return the headline result of images (N, in_channels, H, W): logits (N, classes), or (N, classes, H, W)."""
        return self.headline(x, self.run())

    def headline(self, x: Tensor, run: Run) -> Tensor:
        """Return the first of the outputs."""
        _, name = self.graph.outputs[0]
        return self._result(name, self.values(x, (name,), run)[name])

    def _result(self, name: str, value: Tensor) -> Tensor:
        """Return a result as callers get it: (N, C) of what was pooled, whatever node computed it last."""
        return value.flatten(1) if name in self._pooled else value
