"""A run of a searched net: its file becomes a part of the configuration; mechanisms work with all its operators."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.assignment import assigned_settings
from shiftaddaug.nets.build import assigned_operators, supernet_from_config
from shiftaddaug.operators.stated import states_layers
from shiftaddaug.runs.checkpoints import read_config
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.identity import first_difference
from shiftaddaug.runs.searched import with_searched_net
from shiftaddaug.runs.settings import RunSettings, read_settings
from tests.build import plan_of, read_yaml
from tests.commands.running import composed, run_little
from tests.nets.searching import searched_net, written

WHOLE = ("aug=searched", "sharing=heterogeneous", "reorder=l1", "block_variant=layer", "trainer.max_epochs=2")
"""The whole method."""

SURROUNDED = 3
"""Seed of a searched net with wider spaces of both kinds, and an extra block, around it."""


def settings(folder: Path, *overrides: str, **arguments: Any) -> RunSettings:
    path = written(folder, **arguments)
    return read_settings(composed(folder / "run", "net=searched", f"net.path={path}", *overrides))


def test_its_file_becomes_a_part_of_the_configuration(tmp_path: Path) -> None:
    read, found = settings(tmp_path), searched_net()
    net, op = read.config["net"], read.config["op"]
    assert {key: net[key] for key in ("stem", "stages", "head")} == {
        key: found.table[key] for key in ("stem", "stages", "head")
    }
    assert (net["name"], net["searched_at"], net["path"]) == ("searched", 32, str(tmp_path / "searched.json"))
    assert op["layers"] == found.operators["layers"]
    assert op["operators"]["add"] == {key: each for key, each in read_yaml("op", "add").items() if key != "mult_layers"}
    assert read.assignment.to_dict() == found.operators
    assert [operator.name for operator in read.assignment.operators()] == ["mult", "shift", "add"]
    (tmp_path / "searched.json").unlink()
    assert with_searched_net(dict(read.config)) == read.config  # of a checkpoint: the file is needed no more


def test_what_is_typed_stays(tmp_path: Path) -> None:
    typed = ["+op.operators.add.eta=0.4", "+net.stem_stride=2", "net.mult_layers=[head]"]
    read = settings(tmp_path, *typed)
    assert {op.eta for op in read.assignment.operators() if op.name == "add"} == {0.4}  # type: ignore[attr-defined]
    assert read.plan.by_name["stem.conv"].stride == 2
    assert read.assignment["head.conv"].name == "mult"


def test_another_op_takes_the_place_of_its_operators(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read = settings(tmp_path, "op=add")
    assert not states_layers(read.config["op"])
    assert {operator.name for operator in read.assignment.operators()} == {"mult", "add"}
    assert [record.getMessage() for record in caplog.records if "not used" in record.getMessage()] == [
        f"op=add: the operators that net.path={tmp_path / 'searched.json'} was searched with are not used"
    ]
    caplog.clear()
    settings(tmp_path, "data.image_size=24")
    assert "data.image_size=24: net.path=" in caplog.text
    assert "was searched at 32" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["op=searched"], r"^op=searched: holds the operators of a searched net; options: net=searched, another op$"),
        (["net=searched"], r"^net.path=null: must be the file that a search has written; give net.path=FILE$"),
        (
            ["net=searched", "net.path=nowhere"],
            r"^net.path=/.*/nowhere: cannot be read \(No such file or directory\); ",
        ),
        (
            ["net=searched", "net.path=nowhere", "ckpt_path=last"],
            r"^net.path=/.*/nowhere: no such file, and ckpt_path=last ",
        ),
    ],
)
def test_mistakes_are_answered_in_one_line(overrides: list[str], wanted: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=wanted):
        read_settings(composed(tmp_path / "run", *overrides))


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        (
            "+op.operators.os={name: os}",
            r"^op.operators.os: no such operator in net.path=.*; options: mult, shift, add$",
        ),
        ("+op.operators.add.eta=-1", r"^op.operators.add.eta=-1: must be a number >= 1e-06"),
        ("+op.operators.add.eat=1", r"^op.operators.add.eat=1: operator add has no such key; options: remap, "),
        ("op.operators=1", r"^op.operators=1: must be a group of keys"),
        ("net.path=5", r"^net.path=5: must be a path"),
        ("data=shapes", r"^op=searched: its operators are of layers that net=searched does not have: \w+.*; options: "),
        ("aug=expand", r"^op=shift_ps: its trained tensors cannot be shared"),
    ],
)
def test_mistakes_in_its_operators_are_answered_in_one_line(override: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=wanted):
        settings(tmp_path, override, names=("mult", "shift_ps") if "aug" in override else ("mult", "shift", "add"))


def test_each_operator_warns_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    settings(tmp_path, "trainer.precision=bf16-true", "+op.operators.add.weight_gradient=sign", "block_variant=layer")
    for wanted in ("trainer.precision=bf16-true with op=add", "op.weight_gradient=sign", "block_variant with op=add"):
        assert wanted in caplog.text


def test_rules_look_at_every_operator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path)
    typed = ["net=searched", f"net.path={path}", "sharing=heterogeneous"]
    typed += ["+op.operators.add.init_std=4.0", "+op.operators.shift.max_exponent=1"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert [record.getMessage() for record in caplog.records] == [
        "no effect, because with sharing=heterogeneous op.operators.add.remap.laplace_scale says how large weights "
        "are: +op.operators.add.init_std=4.0"
    ]


def test_several_operators_that_are_one_are_what_one_op_is(tmp_path: Path) -> None:
    """Step, assignment and supernet of op=add, written as one op and as operators of layers."""
    one = read_settings(composed(tmp_path / "run", "op=add", "aug=full"))
    layers = one.assignment.to_dict()
    op = {"name": "searched", "mult_layers": [], **layers}
    cfg = OmegaConf.merge(composed(tmp_path / "run", "op=add", "aug=full"), {"net": {"mult_layers": []}})
    OmegaConf.set_struct(cfg, False)
    cfg.op = op
    other = read_settings(cfg)  # type: ignore[arg-type]
    assert other.assignment == one.assignment
    assert other.step.total_bytes() == one.step.total_bytes()
    nets = []
    for run in (one, other):
        torch.manual_seed(0)
        nets.append(supernet_from_config(run.config, run.plan, assigned_operators(run.config, run.plan)))
    for (name, weight), (_, theirs) in zip(nets[0].state_dict().items(), nets[1].state_dict().items(), strict=True):
        assert torch.equal(weight, theirs), name


def test_memory_is_counted_layer_by_layer(tmp_path: Path) -> None:
    """A net of two operators takes more than that of the cheaper, less than that of the dearer one."""
    taken = [
        settings(tmp_path, "trainer.precision=bf16-mixed", names=names).step.value_bytes()
        for names in (("mult", "shift"), ("mult", "shift", "add"), ("mult", "add"))
    ]
    assert taken[0] < taken[1] < taken[2]


def test_a_remap_file_is_for_the_operator_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "remap.yaml"
    file.write_text("op: add\nform: replace\nlaplace_scale: 19.0\n")
    typed = ["sharing=heterogeneous", f"sharing.remap_file={file}"]
    made = settings(tmp_path, *typed).config["op"]["operators"]
    assert made["add"]["remap"] == {"form": "replace", "laplace_scale": 19.0}
    assert made["shift"]["remap"]["laplace_scale"] == 0.1
    file.write_text("form: replace\nlaplace_scale: 19.0\n")
    with pytest.raises(UserError, match=r"has no key op, and this run has op=shift,add; options: op: shift$"):
        settings(tmp_path, *typed)


def test_a_run_is_trained_resumed_without_the_file_and_evaluated(tmp_path: Path) -> None:
    """It trains the whole method, which takes some seconds."""
    from shiftaddaug.runs.subnetworks import load_subnetwork

    path = written(tmp_path, side=16, seed=SURROUNDED)
    searched = ("net=searched", f"net.path={path}", *WHOLE)
    results = run_little(tmp_path / "run", *searched)
    assert (results["net"], results["op"], results["extraction_max_difference"]) == ("searched", "searched", 0)
    assert {*results["operations"]} == {"add", "mult", "shift"}
    path.unlink()
    (tmp_path / "run" / "results.json").unlink()  # as if it had been stopped at its end
    again = run_little(tmp_path / "again", *searched, "ckpt_path=last")
    assert again["test_top1_percent"] == results["test_top1_percent"]
    run = tmp_path / "run"
    target, whole = (load_subnetwork(run / name) for name in ("target", "checkpoints/last.ckpt"))
    assert target.assignment == whole.assignment
    config = read_config(run / "checkpoints" / "last.ckpt")
    assert config["aug"]["channels"] == config["net"]["surroundings"]["channels"] != {}
    assert config["aug"]["extra_blocks"]
    wider = load_subnetwork(run / "checkpoints" / "last.ckpt", 1.5, 2.0)
    assert wider.cost.macs > whole.cost.macs
    with pytest.raises(UserError, match=r"^subnet.width_multiplier=9: .* was trained up to 1.5$"):
        load_subnetwork(run / "checkpoints" / "last.ckpt", 9, 1)


def test_the_op_group_of_a_plan_is_read_the_same_with_and_without_torch() -> None:
    found = searched_net()
    config = {"net": {"mult_layers": ["head"]}, "op": {"name": "searched", "mult_layers": [], **found.operators}}
    plan = plan_of(found.table, side=32)
    one, other = assigned_settings(config, plan), assigned_operators(config, plan)
    assert one.to_dict() == other.to_dict()
    assert one["head.conv"] == operators.settings_from({"name": "mult"})
    assert plain(OmegaConf.create(config))["op"]["layers"] == found.operators["layers"]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["aug=searched"], r"^aug=searched: is what surrounds a searched net; options: net=searched, another aug$"),
        (
            ["+aug.channels.stem=[8,16]", "aug=width"],
            r"^aug.width_multipliers=\[1.0,1.6,2.2\]: aug.channels says how wide it gets; options: \[1.0\], or ",
        ),
        (["+aug.channels.stem=[16,8]", "aug=none"], r"^aug.channels.stem=\[16,8\]: must be a list of whole numbers"),
        (["+aug.channels.stem=[0]", "aug=none"], r"^aug.channels="),
        (
            ["aug.extra_blocks={blocks.2: 1}", "aug.extra_after=[blocks.2]"],
            r"^aug.extra_after=.blocks.2.: aug.extra_b",
        ),
        (["aug.extra_blocks={blocks.99: 1}"], r"^aug.extra_blocks.blocks.99: no such block in net=mbv2_micro; "),
    ],
)
def test_surroundings_that_cannot_be_are_answered_in_one_line(
    overrides: list[str], wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=wanted):
        read_settings(composed(tmp_path / "run", *overrides))


def test_surroundings_without_effect_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, seed=SURROUNDED)
    typed = ["net=searched", f"net.path={path}", "aug=searched", "aug.divisor=4"]
    read_settings(composed(tmp_path / "run", *typed), typed)
    assert "no effect, because aug.channels says the widths themselves: aug.divisor=4" in caplog.text
    caplog.clear()
    replace(searched_net(seed=SURROUNDED), surroundings={}).write(path)
    read_settings(composed(tmp_path / "run", *typed[:3]), typed[:3])
    assert caplog.messages == [f"no effect, because net.path={path} holds no surroundings: aug=searched"]


def test_a_searched_net_is_resumed_only_as_itself(tmp_path: Path) -> None:
    """Two files under one name are two nets; one net under two names is one."""
    one, same, other = (
        dict(settings(tmp_path / name, **arguments).config)
        for name, arguments in (("a", {}), ("b", {}), ("c", {"names": ("mult", "add", "shift")}))
    )
    assert first_difference(one, same) is None
    found = first_difference(one, other)
    assert found is not None
    assert found[0].startswith("op.layers.")
