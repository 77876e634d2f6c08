"""Every rule of the table applies where it says, and nowhere else; settings without effect are warned of once."""

from pathlib import Path
from typing import Any, cast

import pytest
from omegaconf import DictConfig, OmegaConf

from shiftaddaug import operators, tasks
from shiftaddaug.hybrid.settings import check_sharing
from shiftaddaug.nets import archs
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.rules import RULES, Checked, all_rules, typed_of
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import composed

FULL = "aug=full"
CASES: dict[str, tuple[list[str], list[str]]] = {
    "aug.distill_weight": (["aug=none", "aug.distill_weight=1"], [FULL, "aug.distill_weight=1"]),
    "aug": ([FULL, "callbacks.sample_subnets=null"], [FULL]),
    "aug.weight": (["aug=none", "aug.weight=2"], [FULL, "aug.weight=2"]),
    "aug.distill_temperature": ([FULL, "aug.distill_temperature=4"], [FULL, "aug.distill_weight=1"]),
    "aug.retire_start": (["aug=expand", "aug.retire_end=0.5"], [FULL, "aug.retire_end=0.5"]),
    "aug.width_until": (["aug=expand", "aug.width_until=0.2"], [FULL, "aug.width_until=0.2"]),
    "aug.expand_until": (["aug=width", "aug.expand_until=0.2"], [FULL, "aug.expand_until=0.2"]),
    "callbacks.reorder": (["aug=depth", "reorder=l1"], [FULL, "reorder=l1"]),
    "sharing": (["op=mult", "sharing=heterogeneous"], ["op=add", "sharing=heterogeneous"]),
    "sharing.laplace_scale": (
        ["op=add", "sharing=kl", "sharing.weight=0", "sharing.laplace_scale=1"],
        ["op=add", "sharing=kl", "sharing.laplace_scale=1"],
    ),
    "sharing.stored_ratio": (
        ["op=add", "sharing=heterogeneous", "sharing.stored_ratio=2"],
        ["op=add", "sharing=heterogeneous", "reorder=l1", "sharing.stored_ratio=2"],
    ),
    "op.remap": (
        ["op=add", "op.remap.laplace_scale=3"],
        ["op=add", "op.remap.laplace_scale=3", "sharing=heterogeneous"],
    ),
    "optim.warmup_epochs": (["optim/scheduler=onecycle", "optim.warmup_epochs=2"], ["optim.warmup_epochs=2"]),
    "optim.min_lr": (["optim/scheduler=constant", "optim.min_lr=0.01"], ["optim.min_lr=0.01"]),
    "trainer.gradient_clip_algorithm": (
        ["+trainer.gradient_clip_algorithm=value"],
        ["+trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val=1"],
    ),
    "trainer.sync_batchnorm": (["trainer.sync_batchnorm=true"], ["trainer.sync_batchnorm=true", "trainer.devices=2"]),
    "trainer.val_check_interval": (
        ["data.val_fraction=0", "+trainer.val_check_interval=0.5"],
        ["+trainer.val_check_interval=0.5"],
    ),
}
"""For the first key of each rule: what the rule applies to, and what it does not."""


def checked(cfg: DictConfig) -> Checked:
    config, written = plain(cfg), cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
    operator, arch = operators.settings_from(config["op"]), archs.check_arch(config["arch"])
    task = tasks.settings_from(config["task"])
    return Checked(config, written, operator, check_sharing(config["sharing"]), arch, task)


def test_every_rule_has_its_cases() -> None:
    assert [rule.keys[0] for rule in RULES] == [*CASES]


