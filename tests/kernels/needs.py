"""What a test of the native core needs; the reason of a skip says what the reader has to do so that it runs."""

import shutil

import pytest

from shiftaddaug.kernels.native import library, why_not
from shiftaddaug.kernels.native.build import ISAS, find_compiler

_compiler, _installed = find_compiler(), library()
_remedy = (
    "unset SHIFTADDAUG_ISA" if why_not() == "SHIFTADDAUG_ISA=none" else "install a C compiler, then run make setup"
)
NO_CORE = f"no native core ({why_not()}): {_remedy}"
PROCESSORS = {"avx2": "AVX2", "avx512": "AVX-512"}

needs_core = pytest.mark.skipif(_installed is None, reason=NO_CORE)
needs_compiler = pytest.mark.skipif(
    _compiler is None or shutil.which(_compiler[0]) is None,
    reason="needs a C compiler: install cc, gcc or clang, or name one with CC",
)


def isa_parameters() -> list[object]:
    """Every instruction set that the core knows, each with a skip where this machine cannot run it."""
    return [pytest.param(isa, marks=[] if (why := _missing(isa)) is None else pytest.mark.skip(why)) for isa in ISAS]


def _missing(isa: str) -> str | None:
    if _installed is None:
        return NO_CORE
    if isa in _installed.isas:
        return None
    return f"needs a processor with {PROCESSORS[isa]}, and a C compiler that knew it when the package was installed"
