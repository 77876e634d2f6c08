"""A recipe sets what stands beside its operator in README's table; whatever is chosen later counts."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.build import names
from tests.commands.running import composed

from shiftaddaug.runs.settings import read_settings

RECIPES = {
    "shift": ("op=shift", "aug=expand", "reorder=l1", "bn=recalibrated"),
    "add": (
        *("op=add", "aug=expand", "reorder=l1", "bn=recalibrated"),
        *("sharing=heterogeneous", "block_variant=layer"),
    ),
    "mult": ("op=mult", "aug=width_expand", "reorder=l1"),
}
FOLDER = Path("/logs/run")


def config_of(*overrides: str) -> Any:
    return OmegaConf.to_container(composed(FOLDER, *overrides), resolve=True)


def test_every_recipe_is_known() -> None:
    assert {*names("recipe")} == {*RECIPES}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("data", ["digits", "shapes"])
def test_a_recipe_is_its_choices_on_any_data(recipe: str, data: str) -> None:
    assert config_of(f"recipe={recipe}", f"data={data}") == config_of(f"data={data}", *RECIPES[recipe])


def test_what_is_typed_counts_wherever_it_stands() -> None:
    choices = [choice for choice in RECIPES["add"] if not choice.startswith("aug=")]
    for typed in (("recipe=add", "aug=none"), ("aug=none", "recipe=add")):
        assert config_of(*typed, "data=cifar10") == config_of(*choices, "aug=none", "data=cifar10")


def test_of_what_a_recipe_and_an_experiment_both_set_the_experiments_counts() -> None:
    """Whichever is typed first: imagenet_netaug sets aug, reorder and bn, and leaves op and sharing."""
    for typed in (("recipe=add", "experiment=imagenet_netaug"), ("experiment=imagenet_netaug", "recipe=add")):
        config = config_of(*typed)
        assert (config["aug"]["name"], config["callbacks"]["reorder"]["spaces"]) == ("width_expand", "hidden")
        assert (config["op"]["name"], config["sharing"]["name"]) == ("add", "heterogeneous")


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        (["recipe=shift", "op=add"], "options: recipe=add"),
        (["recipe=shift", "op=shift_ps", "aug=none"], "options: no recipe"),
        (["recipe=add", "op=add"], None),
        (["recipe=add", "aug=none"], None),
    ],
)
def test_a_recipe_of_another_operator_is_told(
    typed: list[str], remedy: str | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", *typed), typed)
    told = [record.getMessage() for record in caplog.records if "recipe=" in record.getMessage()]
    assert len(told) == (remedy is not None)
    if remedy is not None:
        assert told[0].startswith("recipe=shift: sets what was measured best for op=shift, and this run has op=")
        assert told[0].endswith(remedy)