@pytest.mark.parametrize("key", CASES)
def test_a_rule_applies_where_it_says_and_nowhere_else(
    key: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (rule,) = (rule for rule in RULES if rule.keys[0] == key)
    without, with_effect = CASES[key]
    for typed, applies in ((without, True), (with_effect, False)):
        caplog.clear()
        cfg = composed(tmp_path / "run", *typed)
        reason = rule.reason(checked(cfg))
        read_settings(cfg, typed)
        lines = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
        settings = ", ".join(typed_of(rule.keys, typed))
        assert lines == ([f"no effect, because {reason}: {settings}"] if applies else [])
        assert (reason is not None) == applies or not typed_of(rule.keys, typed)


def test_only_whom_it_surprises_is_told_of_what_nobody_typed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for key, (without, _) in CASES.items():
        caplog.clear()
        read_settings(composed(tmp_path / "run", *without))
        (rule,) = (rule for rule in RULES if rule.keys[0] == key)
        assert ("no effect" in caplog.text) == (not rule.typed), key


VALIDATION = ("+trainer.val_check_interval=1", "+trainer.check_val_every_n_epoch=1", "+trainer.limit_val_batches=1")


def test_keys_of_a_rule_exist(tmp_path: Path) -> None:
    """One that was renamed would never be warned of again."""
    added = ("+trainer.gradient_clip_algorithm=norm", *VALIDATION)
    cfg = composed(tmp_path / "run", "op=add", "sharing=heterogeneous", *added)
    config, kl = plain(cfg), plain(composed(tmp_path / "run", "sharing=kl"))
    config["sharing"] |= kl["sharing"]
    for rule in all_rules(checked(cfg)):
        for key in rule.keys:
            node = config
            for part in key.split(".") if key != "reorder" else ():
                assert part in node, key
                node = node[part]


def test_parts_of_the_net_that_a_decoder_does_not_read_are_warned_of(tmp_path: Path) -> None:
    stated = ("net.head", "net.neck", "net.classifier_norm")
    for arch, wanted in (("classifier", set()), ("unet", {*stated})):
        found = all_rules(checked(composed(tmp_path / "run", f"arch={arch}")))
        reasons = {key: rule.reason for rule in found for key in rule.keys if key in stated}
        assert {*reasons} == wanted
        for reason in reasons.values():
            said = reason(checked(composed(tmp_path / "run", f"arch={arch}")))
            assert said == "arch=unet decodes the encoder's feature maps, before head and classifier"


def test_a_setting_is_spoken_of_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Though several rules apply to it: nothing surrounds the target, and so there are no extra blocks."""
    typed = ["aug=none", "aug.distill_weight=1", "aug.retire_end=0.5", "aug.retire_start=0.1"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert [record.getMessage() for record in caplog.records] == [
        "no effect, because aug=none has no augmented pass: aug.distill_weight=1",
        "no effect, because aug=none widens nothing: aug.retire_end=0.5, aug.retire_start=0.1",
    ]


def test_what_makes_the_augmentation_is_never_without_effect(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    typed = ["aug=expand", "aug.expand_multipliers=[1.0]", "aug.weight=2"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert [record.getMessage() for record in caplog.records] == [
        "no effect, because aug=expand widens nothing: aug.weight=2"
    ]


@pytest.mark.parametrize(
    ("override", "key", "below"),
    [
        ("+trainer.x=1", "trainer.x", True),
        ("++trainer.x.y=1", "trainer.x", True),
        ("~trainer.x", "trainer.x", True),
        ("optim/scheduler=step", "optim.scheduler", True),
        ("sharing@other=kl", "sharing", True),
        ("trainer.xy=1", "trainer.x", False),
        ("trainer=ddp", "trainer.x", False),
    ],
)
def test_typed_keys(override: str, key: str, below: bool) -> None:
    assert typed_of([key], [override]) == [override] * below


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
        (("reorder=l1", "aug=none"), "because aug=none widens nothing: callbacks.reorder"),
        (("aug=width", "aug.weight=0"), "because aug.weight=0 leaves the augmented pass, which is computed, out of"),
        (("sharing=kl", "op=shift"), "because op=shift says nothing that its weights are pulled to: sharing=kl"),
        (("sharing=kl", "op=mult", "sharing.normal_std=null"), "because sharing.normal_std=null and op=mult is pulled"),
        (("aug=none", "aug.distill_weight=1"), "because aug=none has no augmented pass: aug.distill_weight=1"),
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
        (("op=add", "optim=timm", "optim.name=lamb"), "the steps of lamb have a scale of their own"),
        (("op=add", "optim=timm", "optim.name=nesterov"), None),
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


@pytest.mark.parametrize(("sharing", "told"), [("heterogeneous", True), ("none", False)])
@pytest.mark.parametrize(
    ("op", "override", "reason"),
    [
        ("add", "op.init_std=1", "with sharing=heterogeneous op.remap.laplace_scale says how large weights are"),
        ("shift", "op.clamp=true", "sharing=heterogeneous stores weights in Gaussian form"),
    ],
)
def test_a_key_of_stored_weights_that_r_replaces_is_warned_of(
    op: str, override: str, reason: str, sharing: str, told: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = [f"op={op}", f"sharing={sharing}", override]
    read_settings(composed(tmp_path / "run", *typed), typed)
    wanted = f"{reason}: {override}"
    assert [record.getMessage() for record in caplog.records] == [f"no effect, because {wanted}"] * told


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
