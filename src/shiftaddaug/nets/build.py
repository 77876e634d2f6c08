"""The way from configuration to networks: one place where a net, an operator and an augmentation meet."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shiftaddaug import operators
from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing, sharing_from_config
from shiftaddaug.nets.assignment import Assignment, assigned, uniform
from shiftaddaug.nets.extras import plan_extra_blocks
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plain import plain_factory
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import Widening
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.surroundings import Channels, choices
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult


def assign(plan: Plan, operator: Operator, mult_layers: Collection[str] = ()) -> Assignment[Operator]:
    """The operator of every layer but those of `mult_layers` (groups or names), which multiply.

    Raises:
        UserError: a name in `mult_layers` that no layer has.
    """
    return uniform(plan, operator, mult_layers, Mult())


def assigned_operators(
    config: Mapping[str, Any], plan: Plan, catalogue: Catalogue = PACKAGE_ONLY
) -> Assignment[Operator]:
    """Return the operator of every layer, as a run's configuration says: `assigned_settings` with what computes.

    Raises:
        UserError: as `assigned`.
    """
    return assigned(config, plan, lambda raw: operators.from_config(raw, catalogue))


def build_supernet(
    plan: Plan,
    assignment: Assignment[Operator],
    width_multipliers: Sequence[float] = (1.0,),
    expand_multipliers: Sequence[float] = (1.0,),
    divisor: int = 8,
    extra_blocks: int | Mapping[str, int] = 0,
    extra_after: Sequence[str] | None = None,
    sharing: NetSharing = PLAIN,
    synchronised_norm: bool = False,
    kernel_transform: bool = False,
    init_widest: bool = False,
    channels: Channels | None = None,
    alternatives: Mapping[str, Operator] | None = None,
) -> Supernet:
    """The network that is trained; with multipliers (1,) and no extra block it is the target and nothing else.

    `channels` are widths that spaces are drawn from, in place of multipliers.

    Raises:
        UserError: augmentation of an operator that cannot be augmented; extra blocks where the net has no place for
            them; alternatives (of `Supernet`) that a layer's weight is not enough for.
    """
    extras, chosen = plan_extra_blocks(plan, extra_blocks, extra_after), choices(channels or {}, plan)
    widening = Widening(plan, tuple(width_multipliers), tuple(expand_multipliers), divisor, extras, chosen)
    return Supernet(widening, assignment, sharing, synchronised_norm, kernel_transform, init_widest, alternatives)


def supernet_from_config(config: Mapping[str, Any], plan: Plan, assignment: Assignment[Operator]) -> Supernet:
    """The supernet of a run, by its composed configuration: what `aug`, `sharing` and `trainer.sync_batchnorm` say.

    Raises:
        UserError: as `build_supernet`; an option that is none.
    """
    aug = config["aug"]
    return build_supernet(
        plan,
        assignment,
        aug["width_multipliers"],
        aug["expand_multipliers"],
        aug["divisor"],
        aug["extra_blocks"],
        aug["extra_after"],
        sharing_from_config(config["sharing"], aug["operator"] == "mult"),
        config["trainer"].get("sync_batchnorm", False),  # older checkpoints have no such key, nor the next
        kernel_transform=config.get("supernet", {}).get("kernel_transform", False),  # of an architecture search
        init_widest=aug.get("init", "target") == "widest",
        channels=aug.get("channels"),
    )


def build_plain(plan: Plan, assignment: Assignment[Operator]) -> Net:
    """The deployable network, its weights not yet set."""
    return Net(plan, plain_factory(plan, assignment))
