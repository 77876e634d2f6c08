"""Settings of the method that have no effect in a run, and why: a table of rules. Imports no torch.

A rule speaks of some keys, and looks at the checked settings. Facts are stated where they belong: an operator says
which of its fields do nothing (`operators/settings.py`), sharing what kind it is (`hybrid/settings.py`), the plan which
channels are wider. `no_effect_aug.py` has the rules on what surrounds the target, `no_effect_training.py` those on how
a run is trained. Callbacks are asked when there is a network (`callbacks/order.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.tables import keeps_size
from shiftaddaug.operators.mult.settings import MultSettings
from shiftaddaug.operators.settings import OperatorSettings, WeightPrior
from shiftaddaug.runs.no_effect_aug import AUGMENTATION, no_slots, nothing_is_wider, warn_of_rounded_multipliers
from shiftaddaug.runs.no_effect_training import TRAINING, data_rules
from shiftaddaug.runs.rules import Checked, Rule, stated_rules, warn_of_no_effect
from shiftaddaug.tasks.optim_settings import optimizer_facts, undoes_scale

_OF_TURNS = tuple(f"callbacks.block_variant.{key}" for key in ("order", "granularity", "blend"))


def warn_of_settings(checked: Checked, typed: Sequence[str]) -> None:
    """Log a line for each setting that has no effect, and for multipliers that are rounded away.

    Args:
        checked: settings of the run.
        typed: what the user typed.
    """
    warn_of_no_effect(checked, typed, all_rules(checked))
    warn_of_rounded_multipliers(checked)


def _no_choice_of_layers(checked: Checked) -> str | None:
    names = checked.config["net"]["mult_layers"]
    if checked.operates and checked.only_multiplies:
        return f"op={checked.op} multiplies in every layer"
    none = bool(names) and not select_layers(checked.plan, names)
    return f"net={checked.plan.name} has no such layers" if none else None


def _other_mult_layers(checked: Checked) -> str | None:
    return None if checked.reads("net", "op.mult_layers") else "net.mult_layers says otherwise"


def _stem_keeps_size(checked: Checked) -> str | None:
    small = keeps_size(checked.config["net"], checked.plan.image_size)
    return "net.stem_stride=auto lets small images keep their size in the stem" if small else None


def _stem_stride_is_given(checked: Checked) -> str | None:
    stride = checked.config["net"].get("stem_stride", "auto")
    return _stem_keeps_size(checked) if stride == "auto" else f"net.stem_stride={stride} takes its place"


def _strides_less(checked: Checked) -> str | None:
    wanted, strides = checked.config["net"].get("output_stride"), checked.plan.total_stride
    return f"the strides of net={checked.plan.name} multiply to {strides} only" if wanted and strides < wanted else None


def _operator_is_nowhere(checked: Checked) -> str | None:
    nowhere = checked.only_multiplies and not checked.operates
    free = any(operator.arithmetic.multiplication_free for operator in checked.stated.values())
    return "net.mult_layers leaves no layer to it" if nowhere and free else None


def _nothing_to_sort(checked: Checked) -> str | None:
    return nothing_is_wider(checked) if checked.config["callbacks"].get("reorder") else None


def _nothing_turns_in_training(checked: Checked) -> str | None:
    turning = checked.config["callbacks"].get("block_variant")
    ended = turning and checked.operates and turning.get("end") == 0
    return "callbacks.block_variant.end=0 has all layers turn before the first step" if ended else None


def _nothing_to_share(checked: Checked) -> str | None:
    if checked.sharing.remaps:
        remaps = any(operator.remap is not None for operator in checked.stated.values())
        return _operator_is_nowhere(checked) if remaps else f"op={checked.op} has no remap"
    if checked.sharing.learns:
        turns = any(operator.turns for operator in checked.stated.values())
        return _operator_is_nowhere(checked) if turns else f"op={checked.op} reads its weights as they are stored"
    if not checked.sharing.penalises:
        return None
    priors = _priors(checked)
    if not priors - {None}:
        return f"op={checked.op} says nothing that its weights are pulled to"
    own = {operator.weight_prior for operator in checked.stated.values()}
    if own == {"normal"} and checked.config["sharing"]["normal_std"] is None:
        return f"sharing.normal_std=null and op={checked.op} is pulled to it"
    return None


def _priors(checked: Checked) -> set[WeightPrior | None]:
    """Distributions that a penalty pulls layers to (`tasks/training.py`), those that multiply for a while, too."""
    pulled = [layer.name for layer in checked.plan.layers() if layer.group in ("blocks", "head", "decoder")]
    turning = checked.config["callbacks"].get("block_variant")
    first = {MultSettings.weight_prior} if turning else set()
    return {checked.assignment[name].weight_prior for name in pulled} | first


def _no_laplace(checked: Checked) -> str | None:
    pulled = "laplace" in _priors(checked)
    return None if pulled or not checked.sharing.penalises else "no layer is pulled to a Laplace distribution"


def _no_normal(checked: Checked) -> str | None:
    pulled = "normal" in _priors(checked)
    return None if pulled or not checked.sharing.penalises else "no layer is pulled to a normal distribution"


def _no_penalty(checked: Checked) -> str | None:
    return "sharing.weight=0" if checked.sharing.penalises and not checked.config["sharing"]["weight"] else None


def _another_remap(checked: Checked) -> str | None:
    sharing = checked.config["sharing"]
    if not checked.sharing.remaps:
        otherwise = "through factors that it trains" if checked.sharing.converts else "as they are stored"
        return f"sharing={sharing['name']} reads weights {otherwise}"
    return "sharing.remap_file holds these constants" if sharing.get("remap_file") is not None else None


def _ratio_is_not_kept(checked: Checked) -> str | None:
    """`nets/stored_scale.py` says when the scale is free."""
    config, remaps = checked.config, [operator.remap for operator in checked.stated.values()]
    if not checked.sharing.remaps:
        return None
    if not config["callbacks"].get("reorder"):
        return "reorder=none sorts nothing by it"
    free = any(remap is not None and remap.scale_free for remap in remaps)
    if config["sharing"].get("remap_file") is None and not free:
        return f"the stored scale means something to op={checked.op}"
    if config["sharing"].get("gradient") == "chain":
        return "sharing.gradient=chain lets it mean something"
    if config["aug"]["operator"] == "same":
        return "aug.operator=same multiplies nothing"
    optimizer = config["optim"]["optimizer"]
    facts = optimizer_facts(optimizer)
    return _own_scale(optimizer) if facts is not None and facts.own_scale else None


def _gradients_scale_is_undone(checked: Checked) -> str | None:
    optimizer = checked.config["optim"]["optimizer"]
    return _own_scale(optimizer) if undoes_scale(optimizer) else None


def _own_scale(optimizer: Mapping[str, Any]) -> str:
    return f"the steps of {optimizer.get('opt', optimizer['_target_'])} have a scale of their own"


def _operator_rules(key: str, operator: OperatorSettings) -> Iterator[Rule]:
    """Yield the rules that an operator states, of the keys below that under which it stands."""
    yield from stated_rules(key, operator.without_effect)
    yield Rule(tuple(f"{key}.{name}" for name in operator.scales_gradient), _gradients_scale_is_undone)

    def r_says(checked: Checked) -> str | None:
        sharing = checked.config["sharing"]
        if checked.learns(operator) and sharing["start"] == "normal":
            return "sharing.start=normal draws the factors of all weights alike"
        if not checked.remaps(operator):
            return None
        what = f"{key}.remap.laplace_scale" if sharing.get("remap_file") is None else "the remap file"
        return f"with sharing={sharing['name']} {what} says how large weights are"

    def stored_for_r(checked: Checked) -> str | None:
        name, converted = checked.config["sharing"]["name"], checked.remaps(operator) or checked.learns(operator)
        return f"sharing={name} stores weights in Gaussian form" if converted else None

    yield Rule(tuple(f"{key}.{name}" for name in operator.replaced_by_remap), r_says)
    yield Rule(tuple(f"{key}.{name}" for name in operator.without_remap), stored_for_r)
    yield Rule((f"{key}.remap",), _another_remap)


RULES = (
    *AUGMENTATION,
    Rule(("net.mult_layers",), _no_choice_of_layers),
    Rule(("op.mult_layers",), _other_mult_layers),
    Rule(("net.stem.stride",), _stem_stride_is_given),
    Rule(("net.stem.pool",), _stem_keeps_size),
    Rule(("net.output_stride",), _strides_less),
    Rule(("op",), _operator_is_nowhere, typed=False, but=("op.mult_layers",)),
    Rule(("callbacks.reorder", "reorder"), _nothing_to_sort, typed=False),
    Rule(("callbacks.block_variant", "block_variant"), _nothing_turns_in_training, typed=False),
    Rule(_OF_TURNS, no_slots("callbacks.block_variant.start", "callbacks.block_variant.end")),
    Rule(("sharing",), _nothing_to_share, typed=False),
    Rule(("sharing.laplace_scale", "sharing.normal_std", "sharing.seed"), _no_penalty),
    Rule(("sharing.laplace_scale",), _no_laplace),
    Rule(("sharing.normal_std",), _no_normal),
    Rule(("sharing.stored_ratio",), _ratio_is_not_kept),
    Rule(("op.remap",), _another_remap),
    *TRAINING,
)
"""The table; what operator, architecture, task and data of a run state comes on top."""


def all_rules(checked: Checked) -> Iterator[Rule]:
    """Yield the table, and the rules that operator, architecture, task and data of a run state."""
    yield from RULES
    for key, operator in checked.stated.items():
        yield from _operator_rules(key, operator)
    yield from stated_rules("net", _of_arch(checked))
    yield from stated_rules("task", checked.task.without_effect())
    yield from data_rules(checked)


def _of_arch(checked: Checked) -> dict[str, str]:
    """Keys of the net's table that the architecture does not read, and why."""
    arch = checked.arch
    return {key: f"arch={arch.name} {reason}" for key, reason in arch.without_effect.items()}
