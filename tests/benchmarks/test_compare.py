"""The comparison of two checkouts: what counts as a difference, names, and the cases. It runs no training."""

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import compare
import compare_cases
import compare_names
import compare_worker
import pytest
from compare_differences import MOST_KIB, SHOWN, compare_records, resume_differences, told
from compare_record import Stopped
from tests.build import CONFIGS, ROOT

from shiftaddaug.errors import UserError


def a_record() -> dict[str, Any]:
    steps = [{"epoch": i // 2, "loss": (1.5 + i).hex(), "weights": f"digest {i}"} for i in range(6)]
    end = {"state": {"a": "1", "b": "2", "c": "3"}, "optimiser": {"a.momentum": "4"}}
    return {
        "outcome": "trained",
        "text": "",
        "warnings": [],
        "start": {"parameters": ["a", "b", "c"], "spaces": [["stem", 8, 16], ["head", 8, 8]]},
        "steps": steps,
        "end": end,
        "files": {"results": {"macs": 100}, "target": {"a": "1"}},
        "seconds": 1.0,
    }


def places(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [difference.place for difference in compare_records(old, new) if not difference.note]


def test_equal_records_have_no_difference_whatever_time_they_took() -> None:
    assert compare_records(a_record(), a_record() | {"seconds": 9.0}) == []


def test_the_last_bit_of_a_loss_is_a_difference() -> None:
    old, new = a_record(), a_record()
    new["steps"][3]["loss"] = (4.5 + 2**-50).hex()
    assert places(old, new) == ["steps[3].loss"]


def test_of_many_differing_steps_the_first_is_told() -> None:
    old, new = a_record(), a_record()
    for step in new["steps"][2:]:
        step["weights"] = "other"
    assert places(old, new) == ["steps[2] (first of 4).weights"]


def test_another_order_is_a_difference() -> None:
    old, new = a_record(), a_record()
    new["start"]["parameters"] = ["a", "c", "b"]
    new["start"]["spaces"].reverse()
    assert any(place.startswith("start.parameters[1]") for place in places(old, new))
    assert any(place.startswith("start.spaces[0]") for place in places(old, new))


@pytest.mark.parametrize(
    ("part", "key", "value"), [("results", "macs", 101), ("target", "a", "9"), ("target", "more", "1")]
)
def test_files_are_compared(part: str, key: str, value: Any) -> None:
    old, new = a_record(), a_record()
    new["files"][part][key] = value
    assert places(old, new) == [f"files.{part}.{key}"]


def test_something_absent_is_a_difference() -> None:
    old, new = a_record(), a_record()
    del new["end"]["state"]["b"], new["steps"][5]
    assert places(old, new) == ["length of steps", "end.state.b"]


def test_a_refusal_of_one_is_a_difference_and_its_text_is_a_note() -> None:
    refused = {"outcome": "refused", "text": "op=add: no", "warnings": [], "steps": [], "files": {}}
    assert [str(found) for found in compare_records(a_record(), refused)] == ["outcome: trained | refused op=add: no"]
    other = refused | {"text": "op=add: it cannot"}
    assert places(refused, other) == []
    assert [(d.place, d.note) for d in compare_records(refused, other)] == [("text", True)]


def test_failures_of_different_kinds_differ() -> None:
    failed = {"outcome": "failed", "text": "KeyError: a"}
    assert places(failed, failed | {"text": "ValueError: b"}) == ["text"]


def test_memory_may_differ_a_little() -> None:
    old = {"outcome": "trained", "memory_kib": {"training": 100_000, "evaluation": 1_000}}
    within = {"outcome": "trained", "memory_kib": {"training": 100_900, "evaluation": 1_000 + MOST_KIB}}
    assert places(old, within) == []
    beyond = {"outcome": "trained", "memory_kib": {"training": 102_000, "evaluation": 1_001 + MOST_KIB}}
    assert places(old, beyond) == ["memory_kib.training", "memory_kib.evaluation"]


def test_a_resumed_run_is_compared_with_the_one_in_one_go() -> None:
    record = a_record()
    record["resumed"] = a_record() | {"steps": a_record()["steps"][4:]}
    assert resume_differences(record) == []
    other = copy.deepcopy(record)
    other["resumed"]["steps"][1]["weights"] = "other"
    other["resumed"]["end"]["state"]["a"] = "9"
    found = [difference.place for difference in resume_differences(other)]
    assert found == ["resumed against one go: steps[1].weights", "resumed against one go: end.state.a"]
    assert places(record, other) == ["resumed.steps[1].weights", "resumed.end.state.a"]


def test_few_of_many_differences_are_told() -> None:
    old, new = a_record(), a_record()
    old["end"]["state"] = {f"layer{i}": "1" for i in range(9)}
    new["end"]["state"] = {f"layer{i}": "2" for i in range(9)}
    lines = list(told(compare_records(old, new)))
    assert len(lines) == SHOWN + 1
    assert lines[0] == "end.state.layer0: 1 | 2"
    assert lines[-1] == f"end.state: {9 - SHOWN} more"


def test_names_are_mapped() -> None:
    renamed = {"state": {r"^net\.stem\.conv\b": "net.stem"}}
    assert compare_names.new_name("state", "net.stem.conv.weight", renamed) == "net.stem.weight"
    assert compare_names.new_name("state", "net.stem.norm.weight", renamed) == "net.stem.norm.weight"
    assert compare_names.is_left_out("state", "net.scale", {"state": [r"net\.scale"]})
    assert not compare_names.is_left_out("state", "net.scales", {"state": [r"net\.scale"]})


@pytest.mark.parametrize(
    ("override", "translated"),
    [("arch.width=1", "net.width_mult=1"), ("+arch.width.x=[a=b]", "+net.width_mult.x=[a=b]"), ("seed=1", "seed=1")],
)
def test_overrides_are_translated_for_the_old_checkout(override: str, translated: str) -> None:
    assert compare_names.old_override(override, {"net.width_mult": "arch.width"}) == translated


def test_every_operator_net_and_value_is_among_the_cases() -> None:
    cases = compare_cases.all_cases([CONFIGS])
    for chosen in (cases, [case for case in cases if case.quick]):
        overrides = {override for case in chosen for override in case.overrides}
        for group in ("op", "net"):
            assert {f"{group}={name}" for name in compare_cases.options([CONFIGS], group)} <= overrides
        for group, values in (("sharing", compare_cases.SHARINGS), ("block_variant", compare_cases.BLOCK_VARIANTS)):
            assert {f"{group}={value}" for value in values} <= overrides
        assert {"run", "built", "resume"} <= {case.kind for case in chosen}


def test_an_operator_of_one_checkout_alone_is_among_the_cases(tmp_path: Path) -> None:
    (tmp_path / "op").mkdir()
    (tmp_path / "op" / "xnor.yaml").touch()
    assert any("op=xnor" in case.overrides for case in compare_cases.all_cases([CONFIGS, tmp_path]))


def test_an_unknown_revision_is_answered_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.main(["no-such-revision"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_case_of_each_kind_composes() -> None:
    """One that an override of the list made impossible would be refused by both sides, and compare nothing."""
    from shiftaddaug.runs.explain import compose_config

    kinds = {case.kind: case for case in compare_cases.all_cases([CONFIGS])}
    for case in kinds.values():
        cfg = compose_config("train", [*compare_cases.BASE, *case.overrides])
        assert cfg.trainer.max_epochs in (1, compare_cases.EPOCHS)


def test_make_names_the_target() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    listed = subprocess.run(["make", "help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "compare" in listed.stdout


def test_a_run_that_the_recording_stops_is_none_that_was_refused() -> None:
    answered = UserError("callbacks.record: failed")
    answered.__cause__ = Stopped()
    ends = (Stopped(), answered, UserError("op=none"), ValueError())
    assert [compare_worker.outcome(end) for end in ends] == ["stopped", "stopped", "refused", "failed"]
