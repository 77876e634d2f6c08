"""What a checkpoint, a target or a stored yaml names is never executed and never resolved."""

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shiftaddaug.commands.evaluate import evaluate
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap_file import read_remap
from shiftaddaug.runs.cells import _stored
from tests.commands.running import LITTLE, composed, run_little

SECRET = "what-the-environment-holds"
EVALUATION = [line for line in LITTLE if line.startswith(("trainer.accelerator", "+trainer.limit_test"))]


def put(target: Path, architecture: dict[str, Any]) -> None:
    """Write an architecture.json as one would that means harm, or as earlier versions did: without hashes."""
    content = {key: value for key, value in architecture.items() if key != "sha256"}
    (target / "architecture.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "run"
    stages = "net.stages=[{block: depthwise_separable, channels: 8}]"
    run_little(folder, "trainer.max_epochs=1", "aug=none", stages, "optim.warmup_epochs=0")
    return folder


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested containers; of the items of a list, the first stands for all."""
    if at:
        yield at
    keys = list(node) if isinstance(node, dict) else [0] if isinstance(node, list) and node else []
    for key in keys:
        yield from places(node[key], (*at, key))


def with_value(node: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(node)
    parent = changed
    for key in at[:-1]:
        parent = parent[key]
    parent[at[-1]] = value
    return changed


def with_key(node: Any, at: tuple[Any, ...], key: str, value: Any) -> Any:
    """The same with one key more in the dictionary at that place, if it is one."""
    parent = node
    for step in at:
        parent = parent[step]
    return with_value(node, (*at, key), value) if isinstance(parent, dict) else node


def canaries(folder: Path) -> list[Any]:
    path = str(folder / "canary")
    call = {"_target_": "os.mkdir", "path": path}
    return [
        call,
        {"_target_": "os.mkdir", "_args_": [path]},
        {"_target_": "builtins.print", "nested": [call]},
        call | {"_partial_": True},
        "${oc.env:STORED_SECRET}",
        "!!python/object/apply:os.mkdir [" + path + "]",
    ]


def evaluate_quietly(path: Path, folder: Path) -> str:
    """Evaluate; what it answers, if it refuses. Anything but a UserError comes through."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    try:
        evaluate(composed(folder / "out", f"ckpt_path={path}", *EVALUATION, config_name="eval"))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_nothing_that_a_target_names_is_executed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STORED_SECRET", SECRET)
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    stored = json.loads((target / "architecture.json").read_text())
    assert evaluate_quietly(target, tmp_path) == ""
    found = list(places(stored))
    assert len(found) > 40
    refused = 0
    kinds = canaries(tmp_path)
    for i, at in enumerate(found):
        variants = [with_value(stored, at, kinds[j % len(kinds)]) for j in (i, i + 3)]
        variants.append(with_key(with_key(stored, at, "_target_", "os.mkdir"), at, "path", str(tmp_path / "canary")))
        for changed in variants:
            put(target, changed)
            if at[0] == "config":  # the others are read before data are made
                answer = evaluate_quietly(target, tmp_path)
            else:
                answer = load_quietly(target)
            refused += bool(answer)
            assert "\n" not in answer
            assert SECRET not in answer + "".join(capfd.readouterr()), at
            assert not (tmp_path / "canary").exists(), at
    assert refused > len(found)


def load_quietly(target: Path) -> str:
    from shiftaddaug.nets.extract import load_target

    try:
        load_target(target)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_nothing_that_a_checkpoint_names_is_executed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STORED_SECRET", SECRET)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    read = ("op", "net", "data", "aug", "sharing", "task", "trainer")
    found = [at for at in places(checkpoint["config"]) if at[0] in read]
    assert len(found) > 60
    for i, at in enumerate(found):
        canary = canaries(tmp_path)[i % 6]
        changed = checkpoint | {"config": with_value(checkpoint["config"], at, canary)}
        torch.save(changed, tmp_path / "changed.ckpt")
        answer = evaluate_quietly(tmp_path / "changed.ckpt", tmp_path)
        assert "\n" not in answer
        assert SECRET not in answer + "".join(capfd.readouterr()), at
        assert not (tmp_path / "canary").exists(), at


def results_of(path: Path, folder: Path) -> dict[str, Any]:
    assert evaluate_quietly(path, folder) == ""
    found: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return {key: value for key, value in found.items() if key != "ckpt_path"}


def test_what_was_stored_before_there_were_tasks_is_classification(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    stored = json.loads((target / "architecture.json").read_text())
    del stored["config"]["task"]
    put(target, stored)
    assert results_of(target, tmp_path) == results_of(run / "target", tmp_path)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    for key in ("name", "headline", "better"):
        del checkpoint["config"]["task"][key]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    assert results_of(tmp_path / "earlier.ckpt", tmp_path) == results_of(run / "checkpoints" / "best.ckpt", tmp_path)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("a", "task=a: is no configuration of a task"),
        ({"name": "os"}, "task=os: no such task; options: classification"),
        ({"name": "classification"}, "task=classification: ClassificationSettings.__init__() missing 2 required"),
        ({"headline": "top2"}, "task.headline=top2: no such option; options: top1, top5, loss"),
        ({"mixup": "${oc.env:HOME}"}, "task.mixup=${oc.env:HOME}: must be a number >= 0"),
    ],
)
def test_a_target_of_no_task_is_one_line(run: Path, tmp_path: Path, task: Any, answer: str) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    stored = json.loads((target / "architecture.json").read_text())
    put(target, with_value(stored, ("config", "task"), task))
    assert evaluate_quietly(target, tmp_path).startswith(f"ckpt_path={target}: {answer}")


