"""Warnings of settings of the method that have no effect."""

from pathlib import Path

import pytest

from shiftaddaug.runs.settings import read_settings
from tests.commands.running import composed


def test_a_setting_without_effect_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", "aug=none", "aug.weight=2")
    read_settings(cfg, ["aug=none", "aug.weight=2"])
    assert "no effect, because aug=none widens nothing: aug.weight=2" in caplog.text


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("aug.retire_end=0.5", "aug.extra_blocks=0"),
        ("aug.extra_after=[blocks.4]", "aug.extra_blocks=0"),
        ("aug.depth_until=0.5", "aug.extra_blocks=0"),
        ("aug.distill_temperature=4", "aug.distill_weight=0"),
    ],
)
def test_a_setting_of_what_is_off_is_warned_of(
    typed: str, reason: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", typed), [typed])
    assert [record.getMessage() for record in caplog.records] == [f"no effect, because {reason}: {typed}"]
    caplog.clear()
    on = ("aug=full", "aug.distill_weight=1")
    read_settings(composed(tmp_path / "run", *on, typed), [*on, typed])
    assert not caplog.records


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (("sharing=heterogeneous", "op=mult"), "because op=mult has no remap: sharing=heterogeneous"),
        (("reorder=l1", "aug=none"), "because aug=none widens nothing: reorder=l1"),
        (("sharing=kl", "op=shift"), "because op=shift says nothing that its weights are pulled to: sharing=kl"),
        (("sharing=kl", "op=mult", "sharing.normal_std=null"), "because sharing.normal_std=null and op=mult is pulled"),
        (("aug=none", "aug.distill_weight=1"), "because aug=none has no augmented pass: aug.distill_weight"),
    ],
)
def test_a_mechanism_with_nothing_to_work_on_is_warned_of(
    overrides: tuple[str, ...], warning: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", *overrides))
    assert f"no effect, {warning}" in caplog.text


RATIO = "sharing.stored_ratio=2"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("op=shift",), "the stored scale means something to op=shift"),
        (("op=add", "sharing.gradient=chain"), "sharing.gradient=chain lets it mean something"),
        (("op=add", "aug.operator=same"), "aug.operator=same multiplies nothing"),
        (("op=add", "optim=radam"), "the steps of torch.optim.RAdam have a scale of their own"),
        (("op=add", "reorder=none"), "reorder=none sorts nothing by it"),
        (("op=add",), None),
    ],
)
def test_a_stored_ratio_that_nothing_obeys_is_warned_of(
    overrides: tuple[str, ...], reason: str | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = [*overrides, "sharing=heterogeneous", RATIO]
    typed += [] if "reorder=none" in overrides else ["reorder=l1"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ([] if reason is None else [f"no effect, because {reason}: {RATIO}"])


def test_block_variant_of_plainly_shared_add_layers_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Measured: their steps are 1.5e-5 of the weights while they multiply, and 6e-2 behind R."""
    for sharing, warned in (("none", True), ("heterogeneous", False)):
        caplog.clear()
        read_settings(composed(tmp_path / "run", "op=add", "block_variant=layer", f"sharing={sharing}"))
        assert ("hardly learn until they turn; sharing=heterogeneous does better" in caplog.text) == warned


def test_a_stop_of_what_is_not_widened_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    read_settings(composed(tmp_path / "run", "aug=expand"), ["aug=expand", "aug.width_until=0.2"])
    assert "no effect, because aug.width_multipliers widen nothing: aug.width_until=0.2" in caplog.text


@pytest.mark.parametrize(("sharing", "told"), [("heterogeneous", True), ("none", False)])
def test_an_initial_scale_that_r_sets_is_warned_of(
    sharing: str, told: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = ["op=add", f"sharing={sharing}", "op.init_std=1"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    wanted = "with sharing=heterogeneous op.remap.laplace_scale says how large weights are: op.init_std=1"
    assert [record.getMessage() for record in caplog.records] == [f"no effect, because {wanted}"] * told


def test_a_clamp_of_weights_that_are_stored_for_r_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = ["op=shift", "sharing=heterogeneous", "op.clamp=true"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    wanted = "no effect, because sharing=heterogeneous stores weights in Gaussian form: op.clamp=true"
    assert [record.getMessage() for record in caplog.records] == [wanted]


@pytest.mark.parametrize(("rate", "told"), [("uniform", True), ("adaptive", False)])
def test_a_key_that_the_operators_other_keys_take_the_place_of_is_warned_of(
    rate: str, told: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = ["op=add", f"op.rate={rate}", "op.eta=0.2"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    wanted = "no effect, because op.rate=uniform leaves gradients as they are: op.eta=0.2"
    assert [record.getMessage() for record in caplog.records] == [wanted] * told
    caplog.clear()
    read_settings(composed(tmp_path / "run", *typed[:2]), typed[:2])
    assert not caplog.records  # nobody typed it


@pytest.mark.parametrize(("rule", "told"), [("sign", True), ("full", False)])
def test_a_gradient_without_a_fast_path_is_warned_of(
    rule: str, told: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", "op=add", f"op.weight_gradient={rule}"))
    warnings = [record.getMessage() for record in caplog.records]
    assert [w.startswith("op.weight_gradient=sign: computed in plain torch") for w in warnings] == [True] * told


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "val", "test")])
def test_a_split_of_images_that_come_with_their_own_is_warned_of(
    splits: tuple[str, ...], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for split in splits:
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            (tmp_path / "images" / split / name / "1.png").touch()
    typed = ["data=image_folder", f"data.data_dir={tmp_path / 'images'}", "data.val_fraction=0.2"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    wanted = f"no effect, because {tmp_path / 'images'} has a test/ besides its val/: data.val_fraction=0.2"
    assert [record.getMessage() for record in caplog.records] == [wanted] * (len(splits) == 3)
