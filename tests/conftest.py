"""What all tests share: small pieces of configuration, read from the real yamls, and few threads."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # small tensors: more threads only wait for each other
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def configs() -> Path:
    return CONFIGS


def read_yaml(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    return content
