"""Settings without effect of what surrounds the target. Imports no torch."""

from dataclasses import fields, replace
from typing import Any

from shiftaddaug.nets.settings import AugSettings
from shiftaddaug.runs.rules import Checked, Reason, Rule, say_no_effect
from shiftaddaug.settings import shown

_MAKES_AUGMENTATION = ("name", "width_multipliers", "expand_multipliers", "channels", "extra_blocks", "divisor")
_OF_AUGMENTATION = tuple(f"aug.{field.name}" for field in fields(AugSettings) if field.name not in _MAKES_AUGMENTATION)
_OF_EXTRA_BLOCKS = ("aug.retire_start", "aug.retire_end", "aug.retire_fade", "aug.extra_after", "aug.depth_until")
_STOPS_IT = ("aug.weight", "aug.distill_weight", "aug.width_until", "aug.expand_until", "aug.depth_until")
KINDS = ("width", "expand")


def warn_of_rounded_multipliers(checked: Checked) -> None:
    """Name multipliers above 1 that leave all channels as many as the target has."""
    for kind in KINDS:
        multipliers = [each for each in checked.config["aug"][f"{kind}_multipliers"] if each > 1]
        lost = [each for each in multipliers if not _is_wider(checked, kind, each)]
        if lost:
            divisor, key = checked.config["aug"]["divisor"], f"aug.{kind}_multipliers"
            everything = f"{key}={shown(checked.config['aug'][f'{kind}_multipliers'])}"
            some = f"{', '.join(map(shown, lost))} of {key}"
            say_no_effect(_why_no_wider(checked, kind, divisor), [some if len(lost) < len(multipliers) else everything])


def _why_no_wider(checked: Checked, kind: str, divisor: int) -> str:
    of_kind = "hidden" if kind == "expand" else "width"
    if not any(space.kind == of_kind for space in checked.widening.spaces):
        return f"net={checked.plan.name} has no channels of that kind"
    return f"aug.divisor={divisor} rounds these widths to the target's own"


def _is_wider(checked: Checked, kind: str, multiplier: float) -> bool:
    alone: dict[str, Any] = dict.fromkeys((f"{each}_multipliers" for each in KINDS), (1.0,))
    return replace(checked.widening, **alone | {f"{kind}_multipliers": (multiplier,)}).widens()


def _nothing_surrounds(checked: Checked) -> str | None:
    return None if checked.augmented else f"aug={checked.config['aug']['name']} widens nothing"


def nothing_is_wider(checked: Checked) -> str | None:
    """Return that nothing is wider than the target, if so."""
    return None if checked.widened else f"aug={checked.config['aug']['name']} widens nothing"


def _nothing_to_round(checked: Checked) -> str | None:
    widest = max(max(checked.config["aug"][f"{kind}_multipliers"]) for kind in KINDS)
    if checked.widening.choices:
        return "aug.channels says the widths themselves"
    return None if widest > 1 else f"aug={checked.config['aug']['name']} widens nothing"


def _no_augmented_pass(checked: Checked) -> str | None:
    aug = checked.config["aug"]
    return f"aug={aug['name']} has no augmented pass" if aug["distill_weight"] and not checked.augmented else None


def _no_extra_blocks(checked: Checked) -> str | None:
    return None if checked.config["aug"]["extra_blocks"] else "aug.extra_blocks=0"


def no_slots(start: str, end: str) -> Reason:
    """Return the reason for which nothing goes or turns little by little: two keys that are the same."""

    def reason(checked: Checked) -> str | None:
        first, last = (_value(checked, key) for key in (start, end))
        return f"{start} and {end} are both {first}" if first is not None and first == last else None

    return reason


def _value(checked: Checked, key: str) -> Any:
    node: Any = checked.config
    for part in key.split("."):
        node = node.get(part) if node else None
    return node


def _nothing_is_distilled(checked: Checked) -> str | None:
    return None if checked.config["aug"]["distill_weight"] else "aug.distill_weight=0"