def test_a_target_of_a_class_that_is_not_here_says_what_it_needs(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    stored = json.loads((target / "architecture.json").read_text())
    for name in ("my_data.data.flowers.Flowers", "numpy.load", "shiftaddaug.data.base.json"):
        changed = with_value(stored, ("config", "data", "_target_"), name)
        put(target, changed)
        answer = evaluate_quietly(target, tmp_path)
        assert answer.startswith(f"{name}: no class of shiftaddaug.data")
        assert answer.endswith("plugins=[...]") == (not name.startswith("shiftaddaug"))


@pytest.mark.parametrize("value", ["{_target_: os.mkdir, path: PATH}", "!!python/object/apply:os.mkdir [PATH]"])
def test_a_remap_file_holds_constants_alone(value: str, tmp_path: Path) -> None:
    file = tmp_path / "remap.yaml"
    for key in ("laplace_scale", "form", "knots_x"):
        rest = {"form": "replace", "laplace_scale": "1.0", "knots_x": "[]"} | {key: value}
        file.write_text("".join(f"{k}: {v}\n" for k, v in rest.items()).replace("PATH", str(tmp_path / "canary")))
        with pytest.raises(UserError, match=r"sharing\.remap_file=.*remap\.yaml"):
            read_remap(str(file), "add")
        assert not (tmp_path / "canary").exists()


def test_a_remap_file_is_not_resolved(tmp_path: Path) -> None:
    file = tmp_path / "remap.yaml"
    file.write_text("form: replace\nlaplace_scale: ${oc.env:HOME}\n")
    with pytest.raises(UserError, match=r"laplace_scale=\$\{oc\.env:HOME\}"):
        read_remap(str(file), "add")


def test_a_runs_configuration_is_read_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORED_SECRET", SECRET)
    file = tmp_path / "config.yaml"
    file.write_text("op: {name: '${oc.env:STORED_SECRET}', std: 1e-05}\n")
    assert _stored(file) == {"op": {"name": "${oc.env:STORED_SECRET}", "std": 1e-5}}
    file.write_text(f"op: !!python/object/apply:os.mkdir [{tmp_path / 'canary'}]\n")
    with suppress(UserError):
        _stored(file)
    assert not (tmp_path / "canary").exists()


def test_a_target_whose_weights_were_changed_is_refused(run: Path, tmp_path: Path) -> None:
    """It would be reported as multiplication-free."""
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    state = load_file(target / "model.safetensors")
    state["classifier.weight"] *= 1.3
    save_file(state, target / "model.safetensors")
    put(target, json.loads((target / "architecture.json").read_text()))
    answer = evaluate_quietly(target, tmp_path)
    assert answer.startswith(f"ckpt_path={target}: op=shift: layer classifier multiplies, for its codes do not decode")


@pytest.mark.parametrize("file", ["architecture.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_one_line(run: Path, tmp_path: Path, file: str) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    (target / file).unlink()
    (target / file).mkdir()
    answer = evaluate_quietly(target, tmp_path)
    assert answer.startswith(f"ckpt_path={target}: ") and "\n" not in answer


def test_weights_that_nobody_computes_with_are_refused(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    state = {k: v.to(torch.float8_e4m3fn) if v.dim() else v for k, v in load_file(target / "model.safetensors").items()}
    save_file(state, target / "model.safetensors")
    put(target, json.loads((target / "architecture.json").read_text()))
    assert "its weights are of torch.float8_e4m3fn" in evaluate_quietly(target, tmp_path)


@pytest.mark.parametrize(("key", "value"), [("image_size", 10**6), ("split_seed", 10**30), ("batch_size", 10**30)])
def test_absurd_numbers_are_refused(run: Path, tmp_path: Path, key: str, value: int) -> None:
    target = tmp_path / "target"
    shutil.copytree(run / "target", target)
    stored = json.loads((target / "architecture.json").read_text())
    put(target, with_value(stored, ("config", "data", key), value))
    assert evaluate_quietly(target, tmp_path).startswith(f"data.{key}={value}: must be a whole number >= ")


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", "bit", "model.safetensors is not as it was written: damaged, or changed"),
        ("architecture.json", "value", "architecture.json is not as it was written: damaged, or changed"),
        ("model.safetensors", "nan", "classifier.bias holds inf or nan: its training diverged"),
    ],
)
def test_a_target_is_what_was_written(file: str, damage: str, message: str, run: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(run / "target", tmp_path / "target"))
    path, content = target / file, (target / file).read_bytes()
    if damage == "bit":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "value":
        path.write_bytes(content.replace(b'"digits"', b'"digitz"'))
    else:
        state = load_file(path)
        state["classifier.bias"][1] = float("nan")
        save_file(state, path)
        put(target, json.loads((target / "architecture.json").read_text()))
    assert message in evaluate_quietly(target, tmp_path)
