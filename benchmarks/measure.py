"""What the benchmarks share: taking turns, ratios, memory, tables, files. Imports no torch until it is needed."""

import argparse
import csv
import ctypes
import gc
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "logs"
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512dq", "avx512vl")
"""What fast paths may ask of an x86 processor, as /proc/cpuinfo names it."""
M_MMAP_THRESHOLD = -3
"""In malloc.h of glibc."""
LARGER_BLOCK = 2**16
"""Bytes."""
LEAST_ROUNDS = 2
"""Of a candidate too slow for all of them."""

Item = TypeVar("Item")


class Parser(argparse.ArgumentParser):
    """Answers mistakes with one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def positive(text: str) -> int:
    """Argument type: an integer above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a positive integer")
    return int(text)


def some_of(options: Sequence[str]) -> Callable[[str], list[str]]:
    """Argument type: a comma-separated selection of the options, in the order given, each once."""

    def selection(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        unknown = [name for name in names if name not in options]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: no such name; options: {', '.join(options)}")
        return names

    return selection


def folder(text: str) -> Path:
    """Argument type: a folder that exists, or can be made."""
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: not a folder that can be made ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: not writable")
    return path


def environment() -> str:
    """One line about what the figures depend on."""
    import torch

    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
        flags = set(lines[0].split()) if lines else set()
    known = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in CPU_FLAGS)
    cpu = known if flags else f"{platform.machine()}, flags unknown"
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()}, {cpu}; {load_average()}"


def load_average() -> str:
    """Of the last 1, 5 and 15 minutes: how busy the machine was with others, and with us."""
    return "load average " + " ".join(f"{load:.2f}" for load in os.getloadavg())


def rotated(items: Sequence[Item], turn: int) -> list[Item]:
    """The items in their order, beginning with another one every turn."""
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def takes_part(turn: int, of: int, rounds: int) -> bool:
    """Whether a candidate that gets `rounds` of `of` turns has one now; they are spread evenly."""
    return (turn + 1) * rounds // of > turn * rounds // of


def affordable_rounds(seconds: float, rounds: int, budget: float) -> int:
    """As many rounds of that many seconds as the budget (seconds) allows; at least 2 and at most `rounds`."""
    return int(min(rounds, max(LEAST_ROUNDS, budget / max(seconds, 1e-9))))


def interleave(
    steps: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, budget: float = float("inf")
) -> dict[str, list[float]]:
    """Seconds of every call, by candidate, in the order of its calls.

    The candidates take turns in rotating order, so that a busy machine burdens all of them alike.

    Args:
        steps: the candidates.
        rounds: calls of each.
        warm_up: calls of each before these, not recorded.
        budget: seconds for one candidate; a slow one gets fewer rounds.
    """
    names = list(steps)
    allowed = {}
    for name in names:
        seconds = [_seconds(steps[name]) for _ in range(warm_up)]
        allowed[name] = affordable_rounds(seconds[-1], rounds, budget) if seconds else rounds
    recorded: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in rotated(names, turn):
            if takes_part(turn, rounds, allowed[name]):
                recorded[name].append(_seconds(steps[name]))
    return recorded


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def mean_of_least(seconds: Sequence[float], cycle: int) -> float:
    """Mean over a cycle of different steps of the least time of each; call i was step i % cycle."""
    return statistics.mean(min(seconds[i::cycle]) for i in range(cycle))


def ratio(value: float | None, reference: float | None) -> float | None:
    """value / reference, where both are there."""
    return None if value is None or not reference else value / reference


def can_measure_memory() -> bool:
    """Linux lets a process reset its own peak."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def peak_growth(step: Callable[[], object], rehearsal: Callable[[], object]) -> float:
    """MiB of anonymous memory that a step needs above what this process held before.

    The kernel's peak (VmHWM, reset through /proc/self/clear_refs) less the pages of files; in a fresh process it is
    good to about 0.1. All that any library allocates counts, with or without torch's allocator. What the rehearsal,
    the same step or a smaller one, leaves behind does not: imports, code generated for a shape, and scratch memory
    that is kept from step to step.
    """
    rehearsal()
    gc.collect()  # or the interpreter gives memory back during the step, and hides as much of the step's
    before = memory_kib("RssAnon")
    Path("/proc/self/clear_refs").write_text("5")
    kept = step()
    peak = memory_kib("VmHWM") - memory_kib("RssFile") - memory_kib("RssShmem")
    del kept
    return max(0.0, (peak - before) / 1024)


def memory_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def in_fresh_process(function: Callable[..., Item], *arguments: Any, preload: Sequence[str] = ()) -> Item:
    """The function's result, computed in a new process that has imported `preload` and done nothing else.

    Forked from a server that never ran a parallel region, hence quick and safe. Function and arguments are pickled.
    There malloc asks the system for every larger block, so that memory once freed does not hide what is needed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_exact_malloc, function, *arguments).result()


def _with_exact_malloc(function: Callable[..., Item], *arguments: Any) -> Item:
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt") and hasattr(c_library, "malloc_trim"):
        c_library.mallopt(M_MMAP_THRESHOLD, LARGER_BLOCK)
        c_library.malloc_trim(0)  # what was freed before the fork
    return function(*arguments)


def formatted(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows for `print_table`: of each key its heading and its value in that format; an absent value stays None."""
    return [
        {heading: None if row.get(key) is None else format(row[key], form) for key, (heading, form) in columns.items()}
        for row in rows
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Panel:
    """Grouped bars of ratios: one series of values (None leaves a gap) for each name."""

    title: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    limit: float = 1.0
    """Where the dashed line is; bars begin at 1."""


def plot_bars(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draw the panels below each other, on logarithmic axes, with the values on the bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(panels), 1, figsize=(14, 3.4 * len(panels)), constrained_layout=True, squeeze=False)
    for panel, axis in zip(panels, axes[:, 0], strict=True):
        width = 0.85 / len(panel.series)
        for i, (name, values) in enumerate(panel.series.items()):
            there = [(group, value) for group, value in enumerate(values) if value]
            places = [group + (i + 0.5) * width - 0.425 for group, _ in there]
            bars = axis.bar(places, [value - 1 for _, value in there], width, bottom=1, label=name)
            labels = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for _, value in there]
            axis.bar_label(bars, labels, fontsize=6, rotation=90, padding=2)
        axis.axhline(panel.limit, color="black", linestyle="--", linewidth=0.8)
        axis.set(title=panel.title, yscale="log")
        drawn = [1.0, panel.limit, *(value for values in panel.series.values() for value in values if value)]
        axis.set_ylim(0.6 * min(drawn), 2 * max(drawn))  # room for the labels
        axis.set_xticks(range(len(panel.groups)), panel.groups)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}" if max(drawn) < 10 * min(drawn) else "")
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].legend(fontsize=8, ncols=2)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def fail(message: object) -> NoReturn:
    """One line on stderr, exit status 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)
