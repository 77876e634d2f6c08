"""Searches: which trials share a study, and which commands end a multirun with a table of results."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig
from tests.build import CONFIGS, plan_of

from shiftaddaug.nets.spec import Widening
from shiftaddaug.search.naming import study_name
from shiftaddaug.search.scores import refuse_unknown
from shiftaddaug.search.settings import read_sweeper


@cache
def with_hydra(config_name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(config_name, overrides=list(overrides), return_hydra_config=True)


@cache
def study_of(*overrides: str) -> str:
    """As a multirun composes: what is swept over is not in the configuration."""
    swept = [o for o in overrides if o in ("op=add,shift", "aug.weight=choice(1,2)")]
    cfg = with_hydra("train", "sweep=augmentation", *(o for o in overrides if o not in swept)).copy()
    cfg.hydra.overrides.task.extend(swept)
    return study_name(cfg)


@pytest.mark.parametrize(
    "override",
    [
        *("net=mcunet", "op=add", "data=cifar100", "data.batch_size=8", "optim.lr=0.05", "trainer.max_epochs=2"),
        *("+trainer.limit_train_batches=4", "seed=1", "aug=depth", "sharing=heterogeneous", "callbacks=ema"),
        *("trainer.max_time=00:01:00:00", "hydra.sweeper.direction=minimize", "hardware=stm32f746"),
        *("sweep.constraints={flash_kib: 64}", "+hardware.sram_kib=64"),
        *("hydra.sweeper.params={aug.weight: 'interval(1, 2)'}", "op=add,shift", "aug.weight=choice(1,2)"),
    ],
)
def test_scores_of_other_trainings_are_another_study(override: str) -> None:
    assert study_of(override) != study_of()


def test_so_are_values_within_a_group() -> None:
    assert len({study_of("op=add"), study_of("op=add", "op.eta=0.2"), study_of("op=add", "op.init_std=4")}) == 3


def test_so_are_other_images_and_remaps_of_the_same_name(tmp_path: Path) -> None:
    flowers, cars = (study_of("data=image_folder", f"data.data_dir=/{name}") for name in ("flowers", "cars"))
    assert flowers != cars
    given = ("sharing=heterogeneous", f"sharing.remap_file={tmp_path}/remap.yaml")
    names = set()
    for scale in (0.1, 0.2, 0.1):
        (tmp_path / "remap.yaml").write_text(f"form: residual\nlaplace_scale: {scale}\n")
        study_of.cache_clear()
        names.add(study_of(*given))
    assert len(names) == 2


def test_a_second_call_continues_its_study() -> None:
    assert study_of("trainer.accelerator=cpu", "logger=tensorboard") == study_of()
    assert study_of("hydra.sweeper.n_trials=3", "seed=0") == study_of()
    assert study_of().startswith("augmentation mbv2_micro shift digits ")


def commands_of_searches() -> list[str]:
    """Those that configs/sweep and the documentation name."""
    texts = [path.read_text() for path in (*CONFIGS.glob("sweep/[a-z]*.yaml"), *CONFIGS.parent.glob("docs/*.md"))]
    found = [re.findall(r"^(?:# )?python src/train\.py -m (.*(?:sweep=|optuna).*)$", text, re.M) for text in texts]
    return sorted({command for commands in found for command in commands})


@pytest.mark.parametrize("command", commands_of_searches())
def test_what_is_searched_for_is_measured(command: str, tmp_path: Path) -> None:
    overrides = shlex.split(command, comments=True)
    parse = OverridesParser.create().parse_override
    config = with_hydra(
        "train", *(each for each in overrides if not parse(each).is_sweep_override()), "paths.log_dir=a"
    )
    given = {key: value for key, value in config.hydra.sweeper.items() if not str(key).startswith("_")}
    refuse_unknown(read_sweeper(given), config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "table"), [("train", True), ("eval", True), ("predict", False), ("fit_sharing", False)]
)
def test_a_table_ends_multiruns_of_commands_that_leave_results(command: str, table: bool) -> None:
    given = {"eval": ["ckpt_path=a"], "predict": ["target=a"], "fit_sharing": ["mult_ckpt=a", "mf_ckpt=b"]}
    callbacks = with_hydra(command, *given.get(command, [])).hydra.callbacks
    assert ("table" in callbacks) == table


def test_netaugs_recipe_is_its_code_s() -> None:
    """NetAug (arXiv 2110.08890), and its code: 155 epochs, in the first 80 of which it sorts and widens outputs."""
    cfg = with_hydra("train", "experiment=imagenet_netaug", "data.data_dir=/imagenet")
    epochs, reorder = cfg.trainer.max_epochs, cfg.callbacks.reorder
    plan = plan_of("mcunet", classes=1000, side=176)
    widening = Widening(plan, tuple(cfg.aug.width_multipliers), tuple(cfg.aug.expand_multipliers), cfg.aug.divisor)
    callback = instantiate(reorder)
    due = [epoch for epoch in range(epochs) if callback.sorted_channels(widening, epoch, epochs)]
    assert (epochs, due) == (155, list(range(1, 80)))
    assert [epoch for epoch in range(epochs) if epoch / epochs < cfg.aug.width_until] == list(range(80))
    hidden = {space.name for space in widening.spaces if space.kind == "hidden"}
    for space, count in zip(widening.spaces, callback.sorted_channels(widening, 1, epochs), strict=True):
        assert (count > space.channels) == (space.name in hidden), space.name
    assert (cfg.aug.init, cfg.aug.weight, cfg.data.image_size) == ("widest", 1.0, 176)
    assert (cfg.data.brightness, cfg.data.saturation) == (32 / 255, 0.5)
    assert cfg.callbacks.recalibrate.batches * cfg.data.batch_size == 16_000
