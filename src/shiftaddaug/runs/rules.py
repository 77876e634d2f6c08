"""What a rule on settings without effect is, and the loop that applies the table of them (`no_effect.py`)."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftaddaug.hybrid.settings import SharingSettings
from shiftaddaug.nets.arch import ArchSettings
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.spec import Widening
from shiftaddaug.operators.mult.settings import MultSettings
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.settings import shown
from shiftaddaug.tasks.settings import TaskSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """Settings of a run that have passed their checks: what a rule looks at."""

    config: Mapping[str, Any]
    """Plain containers, interpolations resolved."""
    written: Mapping[str, Any]
    """Plain containers, interpolations as they are written."""
    stated: Mapping[str, OperatorSettings]
    """The operators that the `op` group states, by the key under which each stands: `op`, if it is one."""
    assignment: Assignment[OperatorSettings]
    """The operators of the target's layers."""
    sharing: SharingSettings

    widening: Widening
    """How far the target's plan is widened and deepened."""
    arch: ArchSettings
    task: TaskSettings

    @property
    def plan(self) -> Plan:
        """The target's."""
        return self.widening.plan

    @property
    def widened(self) -> bool:
        """Whether anything is wider than the target."""
        return self.widening.widens()

    @property
    def augmented(self) -> bool:
        """Whether anything surrounds the target."""
        return self.widened or bool(self.widening.extra_blocks)

    @property
    def op(self) -> str:
        """Name of the `op` group that was chosen, for messages."""
        return str(self.config["op"]["name"])

    @property
    def operates(self) -> bool:
        """Whether any layer computes with an operator that is stated."""
        return any(operator in self.stated.values() for operator in self.assignment.operators())

    @property
    def only_multiplies(self) -> bool:
        """Whether all layers of the target multiply for good, by what is stated or by `net.mult_layers`."""
        return self.assignment.operators() == [MultSettings()]

    def reads(self, group: str, key: str) -> bool:
        """Whether a group is interpolated from a key, as its yaml is written."""
        return f"${{{key}}}" in str(self.written[group])

    @property
    def remapped(self) -> bool:
        """Whether weights are read through R, of any layer."""
        return any(map(self.remaps, self.stated.values()))

    def remaps(self, operator: OperatorSettings) -> bool:
        """Whether weights are read through R in layers of an operator, and there are any."""
        return self.sharing.remaps and operator.remap is not None and operator in self.assignment.operators()

    def learns(self, operator: OperatorSettings) -> bool:
        """Whether layers of an operator train what they read weights through, and there are any."""
        return self.sharing.learns and operator.turns and operator in self.assignment.operators()


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
    but: tuple[str, ...] = ()
    """Keys below `keys` that it does not speak of."""


def warn_of_no_effect(checked: Checked, overrides: Sequence[str], rules: Iterable[Rule]) -> None:
    """Log a line for each rule that applies; an override is spoken of once, by the first one.

    Args:
        checked: settings of the run.
        overrides: what the user typed.
        rules: in order.
    """
    told: set[str] = set()
    for rule in rules:
        reason = rule.reason(checked)
        spared = typed_of(rule.but, overrides)
        typed = [override for override in typed_of(rule.keys, overrides) if override not in spared]
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


def stated_rules(group: str, reasons: Mapping[str, str]) -> list[Rule]:
    """Return rules of a group's keys, from what the owner of the group states: why each has no effect."""
    return [
        Rule(tuple(f"{group}.{key}" for key, each in reasons.items() if each == reason), always(reason))
        for reason in dict.fromkeys(reasons.values())
    ]


def always(reason: str) -> Reason:
    """Return a reason that holds whatever the settings."""
    return lambda checked: reason
