"""From configuration to networks: one place where a net, an operator and an augmentation meet."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shiftaddaug.hybrid.sharing import PLAIN, Sharing, sharing_from_config
from shiftaddaug.nets.cost import NetCost, count_operations, net_cost, select_layers
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plain import OperatorOf, plain_factory
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult


def operator_chooser(operator: Operator, mult_layers: Collection[str]) -> OperatorOf:
    """The operator of a layer by its name: `operator`, but multiplication for `mult_layers`."""
    multiplication = Mult()
    return lambda name: multiplication if name in mult_layers else operator


def build_supernet(
    plan: Plan,
    operator: Operator,
    mult_layers: Collection[str] = (),
    width_multipliers: Sequence[float] = (1.0,),
    expand_multipliers: Sequence[float] = (1.0,),
    divisor: int = 8,
    extra_blocks: int = 0,
    extra_after: Sequence[str] | None = None,
    sharing: Sharing = PLAIN,
    synchronised_norm: bool = False,
) -> Supernet:
    """The network that is trained; with multipliers (1,) and no extra block it is the target and nothing else.

    Raises:
        UserError: augmentation of an operator that cannot be augmented; a name in `mult_layers` no layer has; extra
            blocks where the net has no place for them.
    """
    extras = plan_extra_blocks(plan, extra_blocks, extra_after)
    widening = Widening(plan, tuple(width_multipliers), tuple(expand_multipliers), divisor, extras)
    operator_of = operator_chooser(operator, select_layers(plan, mult_layers))
    return Supernet(widening, operator_of, sharing, synchronised_norm)


def supernet_from_config(config: Mapping[str, Any], plan: Plan, operator: Operator) -> Supernet:
    """The supernet of a run, by its composed configuration: what `net.mult_layers`, `aug`, `sharing` and
    `trainer.sync_batchnorm` say.

    Raises:
        UserError: as `build_supernet`; a remap that cannot be.
    """
    aug = config["aug"]
    return build_supernet(
        plan,
        operator,
        config["net"]["mult_layers"],
        aug["width_multipliers"],
        aug["expand_multipliers"],
        aug["divisor"],
        aug["extra_blocks"],
        aug["extra_after"],
        sharing_from_config(config["sharing"], operator, aug["operator"] == "mult"),
        config["trainer"].get("sync_batchnorm", False),  # older checkpoints have no such key
    )


def target_cost(plan: Plan, operator: Operator, mult_layers: Collection[str]) -> NetCost:
    """Params and MACs of the deployed network, and the share of its MACs that is multiplication-free."""
    return net_cost(plan, select_layers(plan, mult_layers), operator.multiplication_free)


def target_operations(plan: Plan, operator: Operator, mult_layers: Collection[str]) -> dict[str, int]:
    """Operations of one inference of the deployed network by kind, for its MACs."""
    chosen = operator_chooser(operator, select_layers(plan, mult_layers))
    return count_operations(plan, lambda name: chosen(name).arithmetic)


def build_plain(plan: Plan, operator: Operator, mult_layers: Collection[str]) -> Net:
    """The deployable network, its weights not yet set."""
    return Net(plan, plain_factory(plan, operator_chooser(operator, select_layers(plan, mult_layers))))


def plain_state(supernet: Supernet) -> Mapping[str, Any]:
    """State dict of the target as `build_plain` builds it: slices of the supernet's weights, made operator-ready."""
    state, operator_weights = {}, supernet.operator_weights()
    for node in supernet.plan.nodes:
        module: Any = supernet.module(node.name)
        if hasattr(module, "target_state"):
            known = {"operator_weight": operator_weights[node.name]} if node.name in operator_weights else {}
            state.update({f"{node.name}.{key}": value for key, value in module.target_state(**known).items()})
    return state
