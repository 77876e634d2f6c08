"""Whether loggers are offline, and what they are told: decided without starting a run, or the network."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from tests.build import names, read_yaml

from shiftaddaug.errors import UserError
from shiftaddaug.report import loggers
from shiftaddaug.report.loggers import (
    PACKAGES,
    check_packages,
    group_of_command,
    mlflow_logger,
    wandb_logger,
    whereabouts,
)

NETRC = "machine {host}\n  login user\n  password 0123456789\n"


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # what wandb_logger hands over: dict(**arguments) in place of the logger
    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", dict)


def write_netrc(home: Path, content: str) -> None:
    path = home / ".netrc"
    path.write_text(content)
    path.chmod(0o600)


def decided(**arguments: Any) -> Any:
    logger: Any = wandb_logger(**arguments)
    return logger["offline"]


def test_is_offline_without_a_key() -> None:
    assert decided() is True


def test_is_online_with_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert decided() is False


def test_is_offline_with_an_empty_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert decided() is True


def test_is_online_with_a_key_in_netrc(tmp_path: Path) -> None:
    write_netrc(tmp_path, NETRC.format(host="api.wandb.ai"))
    assert decided() is False


@pytest.mark.parametrize("content", [NETRC.format(host="example.org"), "no netrc at all", ""])
def test_is_offline_with_a_netrc_of_something_else(tmp_path: Path, content: str) -> None:
    write_netrc(tmp_path, content)
    assert decided() is True


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("key", ["", "0123456789"])
def test_what_is_said_explicitly_wins(offline: bool, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert decided(offline=offline) is offline


@pytest.mark.parametrize("key", ["", "0123456789"])
@pytest.mark.parametrize(
    ("mode", "offline"), [("offline", True), ("dryrun", True), ("online", False), ("disabled", False)]
)
def test_wandbs_own_variable_wins_over_a_key(
    mode: str, offline: bool, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disabled is not offline: that would write a run after all."""
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert decided() is offline


def test_the_key_is_that_of_the_server_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "keys"
    elsewhere.mkdir()
    write_netrc(elsewhere, NETRC.format(host="wandb.example.org"))
    monkeypatch.setenv("NETRC", str(elsewhere / ".netrc"))
    assert decided() is True
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    assert decided() is False


def test_is_online_with_an_identity_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "token.jwt")
    assert decided() is False


def test_hands_the_arguments_over() -> None:
    assert wandb_logger(project="p", save_dir="d") == {"offline": True, "project": "p", "save_dir": "d"}


def test_hands_group_and_tags_over_if_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_logger(group=None, tags=[]) == {"offline": True}
    assert wandb_logger(group="mine", tags=["first"]) == {"offline": True, "group": "mine", "tags": ["first"]}
    monkeypatch.setattr("shiftaddaug.report.loggers.group_of_command", lambda: "cifar100_16px")
    assert wandb_logger() == {"offline": True, "group": "cifar100_16px"}


@pytest.mark.parametrize(
    ("choices", "study", "wanted"),
    [
        ({"sweep": "nas", "experiment": "cifar100_16px"}, "nas of nets", "nas of nets"),
        ({"sweep": "nas", "experiment": None}, None, "nas"),
        ({"sweep": None, "experiment": "ablation/full"}, "unused", "ablation/full"),
        ({"sweep": None, "experiment": None}, None, None),
    ],
)
def test_the_group_is_the_sweeps_study_or_the_experiment(
    choices: dict[str, Any], study: str | None, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OmegaConf.create({"runtime": {"choices": choices}, "sweeper": {"study_name": study}})
    assert group_of_command() is None
    monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: config))
    assert group_of_command() == wanted


def test_a_package_that_is_not_installed_is_named_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("mlflow", "comet", "aim"):
        with pytest.raises(UserError, match=rf"^logger={name}: .* options: pip install 'shiftaddaug\[{name}\]'$"):
            check_packages(read_yaml("logger", name))
    lightnings = {"mine": {"_target_": "lightning.pytorch.loggers.MLFlowLogger"}}
    with pytest.raises(UserError, match=r"^logger=mine: the package mlflow is not installed"):
        check_packages(lightnings)
    for name in {*names("logger")} - {"mlflow", "comet", "aim"}:
        check_packages(read_yaml("logger", name))


def test_packages_are_those_of_loggers_that_there_are() -> None:
    made = {name for name in PACKAGES if name.endswith("_logger")}
    assert all(callable(getattr(loggers, name)) for name in made)
    assert {f"{name}_logger" for name in ("mlflow", "comet", "aim")} == made


@pytest.mark.slow  # importing MLflow, and making its tables
def test_mlflow_writes_into_a_file_with_the_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = mlflow_logger(str(tmp_path), experiment_name="e", run_name="r", tags=["first"])
    logger.log_hyperparams({"op": {"name": "add"}})
    logger.log_metrics({"val/top1": 0.5}, step=3)
    logger.finalize("success")
    assert (tmp_path / "mlflow.db").exists()
    data = logger.experiment.get_run(logger.run_id).data
    assert (data.tags["first"], data.params, data.metrics) == (
        "true",
        {"op/name": "add"},
        {"val/top1": 0.5},
    )


def test_the_real_logger_starts_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers.wandb import WandbLogger

    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", WandbLogger)
    logger = wandb_logger(project="p", save_dir=str(tmp_path), log_model=False)
    assert type(logger) is WandbLogger
    assert getattr(sys.modules.get("wandb"), "run", None) is None
    assert list(tmp_path.iterdir()) == []


def test_wandb_prints_nothing_unless_its_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SILENT", raising=False)
    decided()
    assert os.environ.pop("WANDB_SILENT") == "true"
    monkeypatch.setenv("WANDB_SILENT", "false")
    decided()
    assert os.environ["WANDB_SILENT"] == "false"


class _Run:
    """A run of W&B, as far as it says where it is."""

    id, url = "abc", "https://wandb.ai/me/runs/abc"

    def __init__(self, offline: bool) -> None:
        self.offline, self.dir = offline, "/logs/my run/wandb/offline-run-abc/files"


def test_one_line_says_where_the_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Run=_Run))
    logger: Any = SimpleNamespace(experiment=_Run(offline=True))
    wanted = "W&B run abc, offline; upload it: wandb sync '/logs/my run/wandb/offline-run-abc'"
    assert whereabouts(logger) == wanted
    logger.experiment = _Run(offline=False)
    assert whereabouts(logger) == "W&B run https://wandb.ai/me/runs/abc"
    logger.experiment = object()
    assert whereabouts(logger) is None
