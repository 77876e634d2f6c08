"""Compiling, finding and loading the native core."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from shiftaddaug.errors import UserError
from shiftaddaug.kernels.add import describe, native
from shiftaddaug.kernels.native import Library, build
from shiftaddaug.kernels.native.build import ISAS, find_compiler, hash_path, library_path, source_hash
from tests.kernels.cases import Case, laid_out, tensors
from tests.kernels.needs import needs_compiler

library_module = importlib.import_module("shiftaddaug.kernels.native.library")  # its name is also a function's
load = library_module._load.__wrapped__
"""As at the first use in a process."""

DAMAGED = "damaged, or not a library of this package; install the package again (make setup)"
QUICK = ("-O0",)
CASE = Case((3, 33, 12, 12), (35, 33, 3, 3), padding=1)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the C sources, which `build` compiles instead."""
    copy = tmp_path / "c"
    shutil.copytree(build.SOURCES, copy)
    monkeypatch.setattr(build, "SOURCES", copy)
    return copy


@needs_compiler
def test_the_core_is_installed_wherever_there_is_a_compiler() -> None:
    """Otherwise all that uses it would be skipped, and nobody would know."""
    isas = Library(library_path()).isas
    assert isas[0] == "portable"
    capability = torch.backends.cpu.get_cpu_capability()
    if capability in ("AVX2", "AVX512"):
        assert "avx2" in isas
    if capability == "AVX512":
        assert "avx512" in isas


