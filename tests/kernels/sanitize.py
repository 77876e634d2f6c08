"""Random problems (fuzz.c) through a core compiled with sanitizers: `make sanitize`, or with other numbers

    python tests/kernels/sanitize.py --seed 7 --problems 20000

Needs a C compiler with its sanitizers, and Linux.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shiftaddaug.kernels.native import build

NAN_MEMORY = "max_malloc_fill_size=1073741824:malloc_fill_byte=255"
"""Memory that is used before it is written spoils the results."""
KINDS = {
    "none": (build.OPTIMISED, {}),
    "addresses and undefined behaviour": (build.SANITIZED, {"ASAN_OPTIONS": NAN_MEMORY}),
    "threads": (("-O1", "-g", "-fsanitize=thread"), {}),
}
"""Flags of the compiler, and what the environment says."""
EXACT_SCRATCH = "-DSCRATCH_KEPT=0"
"""Each call allocates its scratch memory anew: what is beyond it is then beyond an allocation."""


def compile_driver(driver: Path, library: Path, flags: Sequence[str] = ("-O1",)) -> Path:
    """Compile fuzz.c against a library that `build` has compiled."""
    compiler = build.find_compiler()
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    source = Path(__file__).with_name("fuzz.c")
    command = [*compiler, "-std=c11", "-Wall", "-Wextra", *flags, f"-I{build.SOURCES}", str(source), str(library)]
    subprocess.run([*command, f"-Wl,-rpath,{library.parent}", "-pthread", "-lm", "-o", str(driver)], check=True)
    return driver


def drive(driver: Path, seed: int, problems: int, threads: int, environment: dict[str, str] | None = None) -> str:
    """What the driver, and a sanitizer that found something, print."""
    command = [str(driver), str(seed), str(problems), str(threads)]
    environment = os.environ | (environment or {})
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Random problems through the native core, under sanitizers.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=3000)
    arguments = parser.parse_args()
    wrong = 0
    for kind, (flags, environment) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "libshiftaddaug.so"
            isas = build.build(library, (*flags, EXACT_SCRATCH))
            driver = compile_driver(Path(folder) / "fuzz", library, flags)
            for threads in (1, 3):
                output = drive(driver, arguments.seed, arguments.problems, threads, environment)
                print(f"sanitizer: {kind}; {threads} threads; {', '.join(isas)}: {output}", end="", flush=True)
                wrong += output != f"{arguments.problems} problems right\n"
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
