"""Settings that have no effect in a stage of an architecture search, and why. Imports no torch."""

from collections.abc import Sequence

from shiftaddaug.runs.rules import say_no_effect, typed_of
from shiftaddaug.runs.search_settings import SearchSettings

Rules = dict[str, tuple[str, ...]]
"""Keys that have no effect, by the reason."""

SPACE_KEYS = ("draws", "macs_quantile", "space.image_sizes", "space.width_mults")
"""What stage=space reads, and stage=supernet, too."""
SUPERNET_KEYS = (
    *(f"search.{key}" for key in ("operators", "sandwich", "random_subnets", "kernel_transform", "deep_draws")),
    *("search.distill_weight", "search.distill_temperature"),
)
TARGET_KEYS = (
    *(f"search.{key}" for key in ("sampler", "population", "evaluations", "storage", "study_name")),
    *("limits", "supernet"),
)
OPERATOR_KEYS = ("space.operators", "space.mult_layers", "sharing")
TRAINING_KEYS = ("ckpt_path", "resume", "bn", "logger", "tags")
"""What all trainings read. Of the groups, stage=target says itself what the supernet has decided."""
TRAINING_GROUPS = ("optim", "trainer", "callbacks", "block_variant", "reorder")


def warn_of_stage(settings: SearchSettings, typed: Sequence[str]) -> None:
    """Log which of the things that the user typed the stage does not read.

    Args:
        settings: of the search.
        typed: what the user typed.
    """
    steps = {"a search has its own steps, by stage=...": ("train", "test")}
    for reason, keys in (steps | _rules(settings)).items():
        if others := typed_of(keys, typed):
            say_no_effect(reason, others)


def _rules(settings: SearchSettings) -> Rules:
    method, hardware = settings.method, settings.hardware
    if settings.top.stage == "space":
        return {
            "stage=space trains nothing": (*TRAINING_KEYS, *TRAINING_GROUPS),
            "stage=space scores nothing": ("search", *TARGET_KEYS),
            "in stage=space all networks multiply": OPERATOR_KEYS,
        }
    if settings.top.stage == "supernet":
        multiplies = OPERATOR_KEYS if method.operators == ["mult"] else ()
        return {
            "stage=target reads it": TARGET_KEYS,
            f"the supernet of search={method.name} multiplies, and stage=target reads it": multiplies,
        }
    return {
        "stage=supernet has chosen resolution and width": SPACE_KEYS,
        "stage=supernet reads it": SUPERNET_KEYS,
        "stage=target trains nothing": TRAINING_KEYS,
        f"hardware={hardware.name} has no energy": () if hardware.accelerator else ("limits.mode",),
    }
