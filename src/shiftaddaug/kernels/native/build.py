"""Compile the C core with whatever C compiler there is. Imports nothing but the standard library.

Run when the package is installed (build_hook.py at the top of the repository), or by hand:
`python src/shiftaddaug/kernels/native/build.py`.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "c"
ISAS = ("portable", "avx2", "avx512")
"""Instruction sets by their number in c/dispatch.c, the widest last."""
ISA_FLAGS = {"portable": (), "avx2": ("-mavx2", "-mfma"), "avx512": ("-mavx512f", "-mavx512dq", "-mfma")}
FLAGS = ("-std=c11", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-maybe-uninitialized")
OPTIMISED = ("-O3", "-fno-math-errno")
SANITIZED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def library_path() -> Path:
    """Where the core lies once it is compiled."""
    return Path(__file__).resolve().parent / "libshiftaddaug.so"


def hash_path(library: Path) -> Path:
    """Where the hash of a library's content lies: a damaged library must not be loaded, which may end the process."""
    return library.with_name(f"{library.name}.sha256")


def content_hash(library: Path) -> str:
    """Hash of a library's content, as it stands in its `hash_path`."""
    return hashlib.sha256(library.read_bytes()).hexdigest()


def source_hash() -> str:
    """Hash of the C sources: a library that carries another one was compiled from other sources."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def find_compiler() -> list[str] | None:
    """The command of the C compiler: $CC, or the first of cc, gcc and clang; None if there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return None if found is None else [found]


def build(output: Path | None = None, flags: Sequence[str] = OPTIMISED) -> list[str]:
    """Compile every instruction set that the compiler knows into one shared library.

    Args:
        output: of the library; `library_path()` by default. Replaced only once it is complete; its hash lies beside it.
        flags: of optimisation or instrumentation.

    Returns:
        The instruction sets built.

    Raises:
        FileNotFoundError: no C compiler.
        RuntimeError: it cannot compile the core; the message is its own.
    """
    compiler = find_compiler()
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc, gcc, clang, or the one that CC names)")
    output = output or library_path()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    isas = ISAS if x86 else ISAS[:1]
    with tempfile.TemporaryDirectory() as folder:
        objects = {isa: str(Path(folder) / f"{isa}.o") for isa in isas}

        def compile_isa(isa: str) -> bool:
            source = ["-c", str(SOURCES / "kernels.c"), "-o", objects[isa]]
            return _run(compiler, [*flags, *ISA_FLAGS[isa], f"-DISA={isa}", *source], required=isa == "portable")

        with ThreadPoolExecutor() as pool:
            built = [isa for isa, done in zip(isas, pool.map(compile_isa, isas), strict=True) if done]
        defined = [f"-DWITH_{isa.upper()}" for isa in built] + [f'-DSOURCE_HASH="{source_hash()}"']
        linked = [objects[isa] for isa in built]
        library = Path(folder) / output.name
        _run(compiler, [*flags, *defined, "-shared", str(SOURCES / "dispatch.c"), *linked, "-o", str(library)], True)
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_name(f"{output.name}.{os.getpid()}")
        shutil.copy(library, partial)
        partial.replace(output)
        partial.write_text(f"{content_hash(library)}\n")
        partial.replace(hash_path(output))
    return list(built)


def _run(compiler: list[str], arguments: list[str], required: bool) -> bool:
    try:
        result = subprocess.run([*compiler, *FLAGS, *arguments], capture_output=True, text=True)
    except OSError as error:
        raise FileNotFoundError(f"C compiler {compiler[0]!r}: {error}") from None
    if required and result.returncode:
        raise RuntimeError(f"{compiler[0]}: {result.stderr.strip()}")
    return result.returncode == 0


if __name__ == "__main__":
    print(f"{library_path()}: {', '.join(build())}", file=sys.stderr)
