"""Rows of the ablation differ from each other in nothing but the thing they name."""

from itertools import product

import pytest
from omegaconf import OmegaConf
from tests.build import CONFIGS, names
from tests.configs.test_configs import composed_once, leaves
from tests.operators.adder_study import STUDY

from shiftaddaug.errors import UserError
from shiftaddaug.runs.settings import read_settings

FILES = names("experiment/ablation")
ADDER_ROWS = {
    f"adder_{gradient}_{rate}": {"op.weight_gradient": gradient, "op.rate": rate}
    for gradient, rate in product(STUDY["weight_gradient"], STUDY["rate"])
}
"""Rows of op=add alone, and what each sets; `ablate.py` runs them where they are asked for."""
ROWS = sorted({*FILES} - {*ADDER_ROWS} - {"kl", "affine"})
"""Those of any operator that the study runs unless told otherwise."""

SHARING = ("sharing.", "callbacks.stored_scale.ratio")
CLAIMS = {
    ("mf_direct", "plain_sharing"): ("aug.name", "aug.expand_multipliers", "callbacks.reorder."),
    ("mf_direct", "remap_alone"): SHARING,
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


def test_the_study_runs_every_row_of_any_operator() -> None:
    assert sorted(OmegaConf.load(CONFIGS / "ablate.yaml").rows) == ROWS


@pytest.mark.parametrize(("one", "other"), CLAIMS)
def test_rows_differ_as_they_claim(one: str, other: str) -> None:
    configs = [leaves(composed_once(f"experiment=ablation/{row}", "op=add")) for row in (one, other)]
    keys = configs[0].keys() | configs[1].keys()
    different = {key for key in keys if configs[0].get(key) != configs[1].get(key)}
    assert different
    unclaimed = {key for key in different if not key.startswith(CLAIMS[one, other])}
    assert not {key for key in unclaimed if key not in ("callbacks.reorder", "callbacks.block_variant")}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("op", ["shift", "add"])
def test_every_row_is_sound(row: str, op: str) -> None:
    plan = read_settings(composed_once(f"experiment=ablation/{row}", f"op={op}")).plan
    assert (plan.name, plan.image_size, plan.num_classes) == ("mbv2_w02", (16, 16), 100)


@pytest.mark.parametrize("row", ADDER_ROWS)
@pytest.mark.parametrize("op", [(), ("op=add",)], ids=["alone", "in the study"])
def test_rows_of_adders_set_what_they_are_called_and_nothing_else(row: str, op: tuple[str, ...]) -> None:
    baseline = leaves(composed_once("experiment=ablation/mf_direct", "op=add"))
    cfg = composed_once(f"experiment=ablation/{row}", *op)
    assert leaves(cfg) == baseline | ADDER_ROWS[row]
    read_settings(cfg)


@pytest.mark.parametrize("baseline", ["kl", "affine"])
def test_rows_of_shiftaddnas_differ_from_plain_sharing_in_the_sharing(baseline: str) -> None:
    """The study does not run them unless asked: shift layers have no penalty."""
    rows = (baseline, "plain_sharing")
    theirs, plain = (leaves(composed_once(f"experiment=ablation/{row}", "op=add")) for row in rows)
    different = {key for key in theirs.keys() | plain.keys() if theirs.get(key) != plain.get(key)}
    assert different and all(key.startswith("sharing.") for key in different)
    read_settings(composed_once(f"experiment=ablation/{baseline}", "op=add"))


def test_rows_of_adders_refuse_other_operators() -> None:
    with pytest.raises(UserError, match=r"^op\.weight_gradient=sign: operator shift has no such key; options: "):
        read_settings(composed_once("experiment=ablation/adder_sign_uniform", "op=shift"))
