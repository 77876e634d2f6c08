"""Whether W&B is offline: decided without starting a run, or the network."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftaddaug.report.loggers import wandb_logger, whereabouts

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
