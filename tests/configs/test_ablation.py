"""Rows of the ablation differ from each other in nothing but the thing they name."""

import pytest
from tests.configs.test_configs import CONFIGS, composed_once, leaves

from shiftaddaug.commands.checks import check_train_config

ROWS = sorted(path.stem for path in (CONFIGS / "experiment" / "ablation").glob("*.yaml"))

SHARING = ("sharing.", "callbacks.stored_scale.ratio")
CLAIMS = {
    ("mf_direct", "plain_sharing"): ("aug.name", "aug.expand_multipliers", "callbacks.reorder."),
    ("mf_direct", "remap_alone"): SHARING,
    ("plain_sharing", "kl"): ("sharing.",),
    ("plain_sharing", "width_expand"): ("aug.name", "aug.width_multipliers"),
    ("plain_sharing", "mf_augmentation"): ("aug.operator",),
    ("plain_sharing", "heterogeneous"): SHARING,
    ("heterogeneous", "no_reorder"): ("callbacks.reorder.",),
    ("heterogeneous", "block_variant"): ("callbacks.block_variant.",),
    ("heterogeneous", "depth"): ("aug.extra_blocks",),
    ("heterogeneous", "distill"): ("aug.distill_weight",),
    ("block_variant", "full"): ("aug.extra_blocks",),
}
"""Two rows, and the keys (or what they begin with) in which they may differ."""


def test_every_row_is_claimed() -> None:
    assert {row for pair in CLAIMS for row in pair} == set(ROWS)


def test_the_study_runs_every_row() -> None:
    from omegaconf import OmegaConf

    assert sorted(OmegaConf.load(CONFIGS / "ablate.yaml").rows) == ROWS


@pytest.mark.parametrize("op", ["shift", "add"])
@pytest.mark.parametrize(("one", "other"), CLAIMS)
def test_rows_differ_as_they_claim(one: str, other: str, op: str) -> None:
    configs = [leaves(composed_once(f"experiment=ablation/{row}", f"op={op}")) for row in (one, other)]
    keys = configs[0].keys() | configs[1].keys()
    different = {key for key in keys if configs[0].get(key) != configs[1].get(key)}
    assert different
    unclaimed = {key for key in different if not key.startswith(CLAIMS[one, other])}
    assert not {key for key in unclaimed if key not in ("callbacks.reorder", "callbacks.block_variant")}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("op", ["shift", "add"])
def test_every_row_is_sound(row: str, op: str) -> None:
    plan = check_train_config(composed_once(f"experiment=ablation/{row}", f"op={op}"))
    assert (plan.name, plan.image_size, plan.num_classes) == ("mbv2_w02", (16, 16), 100)