@needs_compiler
def test_a_library_built_elsewhere_computes_the_same(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "library.so"
    assert build.build(path, QUICK)[0] == "portable"
    assert sorted(file.name for file in path.parent.iterdir()) == ["library.so", "library.so.sha256"]
    _, x, w = tensors(CASE)
    for isa in Library(library_path()).isas:
        one, other = (
            native.add_conv2d(x, w, *CASE.arguments, core=Library(place, isa)) for place in (path, library_path())
        )
        assert torch.equal(one, other)


def test_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc -m64")
    assert find_compiler() == ["/nonexistent/cc", "-m64"]
    with pytest.raises(FileNotFoundError, match=r"^C compiler '/nonexistent/cc': .*$"):
        build.build(tmp_path / "library.so")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    with pytest.raises(FileNotFoundError, match=r"^no C compiler \(cc, gcc, clang, or the one that CC names\)$"):
        build.build(tmp_path / "library.so")
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_sources_that_do_not_compile(sources: Path, tmp_path: Path) -> None:
    (sources / "kernels.c").write_text("#error of a test\n")
    output = tmp_path / "library.so"
    output.write_text("an older library")
    with pytest.raises(RuntimeError, match="of a test"):
        build.build(output, QUICK)
    assert output.read_text() == "an older library"


@needs_compiler
def test_an_instruction_set_that_the_compiler_does_not_know_is_left_out(sources: Path, tmp_path: Path) -> None:
    kernels = sources / "kernels.c"
    kernels.write_text(f"#if defined(__AVX2__)\n#error\n#endif\n{kernels.read_text()}")
    assert build.build(tmp_path / "library.so", QUICK) == ["portable"]
    assert Library(tmp_path / "library.so").isas == ("portable",)
    with pytest.raises(ValueError, match="instruction set 'avx2': not among portable"):
        Library(tmp_path / "library.so", "avx2")


@needs_compiler
def test_a_library_of_other_sources_is_refused(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_hash() == build.source_hash()
    with (sources / "dispatch.c").open("a") as file:
        file.write("\n")
    with pytest.raises(OSError, match=r"compiled from other sources; install the package again \(make setup\)"):
        Library(library_path())
    assert load()[0] is None
    assert "compiled from other sources" in load()[1]


def test_what_is_no_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "library.so"
    monkeypatch.setattr(library_module, "library_path", lambda: path)
    assert load() == (None, "no C compiler was found when the package was installed")
    path.write_text("not a library")
    core, reason = load()
    assert core is None and reason == f"{path}: {DAMAGED}"
    monkeypatch.setattr(library_module, "library_path", lambda: Path(importlib.import_module("_ctypes").__file__))
    core, reason = load()
    assert core is None and reason.endswith(DAMAGED)


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_part_of_a_library_is_refused(core: Library, tmp_path: Path, share: float) -> None:
    """To load half of one ends the process (SIGBUS)."""
    path = tmp_path / "library.so"
    whole = library_path().read_bytes()
    shutil.copy(hash_path(library_path()), hash_path(path))
    path.write_bytes(whole)
    assert Library(path).isas == core.isas
    other = tmp_path / "part.so"  # another file: the first is loaded
    shutil.copy(hash_path(path), hash_path(other))
    other.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(OSError, match=re.escape(f"{other}: {DAMAGED}")):
        Library(other)
    other.write_bytes(bytes([whole[-1] ^ 1]) + whole[1:])
    with pytest.raises(OSError, match=re.escape(DAMAGED)):
        Library(other)
    hash_path(path).unlink()
    with pytest.raises(OSError, match=re.escape(DAMAGED)):
        Library(path)


def test_the_environment_chooses(core: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ISA", "none")
    assert load() == (None, "SHIFTADDAUG_ISA=none")
    monkeypatch.setenv("SHIFTADDAUG_ISA", core.isa)
    chosen, reason = load()
    assert (chosen.isa, reason) == (core.isa, "")
    monkeypatch.setenv("SHIFTADDAUG_ISA", "")
    assert load()[0].isa == core.isas[-1]
    monkeypatch.setenv("SHIFTADDAUG_ISA", "mmx")
    options = ", ".join(core.isas)
    with pytest.raises(UserError, match=f"^SHIFTADDAUG_ISA: instruction set 'mmx': not among {options}, none$"):
        load()


def test_the_widest_instruction_set_is_the_default(core: Library) -> None:
    assert Library(library_path()).isa == core.isas[-1] == max(core.isas, key=ISAS.index)


@pytest.mark.usefixtures("one_thread_afterwards")
def test_python_s_threads_compute_what_torch_s_do(core: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "_torch_threads", lambda core: None)
    other = Library(library_path(), core.isa)
    _, x, w = (laid_out(t, "channels_last") for t in tensors(CASE))
    expected = native.add_conv2d(x, w, *CASE.arguments, core=core)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(native.add_conv2d(x, w, *CASE.arguments, core=other), expected)


def test_callers_in_several_threads_do_not_disturb_each_other(core: Library) -> None:
    images = [tensors(CASE, seed=seed) for seed in range(12)]

    def output(image: tuple[torch.Tensor, ...]) -> torch.Tensor:
        _, x, w = image
        return native.add_conv2d(x, w, *CASE.arguments, core=core)

    expected = [output(image) for image in images]
    with ThreadPoolExecutor(max_workers=4) as pool:
        assert all(map(torch.equal, pool.map(output, images), expected))


def test_one_line_says_how_add_convolutions_are_computed() -> None:
    core, reason = load()
    assert describe() == (f"native core ({core.isa})" if core else f"plain torch: {reason}")


WITHOUT_A_CORE = """
import torch
from shiftaddaug.kernels.add import add_conv2d, describe, naive
from shiftaddaug.kernels.depthwise import depthwise_conv2d
from shiftaddaug.kernels.native import library, why_not

assert library() is None and why_not() == "SHIFTADDAUG_ISA=none" and describe() == "plain torch: SHIFTADDAUG_ISA=none"
x, w = torch.randn(2, 4, 5, 5), torch.randn(4, 1, 3, 3).requires_grad_()
y = add_conv2d(x, w, 1, 1, 1, 4)
y.sum().backward()
assert torch.equal(y, naive.add_conv2d(x, w, 1, 1, 1, 4))
assert torch.equal(w.grad, naive.add_conv2d_weight_grad(torch.ones_like(y), x, w, 1, 1, 1, 4))
weight = w.detach().clone().requires_grad_()
y = depthwise_conv2d(x, weight, 1, 1)
assert torch.equal(y, torch.nn.functional.conv2d(x, weight, None, 1, 1, 1, 4))
(expected,) = torch.autograd.grad(torch.nn.functional.conv2d(x, weight, None, 1, 1, 1, 4).sum(), weight)
assert torch.equal(torch.autograd.grad(y.sum(), weight)[0], expected)
print("equal")
"""


@pytest.mark.slow
def test_everything_works_without_a_core() -> None:
    source = str(Path(build.__file__).parents[3])
    environment = os.environ | {"SHIFTADDAUG_ISA": "none", "PYTHONPATH": source}
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_CORE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.stdout == "equal\n", process.stderr
