"""What has no effect in a run, and why: one table of rules, one loop. Imports no torch.

A rule speaks of some keys, and looks at the checked settings. Facts are stated where they belong: an operator says
which of its fields do nothing (`operators/settings.py`), sharing what kind it is (`hybrid/settings.py`), data which
keys their files replace (`data/checks.py`), an optimiser what its steps are like (`tasks/optim_settings.py`).
Callbacks are asked when there is a network (`callbacks/order.py`).
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from shiftaddaug.data.checks import holds_validation, without_effect
from shiftaddaug.hybrid.settings import SharingSettings
from shiftaddaug.nets.arch import ArchSettings
from shiftaddaug.nets.settings import AugSettings
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.settings import shown
from shiftaddaug.tasks.optim_settings import OBEYED_BY, obeys, optimizer_facts
from shiftaddaug.tasks.settings import TaskSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """Settings of a run that have passed their checks: what a rule looks at."""

    config: Mapping[str, Any]
    """Plain containers, interpolations resolved."""
    written: Mapping[str, Any]
    """Plain containers, interpolations as they are written."""
    operator: OperatorSettings
    sharing: SharingSettings
    arch: ArchSettings
    task: TaskSettings

    def widest(self, kind: str) -> float:
        """Return the largest multiplier of a kind of augmentation, width or expand."""
        return float(max(self.config["aug"][f"{kind}_multipliers"]))

    @property
    def widened(self) -> bool:
        """Whether anything is wider than the target."""
        return max(self.widest("width"), self.widest("expand")) > 1

    @property
    def augmented(self) -> bool:
        """Whether anything surrounds the target."""
        return self.widened or bool(self.config["aug"]["extra_blocks"])

    @property
    def remapped(self) -> bool:
        """Whether weights are read through R."""
        return self.sharing.remaps and self.operator.remap is not None


Reason = Callable[[Checked], str | None]
"""Why keys have no effect, in words that follow "no effect, because"; None where they have one."""


@dataclass(frozen=True)
class Rule:
    """When some keys have no effect."""

    keys: tuple[str, ...]
    """Dotted keys; each stands for all that are below it, too."""
    reason: Reason
    typed: bool = True
    """Whether to speak only to whom has typed one of the keys. Else whoever gets the setting did not mean it so."""


def warn_of_no_effect(checked: Checked, overrides: Sequence[str], rules: Sequence[Rule] | None = None) -> None:
    """Log a line for each rule that applies; an override is spoken of once, by the first one.

    Args:
        checked: settings of the run.
        overrides: what the user typed.
        rules: in order; by default all that there are.
    """
    told: set[str] = set()
    for rule in all_rules(checked) if rules is None else rules:
        reason = rule.reason(checked)
        typed = typed_of(rule.keys, overrides)
        new = [override for override in typed if override not in told]
        if reason is not None and (new or not (rule.typed or typed)):
            say_no_effect(reason, new or [_stated(checked.config, rule.keys[0])])
            told.update(new)


def say_no_effect(reason: str, settings: Collection[str]) -> None:
    """Log that some settings have no effect, and why."""
    log.warning("no effect, because %s: %s", reason, ", ".join(settings))


def typed_of(keys: Collection[str], overrides: Sequence[str]) -> list[str]:
    """Return the overrides that set one of the keys, or something below it."""
    return [override for override in overrides if _is_below(_key_of(override), keys)]


def _key_of(override: str) -> str:
    return override.lstrip("+~").split("=")[0].split("@")[0].replace("/", ".")


def _is_below(key: str, keys: Collection[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in keys)


def _stated(config: Mapping[str, Any], key: str) -> str:
    """Return a key as one would type it: with its value, or the name of what was chosen."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    if isinstance(value, Mapping):
        return f"{key}={value['name']}" if "name" in value else key
    return f"{key}={shown(value)}"


