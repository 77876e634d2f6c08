"""Which operator each layer computes with, as one value: cost, extraction, proof and results take it whole.

Imports no torch: an assignment of settings prices a network, one of operators builds it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import Plan
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.operators.stated import OPERATORS, make_stated, states_layers

T = TypeVar("T", bound=OperatorSettings)

Make = Callable[[Mapping[str, Any]], T]
"""Makes an operator, or its settings, of its name and fields."""

MULT = {"name": "mult"}
LAYER_GROUPS = ("stem", "blocks", "se", "head", "decoder", "classifier")


@dataclass(frozen=True)
class Assignment(Generic[T]):
    """An operator for every layer of a plan."""

    layers: Mapping[str, T]
    """Operators by the name of their layer, in the order of execution."""

    def __getitem__(self, layer: str) -> T:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def operators(self) -> list[T]:
        """The operators in use, each once, in the order of execution."""
        return list(dict.fromkeys(self.layers.values()))

    def multiplication_free(self) -> list[T]:
        """The operators in use that multiply nothing."""
        return [operator for operator in self.operators() if operator.arithmetic.multiplication_free]

    def exempt(self) -> frozenset[str]:
        """Names of the layers that multiply for good."""
        return frozenset(name for name in self.layers if not self[name].arithmetic.multiplication_free)

    def labels(self) -> dict[str, T]:
        """The operators in use by a label: the name, numbered where several of one name differ in their settings."""
        labelled: dict[str, T] = {}
        for operator in self.operators():
            name = operator.name
            same = sum(other.name == name for other in labelled.values())
            labelled[f"{name}.{same + 1}" if same else name] = operator
        return labelled

    def title(self) -> str:
        """Title for people: the names of the operators that multiply nothing, or mult."""
        names = dict.fromkeys(operator.name for operator in self.multiplication_free())
        return "+".join(names) or "mult"

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for json; `assignment_from` reads them."""
        labels = {operator: label for label, operator in self.labels().items()}
        layers: dict[str, list[str]] = {label: [] for label in labels.values()}
        for name, operator in self.layers.items():
            layers[labels[operator]].append(name)
        return {"operators": {label: operator.config() for operator, label in labels.items()}, "layers": layers}


def assigned_settings(
    config: Mapping[str, Any], plan: Plan, catalogue: Catalogue = PACKAGE_ONLY
) -> Assignment[OperatorSettings]:
    """Return the settings of every layer's operator, as a run's configuration says; `nets/build.py` has the operators.

    Raises:
        UserError: as `assigned`.
    """
    return assigned(config, plan, lambda raw: operators.settings_from(raw, catalogue))


def assigned(config: Mapping[str, Any], plan: Plan, make: Make[T]) -> Assignment[T]:
    """Return the operator of every layer, as a run's configuration says.

    The `op` group states one, and `net.mult_layers` which layers multiply in its place. Or it is in the form of
    `Assignment.to_dict`, and states several operators and the layers of each; `net.mult_layers` multiply there, too.

    Args:
        config: of a run, as plain containers.
        plan: of its network.
        make: makes operators.

    Raises:
        UserError: an operator that there is not, layers that the network does not have, or without an operator.
    """
    op, exempt, multiplication = config["op"], list(config["net"]["mult_layers"]), make(MULT)
    made = make_stated(op, make)
    if not states_layers(op):
        return uniform(plan, made["op"], exempt, multiplication)
    multiplied = select_layers(plan, exempt)
    try:
        chosen = _of_layers({key.removeprefix(OPERATORS): each for key, each in made.items()}, op["layers"], plan)
    except UserError as error:
        options = "options: the net and the arch that they were chosen for, or one op for all layers, such as op=add"
        raise UserError(f"op={op['name']}: {error}; {options}") from None
    return Assignment({name: multiplication if name in multiplied else chosen[name] for name in chosen})


def uniform(plan: Plan, operator: T, exempt: Collection[str], multiplication: T) -> Assignment[T]:
    """One operator for all layers but some, which multiply.

    Args:
        plan: of the network.
        operator: of all other layers.
        exempt: groups or names of layers, as `net.mult_layers`.
        multiplication: the operator mult (or its settings).

    Raises:
        UserError: a name that no layer has.
    """
    multiplied = select_layers(plan, exempt)
    return Assignment({n.name: multiplication if n.name in multiplied else operator for n in plan.layers()})


def assignment_from(raw: Mapping[str, Any], plan: Plan, make: Make[T]) -> Assignment[T]:
    """Read what `to_dict` wrote.

    Args:
        raw: the containers.
        plan: of the network.
        make: an operator (or settings), given its name and fields.

    Raises:
        KeyError, TypeError, ValueError: containers that no `to_dict` wrote for this plan. UserError is one of them.
    """
    return _of_layers({label: make(config) for label, config in raw["operators"].items()}, raw["layers"], plan)


def _of_layers(made: Mapping[str, T], labelled: Mapping[str, Sequence[str]], plan: Plan) -> Assignment[T]:
    """Return the operators of a plan's layers.

    Args:
        made: operators by label.
        labelled: names of the layers of each label.
        plan: of the network.

    Raises:
        UserError: layers that are not the plan's, or have not one operator.
    """
    named = [(name, made[label]) for label, names in labelled.items() for name in names]
    chosen, layers = dict(named), [layer.name for layer in plan.layers()]
    unknown = [name for name in chosen if name not in set(layers)]
    if unknown:
        raise UserError(f"its operators are of layers that net={plan.name} does not have: {_first(unknown)}")
    missing = [name for name in layers if name not in chosen]
    if missing:
        raise UserError(f"it has no operator for layers of net={plan.name}: {_first(missing)}")
    if len(named) > len(chosen):
        twice = [name for name in layers if sum(name == each for each, _ in named) > 1]
        raise UserError(f"it has two operators for layers of net={plan.name}: {_first(twice)}")
    return Assignment({name: chosen[name] for name in layers})


def _first(names: Sequence[str], most: int = 3) -> str:
    """Return names in a line, the first ones of many."""
    others = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + others


def select_layers(plan: Plan, names: Collection[str]) -> frozenset[str]:
    """The layers that `net.mult_layers` means: groups (stem, blocks, se, head, decoder, classifier) or layer names.

    Raises:
        UserError: a name that is neither.
    """
    layers = plan.layers()
    selected = set()
    for name in names:
        found = {layer.name for layer in layers if name in (layer.group, layer.name, layer.name.removesuffix(".conv"))}
        if not found and name not in LAYER_GROUPS:
            raise UserError(
                f"net.mult_layers={name}: no such layer in net={plan.name}; options: {', '.join(LAYER_GROUPS)}, "
                f"or a layer's name such as {layers[len(layers) // 2].name}"
            )
        selected |= found
    return frozenset(selected)
