"""Every rule of the table applies where it says, and nowhere else; settings without effect are warned of once."""

from pathlib import Path
from typing import Any, cast

import pytest
from omegaconf import DictConfig, OmegaConf

from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.no_effect import RULES, all_rules, warn_of_settings
from shiftaddaug.runs.rules import Checked, typed_of
from shiftaddaug.runs.settings import checked_of, read_settings
from tests.commands.running import composed
from tests.runs.no_effect_cases import CASES


def checked(cfg: DictConfig) -> Checked:
    config, written = plain(cfg), cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
    settings = read_settings(cfg)
    return checked_of(config, written, settings, settings.task, settings.plan, settings.catalogue)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]


def test_every_rule_has_its_case() -> None:
    assert [rule.keys[0] for rule in RULES] == [key for key, _, _ in CASES]


@pytest.mark.parametrize("place", range(len(CASES)), ids=[f"{place} {key}" for place, (key, _, _) in enumerate(CASES)])
def test_a_rule_applies_where_it_says_and_nowhere_else(
    place: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rule, (_, without, with_effect) = RULES[place], CASES[place]
    settings = checked(composed(tmp_path / "run", *without))
    reason, meant = rule.reason(settings), typed_of(rule.keys, without)
    assert reason is not None
    caplog.clear()
    warn_of_settings(settings, without)
    named = ", ".join(override for override in meant if override not in typed_of(rule.but, meant))
    lines = told(caplog)
    assert len(lines) == 1
    assert lines[0].startswith(f"no effect, because {reason}: {named}")
    caplog.clear()
    warn_of_settings(settings, ())
    assert bool(caplog.records) == (not rule.typed), "only whom it surprises is told of what nobody typed"
    caplog.clear()
    read_settings(composed(tmp_path / "run", *with_effect), with_effect)
    assert not told(caplog)


ADDED = (
    *(f"+trainer.{key}=1" for key in ("val_check_interval", "check_val_every_n_epoch", "limit_predict_batches")),
    *(f"+trainer.limit_{split}_batches=1" for split in ("train", "val", "test")),
    *(f"+trainer.{key}=null" for key in ("logger", "callbacks", "plugins")),
    *("+trainer.gradient_clip_algorithm=norm", "+optim.optimizer.dampening=0", "optim.optimizer.nesterov=false"),
    *("optim/scheduler=timm", "+net.stem.pool=3", "+net.output_stride=16", "block_variant=layer"),
)


def test_keys_of_a_rule_exist(tmp_path: Path) -> None:
    """One that was renamed would never be warned of again."""
    cfg = composed(tmp_path / "run", "op=add", "sharing=heterogeneous", *ADDED)
    config, kl = plain(cfg), plain(composed(tmp_path / "run", "sharing=kl"))
    config["sharing"] |= kl["sharing"]
    for rule in all_rules(checked(cfg)):
        for key in rule.keys:
            node = config
            for part in key.split(".") if key not in ("reorder", "block_variant") else ():
                assert part in node, key
                node = node[part]


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
        (("sharing=affine", "op=mult"), "because op=mult reads its weights as they are stored: sharing=affine"),
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
    for sharing, warned in (("none", True), ("heterogeneous", False), ("affine", False)):
        caplog.clear()
        read_settings(composed(tmp_path / "run", "op=add", "block_variant=layer", f"sharing={sharing}"))
        assert ("hardly learn until they turn; sharing=heterogeneous does better" in caplog.text) == warned


def test_the_clamp_of_weights_that_factors_are_trained_for_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = ["op=shift", "sharing=affine", "op.clamp=true", "op.remap.laplace_scale=0.2"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "no effect, because sharing=affine reads weights through factors that it trains: op.remap.laplace_scale=0.2",
        "no effect, because sharing=affine stores weights in Gaussian form: op.clamp=true",
    ]


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


@pytest.mark.parametrize(
    ("optim", "told"),
    [
        (("optim=adamw",), True),
        (("optim=radam",), True),
        (("optim=radam", "optim.optimizer.decoupled_weight_decay=false"), False),
        (("optim=radam", "optim.optimizer.decoupled_weight_decay=false", "optim.optimizer.weight_decay=0"), True),
        (("optim=sgd",), False),
    ],
)
def test_the_scale_of_gradients_that_the_optimiser_undoes_is_warned_of(
    optim: tuple[str, ...], told: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = ["op=add", "op.eta=0.2", *optim]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert ("have a scale of their own: op.eta=0.2" in caplog.text) == told


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


@pytest.mark.parametrize(("data", "told_of"), [("cifar10", True), ("digits", False)])
def test_a_split_of_nothing_is_warned_of(
    data: str, told_of: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = [f"data={data}", "data.val_fraction=0", "data.split_seed=1"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert told(caplog) == ["no effect, because data.val_fraction=0 holds nothing out: data.split_seed=1"] * told_of


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["paths.data_dir=/here"], "data=digits reads no files there"),
        (["data=cifar10", "data.data_dir=/there", "paths.data_dir=/here"], "data.data_dir says where they lie"),
        (["data=cifar10", "paths.data_dir=/here"], None),
        (["paths.root_dir=/anywhere", "paths.data_dir=/anywhere/data"], None),
    ],
)
def test_a_folder_that_no_data_are_read_from_is_warned_of(
    typed: list[str], reason: str | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert told(caplog) == ([] if reason is None else [f"no effect, because {reason}: paths.data_dir=/here"])


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


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["aug=width", "aug.width_multipliers=[1.0,1.01]"],
            "aug.divisor=8 rounds these widths to the target's own: aug.width_multipliers=[1.0,1.01]",
        ),
        (
            ["aug=width", "aug.width_multipliers=[1.0,1.01,2.0]"],
            "aug.divisor=8 rounds these widths to the target's own: 1.01 of aug.width_multipliers",
        ),
        (
            ["aug=width", "net=vgg_small", "aug.expand_multipliers=[2.0]"],
            "net=vgg_small has no channels of that kind: aug.expand_multipliers=[2.0]",
        ),
        (["aug=width", "aug.divisor=1", "aug.width_multipliers=[1.1]"], None),
    ],
)
def test_widths_that_round_to_no_wider_channel_are_told(
    typed: list[str], line: str | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", *typed))
    assert told(caplog) == ([] if line is None else [f"no effect, because {line}"])


def test_parts_of_the_net_that_a_decoder_does_not_read_are_warned_of(tmp_path: Path) -> None:
    stated = ("net.head", "net.neck", "net.classifier_norm")
    for data, wanted in (("digits", set[str]()), ("shapes", {*stated})):
        run = checked(composed(tmp_path / "run", f"data={data}"))
        reasons = {key: rule.reason for rule in all_rules(run) for key in rule.keys if key in stated}
        assert {*reasons} == wanted
        for reason in reasons.values():
            assert reason(run) == "arch=unet decodes the encoder's feature maps, before head and classifier"


def test_a_task_says_which_of_its_keys_do_nothing(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    typed = ["data=shapes", "task.window_overlap=0.2"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert told(caplog) == [
        "no effect, because task.window=null has the network see whole images: task.window_overlap=0.2"
    ]