_MAKES_AUGMENTATION = ("name", "width_multipliers", "expand_multipliers", "extra_blocks")
_OF_EXTRA_BLOCKS = ("aug.retire_start", "aug.retire_end", "aug.retire_fade", "aug.extra_after", "aug.depth_until")
_OF_VALIDATION = ("trainer.val_check_interval", "trainer.check_val_every_n_epoch", "trainer.limit_val_batches")
_OF_AUGMENTATION = tuple(f"aug.{field.name}" for field in fields(AugSettings) if field.name not in _MAKES_AUGMENTATION)


def _nothing_surrounds(checked: Checked) -> str | None:
    return None if checked.augmented else f"aug={checked.config['aug']['name']} widens nothing"


def _no_augmented_pass(checked: Checked) -> str | None:
    aug = checked.config["aug"]
    return f"aug={aug['name']} has no augmented pass" if aug["distill_weight"] and not checked.augmented else None


def _no_extra_blocks(checked: Checked) -> str | None:
    return None if checked.config["aug"]["extra_blocks"] else "aug.extra_blocks=0"


def _nothing_is_distilled(checked: Checked) -> str | None:
    return None if checked.config["aug"]["distill_weight"] else "aug.distill_weight=0"


def _nothing_of_it_is_learnt(checked: Checked) -> str | None:
    aug, callbacks = checked.config["aug"], checked.config["callbacks"]
    if not checked.augmented:
        return None
    if "sample_subnets" in callbacks and not callbacks["sample_subnets"]:
        return "callbacks.sample_subnets=null trains the target alone"
    if not aug["weight"] and not aug["distill_weight"]:
        return "aug.weight=0 leaves the augmented pass, which is computed, out of the loss"
    return None


