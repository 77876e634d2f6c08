"""The native core as kernels' tests need it, and how many examples `--hypothesis-profile=fuzz` tries."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from shiftaddaug.kernels.native import Library
from shiftaddaug.kernels.native.build import library_path
from tests.kernels.needs import isa_parameters

settings.register_profile("fuzz", max_examples=10_000, deadline=None)


@pytest.fixture(scope="session", params=isa_parameters())
def core(request: pytest.FixtureRequest) -> Library:
    """The installed core, with each instruction set that it knows; those that this machine lacks are skipped."""
    return Library(library_path(), request.param)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Memory that torch allocates is nan until something is written to it."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def one_thread_afterwards() -> Iterator[None]:
    yield
    torch.set_num_threads(1)
