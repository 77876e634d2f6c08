"""What holds of all tests: few threads."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # small tensors: more threads only wait for each other
    torch.set_num_threads(1)
