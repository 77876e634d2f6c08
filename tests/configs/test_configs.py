"""Every yaml composes, opens with the command that selects it, and differs from its siblings as it claims."""

import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from tests.build import CONFIGS, DEEPENED, NETS, OPS, SEARCHED, names
from tests.commands.running import composed

from shiftaddaug import operators, tasks
from shiftaddaug.commands.arguments import split_paths
from shiftaddaug.runs.settings import read_settings
from shiftaddaug.tasks.optimizers import build_optim

FOLDER = Path("/logs/run")
"""Where the composed run would write; nothing is written."""

NOT_SELECTED = ("paths", "hydra")
"""Groups of one file, of which there is nothing to select."""


AUGS = [aug for aug in names("aug") if aug != SEARCHED]


@cache
def composed_once(*overrides: str, config_name: str = "train") -> DictConfig:
    return composed(FOLDER, *overrides, config_name=config_name)


def files() -> list[str]:
    """group/name of every yaml of a group; an experiment's own groups have tests of their own."""
    paths = [*CONFIGS.glob("*/[!_]*.yaml"), *CONFIGS.glob("optim/*/[!_]*.yaml")]
    return sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in paths)


def selected() -> list[str]:
    """Those that a user selects by name."""
    return [f for f in files() if f.split("/")[0] not in NOT_SELECTED and not f.endswith("/default")]


def command_line(path: Path) -> list[str]:
    """The arguments of the command in the first line."""
    first, *rest = path.read_text().splitlines()
    if first.startswith("# @package"):
        first = rest[0]
    command = re.fullmatch(r"# python src/(train|eval|predict|export|ablate|fit_sharing|cost|search)\.py( .+)?", first)
    assert command is not None, f"{path.name}: the first line must be `# python src/train.py ...`, not {first!r}"
    return shlex.split(command[2] or "")


def command_of(file: str) -> str:
    """The command that composes the file."""
    group = file.split("/")[0]
    return "search" if group in ("space", "search") else "train"