def _nothing_of_it_is_learnt(checked: Checked) -> str | None:
    learnt = not checked.augmented or _extras_in_target(checked)
    return None if learnt else _no_pass_is_learnt(checked)


def _only_extra_blocks_are_learnt(checked: Checked) -> str | None:
    return _no_pass_is_learnt(checked) if checked.widened and _extras_in_target(checked) else None


def _extras_in_target(checked: Checked) -> bool:
    """Whether extra blocks are a part of the target for a while, and so are learnt with it."""
    retirement = checked.config["callbacks"].get("retire_depth")
    return bool(checked.config["aug"]["extra_blocks"] and retirement and retirement.get("end", 1))


def _no_pass_is_learnt(checked: Checked) -> str | None:
    aug, callbacks = checked.config["aug"], checked.config["callbacks"]
    if "sample_subnets" in callbacks and not callbacks["sample_subnets"]:
        return "callbacks.sample_subnets=null trains the target alone"
    if not aug["weight"] and not aug["distill_weight"]:
        return "aug.weight=0 leaves the augmented pass, which is computed, out of the loss"
    kinds = [kind for kind in KINDS if _is_wide(checked, kind)] + ["depth"] * bool(aug["extra_blocks"])
    if not kinds or any(_until(checked, kind) for kind in kinds):
        return None
    return f"it stops before it begins ({', '.join(f'aug.{kind}_until=0' for kind in kinds)})"


def _is_wide(checked: Checked, kind: str) -> bool:
    return checked.widening.widens(kind == "width", kind == "expand")


def _until(checked: Checked, kind: str) -> float:
    """Share of the epochs after which the callback stops a kind."""
    sampler = checked.config["callbacks"].get("sample_subnets") or {}
    return float(sampler.get(f"{kind}_until", checked.config["aug"][f"{kind}_until"]))


def _never_drawn(kind: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        if not _is_wide(checked, kind) or _until(checked, kind) or _no_pass_is_learnt(checked):
            return None
        return f"it stops before it begins (aug.{kind}_until=0)"

    return reason


def _widens_nothing(kind: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        what = (
            "aug.channels widens no such space" if checked.widening.choices else f"aug.{kind}_multipliers widen nothing"
        )
        return None if _is_wide(checked, kind) else what

    return reason


def _all_multiplies(checked: Checked) -> str | None:
    return "all layers multiply anyway" if checked.only_multiplies else None


def _read_by_no_augmentation(key: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        return None if checked.reads("aug", key) else f"aug={checked.config['aug']['name']} does not read it"

    return reason


AUGMENTATION = (
    Rule(("aug.distill_weight",), _no_augmented_pass, typed=False),
    Rule(("aug",), _nothing_of_it_is_learnt, typed=False, but=_STOPS_IT),
    Rule(("aug.width_multipliers", "aug.expand_multipliers"), _only_extra_blocks_are_learnt, typed=False),
    Rule(("aug.width_multipliers",), _never_drawn("width"), typed=False),
    Rule(("aug.expand_multipliers",), _never_drawn("expand"), typed=False),
    Rule(_OF_AUGMENTATION, _nothing_surrounds),
    Rule(("aug.operator", "aug.init"), nothing_is_wider),
    Rule(("aug.divisor",), _nothing_to_round),
    Rule(("aug.operator",), _all_multiplies),
    Rule(("aug.distill_temperature",), _nothing_is_distilled),
    Rule(_OF_EXTRA_BLOCKS, _no_extra_blocks),
    Rule(("aug.retire_fade",), no_slots("aug.retire_start", "aug.retire_end")),
    Rule(("aug.width_until",), _widens_nothing("width")),
    Rule(("aug.expand_until",), _widens_nothing("expand")),
    *(Rule((key,), _read_by_no_augmentation(key)) for key in (f"net.{kind}_multipliers" for kind in KINDS)),
)
