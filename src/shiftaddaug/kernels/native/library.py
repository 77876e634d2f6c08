"""The compiled core: found beside this file, driven through its plain C interface on torch's own threads."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch

from shiftaddaug.errors import UserError
from shiftaddaug.kernels.native.build import ISAS, content_hash, hash_path, library_path, source_hash
from shiftaddaug.kernels.native.problem import Problem

ISA_VARIABLE = "SHIFTADDAUG_ISA"
"""Environment variable that names the instruction set to use; `none` chooses the plain torch path."""

SINGLE_THREAD_MACS = 2**17
"""Work below which waking other threads costs more than it saves."""


DONE, OUT_OF_MEMORY = 0, 1
"""Outcomes of c/core.h."""


class Library:
    """One loaded core and the instruction set it runs with.

    Args:
        path: of the shared library.
        isa: one of `ISAS` that it and the processor have; the widest by default.

    Raises:
        OSError: the library cannot be loaded.
        ValueError: an instruction set it does not have.
    """

    def __init__(self, path: Path, isa: str | None = None) -> None:
        if not _is_whole(path):
            raise OSError(f"{path}: damaged, or not a library of this package; install the package again (make setup)")
        core = ctypes.CDLL(str(path))
        core.shiftaddaug_source_hash.restype = ctypes.c_char_p
        if core.shiftaddaug_source_hash().decode() != source_hash():
            raise OSError(f"{path}: compiled from other sources; install the package again (make setup)")
        core.shiftaddaug_begin.restype = ctypes.c_void_p
        core.shiftaddaug_begin.argtypes = (ctypes.POINTER(Problem), ctypes.c_int)
        core.shiftaddaug_work.argtypes = (ctypes.c_void_p,)
        core.shiftaddaug_work.restype = None
        core.shiftaddaug_end.argtypes = (ctypes.c_void_p,)
        self._core = core
        self.isas = tuple(name for number, name in enumerate(ISAS) if core.shiftaddaug_has(number))
        if isa is not None and isa not in self.isas:
            raise ValueError(f"instruction set {isa!r}: not among {', '.join(self.isas)}")
        self.isa = isa or self.isas[-1]
        self._parallel = _torch_threads(core) or _python_threads(core)

    def run(self, problem: Problem, macs: int) -> bool:
        """Compute problem.out. Return False where a nan of its input gradient would be lost: it is then not computed.

        Raises:
            MemoryError: not enough memory for the core's buffers.
        """
        core = self._core
        job = core.shiftaddaug_begin(problem, ISAS.index(self.isa))
        if not job:
            raise MemoryError("add convolution: out of memory")
        threads = torch.get_num_threads() if macs > SINGLE_THREAD_MACS else 1
        if threads > 1:
            self._parallel(job, threads)
        else:
            core.shiftaddaug_work(job)
        outcome = core.shiftaddaug_end(job)
        if outcome == OUT_OF_MEMORY:
            raise MemoryError("add convolution: out of memory")
        return bool(outcome == DONE)


def _is_whole(path: Path) -> bool:
    """Whether a library is what was built, by the hash beside it. To load half of one may end the process."""
    known = hash_path(path)
    return known.exists() and known.read_text(errors="replace").strip() == content_hash(path)


def _torch_threads(core: ctypes.CDLL) -> Callable[[int, int], None] | None:
    """Runs the work on the OpenMP threads that torch runs on; None where their library does not offer it.

    A pool of its own would compete with them: after each of torch's operations they go on spinning for a while.
    """
    try:
        gomp_parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    gomp_parallel.restype = None
    gomp_parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    work = ctypes.cast(core.shiftaddaug_work, ctypes.c_void_p)
    return lambda job, threads: gomp_parallel(work, job, threads, 0)


def _python_threads(core: ctypes.CDLL) -> Callable[[int, int], None]:
    """Runs the work on Python threads, which ctypes lets run at once."""
    pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="shiftaddaug")

    def parallel(job: int, threads: int) -> None:
        helpers = [pool.submit(core.shiftaddaug_work, job) for _ in range(min(threads, 64) - 1)]
        core.shiftaddaug_work(job)
        for helper in helpers:
            helper.result()

    return parallel


@lru_cache(maxsize=1)
def library() -> Library | None:
    """The core of this installation, None if there is none (`why_not` says why) or if the environment says `none`.

    Raises:
        UserError: an instruction set in the environment that this machine does not have.
    """
    return _load()[0]


@lru_cache(maxsize=1)
def _load() -> tuple[Library | None, str]:
    wanted = os.environ.get(ISA_VARIABLE) or None
    if wanted == "none":
        return None, f"{ISA_VARIABLE}=none"
    path = library_path()
    if not path.exists():
        return None, "no C compiler was found when the package was installed"
    try:
        return Library(path, wanted), ""
    except OSError as error:
        return None, str(error)
    except ValueError as error:
        raise UserError(f"{ISA_VARIABLE}: {error}, none") from None


def why_not() -> str:
    """Why there is no core; empty if there is one."""
    return _load()[1]