def overrides_of(file: str) -> tuple[str, ...]:
    """What of the file's command Hydra composes: everything but its flags."""
    return tuple(argument for argument in command_line(CONFIGS / f"{file}.yaml") if not argument.startswith("-"))


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every node with a _target_, whatever it is nested in."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Every interpolation resolved; a mandatory value that is missing raises."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def leaves(cfg: DictConfig) -> dict[str, Any]:
    """Value by dotted key; a list is a value."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(node, dict):
            yield prefix, node
            return
        for key, value in node.items():
            yield from walk(value, f"{prefix}.{key}" if prefix else key)

    return dict(walk(plain(cfg), ""))


def test_the_files_are_found() -> None:
    assert {"op/add", "aug/none", "net/mcunet", "data/cifar100", "debug/fast", "sweep/augmentation"} <= set(selected())


class TestEveryFile:
    def test_opens_with_the_command_that_selects_it(self) -> None:
        assert [file for file in selected() if "=".join(file.rsplit("/", 1)) not in overrides_of(file)] == []

    @pytest.mark.parametrize("file", files())
    def test_composes_by_its_command_and_names_arguments_that_exist(self, file: str) -> None:
        overrides = overrides_of(file) if file in selected() else (file.replace("/", "="),)
        container = plain(composed_once(*overrides, config_name=command_of(file)))
        for node in targets(container):
            arguments = {key: value for key, value in node.items() if not key.startswith("_")}
            if node is container.get("optim", {}).get("scheduler"):
                arguments.pop("interval")  # says how often it is called
            signature = inspect.signature(get_object(node["_target_"]))
            signature.bind_partial(**arguments)  # TypeError: an argument it does not take

    @pytest.mark.parametrize("group", ["op", "aug", "net", "data", "task"])
    def test_is_called_what_its_name_says(self, group: str) -> None:
        for file in [file for file in files() if file.startswith(f"{group}/")]:
            assert f"{group}/{composed_once(*overrides_of(file))[group].name}" == file


@pytest.mark.parametrize("name", ["train", "eval", "predict", "export", "ablate", "fit_sharing", "cost", "search"])
def test_entry_points_compose_by_their_command(name: str) -> None:
    overrides = [argument.replace("<run>", "run") for argument in command_line(CONFIGS / f"{name}.yaml")]
    cfg = plain(composed(FOLDER, *split_paths(overrides)[1], config_name=name))
    assert cfg["paths"]["output_dir"] == str(FOLDER)


def test_none_and_width_expand_differ_in_the_augmentation_alone() -> None:
    none, both = (leaves(composed_once(f"aug={name}")) for name in ("none", "width_expand"))
    assert none.keys() == both.keys()
    different = {key for key in none if none[key] != both[key]}
    assert different == {"aug.name", "aug.width_multipliers", "aug.expand_multipliers"}


@pytest.mark.parametrize("aug", AUGS)
def test_every_augmentation_takes_the_nets_multipliers_or_none(aug: str) -> None:
    cfg = composed_once(f"aug={aug}")
    both = ("width", "expand")
    widened = {"width": ("width",), "expand": ("expand",), "width_expand": both, "full": both}.get(aug, ())
    for kind in ("width", "expand"):
        key = f"{kind}_multipliers"
        assert list(cfg.aug[key]) == (list(cfg.net[key]) if kind in widened else [1.0])


def keys_of(group: str) -> dict[str, set[str]]:
    chosen = [name for name in names(group) if name != SEARCHED]  # whose keys are in a file that it reads
    return {name: {str(key) for key in OmegaConf.load(CONFIGS / group / f"{name}.yaml")} for name in chosen}


def test_nets_have_the_same_keys() -> None:
    keys = keys_of("net")
    assert len(keys) > 1
    assert {name: sorted(k) for name, k in keys.items()} == dict.fromkeys(keys, sorted(next(iter(keys.values()))))


BASES = sorted(str(path.parent.relative_to(CONFIGS)) for path in CONFIGS.rglob("_base.yaml"))


def test_bases_are_found() -> None:
    assert BASES == ["aug", "block_variant", "debug", "experiment/ablation", "search", "sweep"]


@pytest.mark.parametrize("group", BASES)
def test_variants_state_what_differs_from_what_they_inherit(group: str) -> None:
    """And nothing that stands there already; what has nothing to inherit, such as none, states nothing at all."""
    for name in names(group):
        own: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{name}.yaml"), resolve=False)
        parents = [parent for parent in own.pop("defaults", []) if isinstance(parent, str)]
        assert len(parents) == bool(own or name != "none")
        for parent in parents:
            path = CONFIGS / (parent.lstrip("/") if parent.startswith("/") else f"{group}/{parent}")
            inherited = OmegaConf.load(path.with_suffix(".yaml"))
            assert [key for key, value in own.items() if inherited.get(key) == value] == []


def test_augmentations_and_schedules_have_the_keys_of_their_base() -> None:
    for group, key in (("aug", "aug"), ("block_variant", "callbacks.block_variant")):
        base = {str(key) for key in OmegaConf.load(CONFIGS / group / "_base.yaml")}
        for name in names(group):
            made = OmegaConf.select(composed_once(f"{group}={name}"), key)
            assert {*made} == base or (group, name) == ("block_variant", "none")


def test_every_operator_has_a_name_and_layers_that_multiply() -> None:
    assert keys_of("op").keys() == set(operators.available())
    for name, keys in keys_of("op").items():
        assert {"name", "mult_layers"} <= keys, name


def test_every_task_has_a_yaml_that_states_all_its_keys() -> None:
    for name in tasks.available():
        keys = keys_of("task")[name]
        settings = tasks.settings_from(plain(composed_once(f"task={name}"))["task"])
        assert {"name", "headline", "better"} <= keys <= {"name", *(field.name for field in fields(settings))}


@pytest.mark.parametrize("net", NETS)
def test_every_net_passes_the_checks_with_every_operator_and_augmentation(
    net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shiftaddaug.runs.memory.machine_memory", lambda: None)  # whatever this machine has
    cfg = composed_once().copy()
    cfg.net = OmegaConf.load(CONFIGS / "net" / f"{net}.yaml")
    checked, augs = 0, [aug for aug in AUGS if net in DEEPENED or aug not in ("depth", "full")]
    for op in OPS:
        cfg.op = OmegaConf.load(CONFIGS / "op" / f"{op}.yaml")
        for aug in augs:
            if aug not in ("none", "depth") and not operators.build(op).shareable:
                continue
            cfg.aug = composed_once(f"aug={aug}").aug
            plan = read_settings(cfg).plan
            assert (plan.name, plan.num_classes, plan.in_channels, plan.image_size) == (net, 10, 1, (32, 32))
            checked += 1
    shareable = sum(operators.build(op).shareable for op in OPS)
    assert checked == len(augs) * shareable + len({"none", "depth"} & set(augs)) * (len(OPS) - shareable)


def test_swapping_a_group_file_equals_composing_it() -> None:
    """What the test above relies on."""
    cfg = composed_once().copy()
    for group, name in (("net", "mcunet"), ("op", "add")):
        of_every = OmegaConf.load(CONFIGS / "train.yaml").get(group, {})
        cfg[group] = OmegaConf.merge(of_every, OmegaConf.load(CONFIGS / group / f"{name}.yaml"))
    cfg.aug = composed_once("aug=width").aug
    assert plain(cfg) == plain(composed(FOLDER, "net=mcunet", "op=add", "aug=width"))


class TestInstantiates:
    @pytest.mark.parametrize("name", names("callbacks"))
    def test_callbacks(self, name: str, tmp_path: Path) -> None:
        cfg = composed_once(f"callbacks={name}").copy()
        cfg.paths.output_dir = str(tmp_path)
        made = {key: instantiate(callback) for key, callback in cfg.callbacks.items()}
        kinds = {"sample_subnets": "SampleSubnets", "reseed": "ReseedEachEpoch", "best_checkpoint": "BestCheckpoint"}
        assert kinds.items() <= {key: type(callback).__name__ for key, callback in made.items()}.items()
        assert {*made} & {"ema", "early_stopping"} == {name} - {"default"}
        assert (made["best_checkpoint"].monitor, made["best_checkpoint"].mode) == ("val/top1", "max")
        assert made["best_checkpoint"].dirpath == made["last_checkpoint"].dirpath == str(tmp_path / "checkpoints")

    def test_the_best_checkpoint_is_that_of_the_headline(self, tmp_path: Path) -> None:
        cfg = composed(tmp_path, "task.headline=loss", "task.better=min")
        made = instantiate(cfg.callbacks.best_checkpoint)
        assert (made.monitor, made.mode) == ("val/loss", "min")

    @pytest.mark.parametrize("name", names("optim"))
    def test_optimizers_at_the_groups_learning_rate(self, name: str) -> None:
        cfg = composed_once(f"optim={name}").copy()
        cfg.optim.lr = 0.123
        matrix, vector = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        optimizer = instantiate(cfg.optim.optimizer)([{"params": [matrix]}, {"params": [vector], "weight_decay": 0.0}])
        assert type(optimizer).__name__.lower() == cfg.optim.get("name", name)
        assert [group["lr"] for group in optimizer.param_groups] == [0.123, 0.123]
        assert [group["params"] for group in optimizer.param_groups] == [[matrix], [vector]]
        decay = cfg.optim.optimizer.weight_decay
        assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]

    @pytest.mark.parametrize(
        ("name", "optim"),
        [*((name, "sgd") for name in names("optim/scheduler")), *(("onecycle", optim) for optim in names("optim"))],
    )
    def test_schedules(self, name: str, optim: str) -> None:
        """No rate is negative or above the base rate, in any group, at any step."""
        cfg = composed_once(f"optim={optim}", f"optim/scheduler={name}")
        make, scheduler = build_optim(cfg.optim, epochs=4)
        parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
        optimizer = make([{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}])
        schedule = scheduler(optimizer, 12, 4)
        for _ in range(12):
            first, second = (group["lr"] for group in optimizer.param_groups)
            assert 0 < first == second <= cfg.optim.lr * (1 + 1e-12)
            sum(p.square().sum() for p in parameters).backward()
            optimizer.step()
            schedule.step()

    def test_csv_adds_no_logger(self) -> None:
        assert composed_once("logger=csv").logger == {}

    def test_tensorboard_writes_into_the_runs_folder(self, tmp_path: Path) -> None:
        cfg = composed_once("logger=tensorboard").copy()
        cfg.paths.output_dir = str(tmp_path)
        assert list(cfg.logger) == ["tensorboard"]
        logger = instantiate(cfg.logger.tensorboard)
        assert type(logger).__name__ == "TensorBoardLogger"
        assert Path(logger.log_dir) == tmp_path / "tensorboard"

    def test_wandb_is_told_what_the_run_is(self) -> None:
        wandb = plain(composed_once("logger=wandb"))["logger"]["wandb"]
        assert wandb["name"] == "mbv2_micro-shift-width_expand-none-digits-0"
        assert wandb["offline"] is None
        assert (wandb["group"], wandb["tags"]) == (None, [])
        assert composed_once("logger=wandb", "tags=[first]").logger.wandb.tags == ["first"]

    def test_many_is_all_of_them(self) -> None:
        many = plain(composed_once("logger=many"))["logger"]
        names = ("tensorboard", "wandb")
        assert many == {name: plain(composed_once(f"logger={name}"))["logger"][name] for name in names}