def _widens_nothing(kind: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        return None if checked.widest(kind) > 1 else f"aug.{kind}_multipliers widen nothing"

    return reason


def _nothing_to_sort(checked: Checked) -> str | None:
    sorts = checked.config["callbacks"].get("reorder")
    return f"aug={checked.config['aug']['name']} widens nothing" if sorts and not checked.widened else None


def _nothing_to_share(checked: Checked) -> str | None:
    operator, op = checked.operator, checked.config["op"]["name"]
    if checked.sharing.remaps and operator.remap is None:
        return f"op={op} has no remap"
    if not checked.sharing.penalises:
        return None
    if operator.weight_prior is None and not _multiplies_somewhere(checked):
        return f"op={op} says nothing that its weights are pulled to"
    if operator.weight_prior == "normal" and checked.config["sharing"]["normal_std"] is None:
        return f"sharing.normal_std=null and op={op} is pulled to it"
    return None


def _multiplies_somewhere(checked: Checked) -> bool:
    """Whether layers of blocks, head or decoder multiply, for a while or for ever: they have a prior of their own."""
    exempt = set(checked.config["net"]["mult_layers"]) - {"stem", "classifier"}
    return bool(exempt or checked.config["callbacks"].get("block_variant"))


def _no_penalty(checked: Checked) -> str | None:
    return "sharing.weight=0" if checked.sharing.penalises and not checked.config["sharing"]["weight"] else None


def _another_remap(checked: Checked) -> str | None:
    sharing = checked.config["sharing"]
    if not checked.sharing.remaps:
        return f"sharing={sharing['name']} reads weights as they are stored"
    return "sharing.remap_file holds these constants" if sharing.get("remap_file") is not None else None


def _ratio_is_not_kept(checked: Checked) -> str | None:
    """`nets/stored_scale.py` says when the scale is free."""
    config, remap = checked.config, checked.operator.remap
    if not checked.sharing.remaps:
        return None
    if not config["callbacks"].get("reorder"):
        return "reorder=none sorts nothing by it"
    if config["sharing"].get("remap_file") is None and (remap is None or not remap.scale_free):
        return f"the stored scale means something to op={config['op']['name']}"
    if config["sharing"].get("gradient") == "chain":
        return "sharing.gradient=chain lets it mean something"
    if config["aug"]["operator"] == "same":
        return "aug.operator=same multiplies nothing"
    optimizer = config["optim"]["optimizer"]
    facts = optimizer_facts(optimizer)
    if facts is not None and facts.own_scale:
        return f"the steps of {optimizer.get('opt', optimizer['_target_'])} have a scale of their own"
    return None


def _not_obeyed(key: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        scheduler = checked.written["optim"]["scheduler"]
        name = str(scheduler["_target_"]).rpartition(".")[2]
        return None if obeys(scheduler, key) else f"the schedule {name} does not use it"

    return reason


def _nothing_is_clipped(checked: Checked) -> str | None:
    clips = checked.config["trainer"].get("gradient_clip_val") is not None
    return None if clips else "trainer.gradient_clip_val=null clips nothing"


def _one_process(checked: Checked) -> str | None:
    trainer = checked.config["trainer"]
    alone = trainer.get("devices") == 1 and trainer.get("num_nodes", 1) == 1
    return "trainer.devices=1 is one process" if alone and trainer.get("sync_batchnorm") else None


def _nothing_is_validated(checked: Checked) -> str | None:
    return None if holds_validation(checked.config["data"]) else "data.val_fraction=0 leaves nothing to validate"


RULES = (
    Rule(("aug.distill_weight",), _no_augmented_pass, typed=False),
    Rule(("aug",), _nothing_of_it_is_learnt, typed=False),
    Rule(_OF_AUGMENTATION, _nothing_surrounds),
    Rule(("aug.distill_temperature",), _nothing_is_distilled),
    Rule(_OF_EXTRA_BLOCKS, _no_extra_blocks),
    Rule(("aug.width_until",), _widens_nothing("width")),
    Rule(("aug.expand_until",), _widens_nothing("expand")),
    Rule(("callbacks.reorder", "reorder"), _nothing_to_sort, typed=False),
    Rule(("sharing",), _nothing_to_share, typed=False),
    Rule(("sharing.laplace_scale", "sharing.normal_std", "sharing.seed"), _no_penalty),
    Rule(("sharing.stored_ratio",), _ratio_is_not_kept),
    Rule(("op.remap",), _another_remap),
    *(Rule((key,), _not_obeyed(key)) for key in OBEYED_BY),
    Rule(("trainer.gradient_clip_algorithm",), _nothing_is_clipped),
    Rule(("trainer.sync_batchnorm",), _one_process),
    Rule(_OF_VALIDATION, _nothing_is_validated),
)
"""The table; what operator, architecture, task and data of a run state comes on top."""


def all_rules(checked: Checked) -> tuple[Rule, ...]:
    """Return the table, and the rules that operator, architecture, task and data of a run state."""
    operator = checked.operator
    replaced = tuple(f"op.{key}" for key in operator.replaced_by_remap)
    of_stored = tuple(f"op.{key}" for key in operator.without_remap)
    return (
        *RULES,
        *stated_rules("op", operator.without_effect),
        *stated_rules("net", _of_arch(checked)),
        Rule(replaced, _r_says),
        Rule(of_stored, _stored_for_r),
        *stated_rules("task", checked.task.without_effect()),
        *stated_rules("data", without_effect(checked.config["data"])),
    )


def _of_arch(checked: Checked) -> dict[str, str]:
    """Keys of the net's table that the architecture does not read, and why."""
    arch = checked.arch
    return {key: f"arch={arch.name} {reason}" for key, reason in arch.without_effect.items()}


def stated_rules(group: str, reasons: Mapping[str, str]) -> list[Rule]:
    """Return rules of a group's keys, from what the owner of the group states: why each has no effect."""
    return [
        Rule(tuple(f"{group}.{key}" for key, each in reasons.items() if each == reason), _known(reason))
        for reason in dict.fromkeys(reasons.values())
    ]


def _known(reason: str) -> Reason:
    return lambda checked: reason


def _stored_for_r(checked: Checked) -> str | None:
    name = checked.config["sharing"]["name"]
    return f"sharing={name} stores weights in Gaussian form" if checked.remapped else None


def _r_says(checked: Checked) -> str | None:
    sharing = checked.config["sharing"]
    if not checked.remapped:
        return None
    what = "op.remap.laplace_scale" if sharing.get("remap_file") is None else "the remap file"
    return f"with sharing={sharing['name']} {what} says how large weights are"
