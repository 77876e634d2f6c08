"""What Hydra and OmegaConf say in many lines is said in one, with the argument as it was typed."""

import shlex

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from shiftaddaug.runs.compose import compose, plain
from shiftaddaug.runs.explain import describe, quoted_argument
from shiftaddaug.runs.nearest import options_with


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("seed=${seed}", "seed=${seed}: cannot be read (Recursive interpolation detected)"),
        ("seed=${nope:1}", "seed=${nope:1}: cannot be read (Unsupported interpolation type nope)"),
        ("data.std=[${oc.env:NO_SUCH}]", 'data.std=[${oc.env:NO_SUCH}]: cannot be read ("Environment variable'),
        ("net.head=[1]", "net.head=[1]: must be of the kind that it replaces: a list, or a group of keys"),
        ("~nothing", "~nothing: no such key to take away"),
        ("~seed=4", "~seed=4: seed has another value; options: ~seed"),
        ("+op=add", "+op=add: op is chosen already; options: op=add, without the +"),
        ("seed=choice(1,2)", "seed=choice(1,2): are several values; options: -m, a run for each"),
        (
            "~net",
            "aug.width_multipliers: reads net.width_multipliers, and there is no such key; options: leave",
        ),
        ("optimizer.lr=3", "optimizer.lr: no such key; did you mean optim.lr? options: seed, "),
        ("arch=resnet18", "arch=resnet18: no such option; did you mean net=resnet18? options: classifier, "),
        ("op/foo=3", "op/foo=3: no such group; options: paths, task, arch, data,"),
    ],
)
def test_one_line(argument: str, line: str) -> None:
    arguments = ["paths.output_dir=run", argument]
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        plain(compose("train", arguments))
    assert describe(error.value, "train", arguments).startswith(line)


def test_another_sweeper_of_the_same_name() -> None:
    error = HydraException("'hydra/sweeper/optuna' is validated against ConfigStore schema with the same name.\nThis")
    told = describe(error, "train", ["-m", "hydra/sweeper=optuna"])
    assert told.startswith("hydra/sweeper=optuna: is this project's own, and the package hydra-optuna-sweeper has")


@pytest.mark.parametrize("value", ["/tmp/ä", "a(b)", "it's", "$HOME/a", 'say "x"', "back\\slash", "a,b"])
def test_what_is_quoted_is_read_as_it_was(value: str) -> None:
    (argument,) = shlex.split(quoted_argument(f"paths.data_dir={value}"))
    assert compose("train", ["paths.output_dir=run", argument]).paths.data_dir == value


def test_a_key_of_another_option_is_told_with_it() -> None:
    assert options_with("data.data_dir", compose("train", [])) == (
        "data=digits has no data_dir; these have: data=ade20k, data=camvid, data=cifar10, data=cifar100, "
        "data=cityscapes, data=image_folder, data=imagenet, data=mask_folder, data=oxford_pet, data=voc2012"
    )
    assert options_with("data.nonsense", compose("train", [])) is None
    assert options_with("data.data_dir", compose("train", ["data=cifar10"])) is None
