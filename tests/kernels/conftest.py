"""The native core as kernels' tests need it, and how many examples `--hypothesis-profile=fuzz` tries."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from shiftaddaug.kernels.native import Library, library, why_not
from shiftaddaug.kernels.native.build import library_path

settings.register_profile("fuzz", max_examples=10_000, deadline=None)

installed = library()
no_core = pytest.param("none", marks=pytest.mark.skip(reason=f"no native core: {why_not()}"))


@pytest.fixture(scope="session", params=installed.isas if installed else [no_core])
def core(request: pytest.FixtureRequest) -> Library:
    """The installed core, with each instruction set of this machine."""
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
