"""Time the add convolution, shape by shape, as ratios against torch's own convolution in the same run.

    make bench BENCH=operators ARGS="--shapes a1,c2 --threads 1"

The ratios are of smallest times, to the faster of F.conv2d's two layouts; of memory, to the leaner one. The
candidates take turns in one process, so that a busy machine burdens all of them alike; those that take seconds get
fewer rounds, and a smaller batch (then scaled up, see the notes) where their temporaries would exceed 2 GB.
Forward runs without autograd; forward + backward yields both gradients. Memory is the peak of forward + backward,
outputs and gradients included, measured by the kernel in a fresh process (Linux only; see `measure.peak_growth`).
Errors are against float64 at batch 2, over the largest value. Files: operators.csv and operators.png under --out.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from candidates import FAMILIES, SHAPES, Candidate, Layer, Shape, candidates, errors
from measure import (
    LOGS,
    Panel,
    Parser,
    can_measure_memory,
    environment,
    folder,
    formatted,
    in_fresh_process,
    interleave,
    load_average,
    peak_growth,
    plot_bars,
    positive,
    ratio,
    some_of,
    write_csv,
)

from shiftaddaug.kernels import add
from shiftaddaug.report.results import print_table, shortest_path

MOST_BYTES = 2e9
"""Of a formulation's temporaries."""
BUDGET_SECONDS = 3.0
"""For the rounds of one candidate and measure; 2 rounds in any case."""
ERROR_BATCH = 2
LEAST_MIB = 1.0
"""Of a peak that others are compared with: the measurement is good to about 0.1."""
PRELOAD = ("torch.fx.experimental.symbolic_shapes", "shiftaddaug.kernels.add")
"""For the processes that measure memory. The first is what `autograd.grad` imports when it first runs, for seconds."""

COLUMNS = {
    "candidate": ("candidate", ""),
    "fwd_ratio": ("fwd / conv", ".2f"),
    "fwd_bwd_ratio": ("fwd+bwd / conv", ".2f"),
    "memory_ratio": ("memory / conv", ".2f"),
    "fwd_min_ms": ("fwd min ms", ".2f"),
    "fwd_median_ms": ("median", ".2f"),
    "fwd_n": ("n", ""),
    "fwd_bwd_min_ms": ("fwd+bwd min ms", ".2f"),
    "fwd_bwd_median_ms": ("median ", ".2f"),
    "fwd_bwd_n": ("n ", ""),
    "memory_mib": ("peak MiB", ".1f"),
    "error_fwd": ("error fwd", ".0e"),
    "error_dx": ("dX", ".0e"),
    "error_dw": ("dW", ".0e"),
    "note": ("note", ""),
}


def fitting_batch(candidate: Candidate, shape: Shape, batch: int) -> int:
    """The batch, halved until the candidate's temporaries fit; 0 if one image is too large."""
    while batch and candidate.bytes_per_image(shape) * batch > MOST_BYTES:
        batch //= 2
    return batch


def peak_mib(shape: Shape, name: str, batch: int, threads: int) -> float:
    """Of forward and backward of the candidate of that name; for a fresh process."""
    torch.set_num_threads(threads)
    everyone = {candidate.name: candidate for candidate in candidates(shape)}
    layer = Layer(everyone[name], shape, batch)
    slow = everyone[name].bytes_per_image(shape) > 0
    rehearsal = Layer(everyone[name], shape, 1) if slow else layer
    return peak_growth(layer.forward_backward, rehearsal.forward_backward)


def measure_shape(shape: Shape, chosen: Sequence[Candidate], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of raw figures for each candidate; those at a smaller batch are scaled to the batch asked for."""
    batches = {c.name: fitting_batch(c, shape, arguments.batch) for c in chosen}
    # first, for what torch imports at first use would count against a candidate's rounds
    found = {c.name: errors(c, shape, min(batches[c.name], ERROR_BATCH)) for c in chosen if batches[c.name]}
    layers = {c.name: Layer(c, shape, batches[c.name]) for c in chosen if batches[c.name]}
    forward = interleave({n: layer.forward for n, layer in layers.items()}, arguments.rounds, budget=BUDGET_SECONDS)
    both = interleave(
        {n: layer.forward_backward for n, layer in layers.items()}, arguments.rounds, budget=BUDGET_SECONDS
    )
    del layers
    rows = []
    for candidate in chosen:
        batch = batches[candidate.name]
        row: dict[str, Any] = {"shape": shape.name, "candidate": candidate.name, "note": _note(candidate, shape, batch)}
        if batch:
            scale = arguments.batch / batch
            for key, seconds in (("fwd", forward[candidate.name]), ("fwd_bwd", both[candidate.name])):
                row[f"{key}_min_ms"] = 1e3 * scale * min(seconds)
                row[f"{key}_median_ms"] = 1e3 * scale * statistics.median(seconds)
                row[f"{key}_n"] = len(seconds)
            if arguments.memory:
                task = (shape, candidate.name, batch, arguments.threads)
                row["memory_mib"] = scale * in_fresh_process(peak_mib, *task, preload=PRELOAD)
            row.update(zip(("error_fwd", "error_dx", "error_dw"), found[candidate.name], strict=True))
            row["note"] += f"batch {batch}, scaled" if batch < arguments.batch else ""
        rows.append(row)
    return rows


def _note(candidate: Candidate, shape: Shape, batch: int) -> str:
    needed = candidate.bytes_per_image(shape) / 1e9
    return "" if batch else f"skipped: one image needs {needed:.1f} GB"


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """Ratios of every row to the least figure of F.conv2d's two layouts, for each measure by itself."""
    conv = [row for row in rows if row["candidate"].startswith("conv ")]
    for key, figure in (("fwd", "fwd_min_ms"), ("fwd_bwd", "fwd_bwd_min_ms"), ("memory", "memory_mib")):
        least = min((row[figure] for row in conv if figure in row), default=None)
        if key == "memory" and least is not None and least < LEAST_MIB:
            least = None
        for row in rows:
            row[f"{key}_ratio"] = ratio(row.get(figure), least)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every shape, the ratios of ours in both layouts."""
    table = []
    for name in dict.fromkeys(row["shape"] for row in rows):
        line: dict[str, Any] = {"shape": str(SHAPES[name])}
        for layout in ("channels_last", "NCHW"):
            ours = next((r for r in rows if r["shape"] == name and r["candidate"] == f"ours {layout}"), {})
            for key in ("fwd", "fwd_bwd", "memory"):
                value = ours.get(f"{key}_ratio")
                line[f"{key.replace('_', '+')} {layout}"] = None if value is None else f"{value:.2f}"
        table.append(line)
    return table


def path_of_ours() -> str:
    """What `add_conv2d` says of how it computes on this machine, as far as it does."""
    describe, implementation = (getattr(add, name, None) for name in ("describe", "implementation"))
    if describe is not None:
        return str(describe())
    return implementation(torch.zeros(1, 1, 1, 1)).__name__ if implementation is not None else "unknown"


def panels(rows: list[dict[str, Any]]) -> list[Panel]:
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    found = {(row["shape"], row["candidate"]): row for row in rows}
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    titles = {
        "fwd_ratio": "forward: smallest time / faster convolution's",
        "fwd_bwd_ratio": "forward + backward: smallest time / faster convolution's",
        "memory_ratio": "forward + backward: peak memory / leaner convolution's",
    }
    return [
        Panel(title, shapes, {name: [found.get((shape, name), {}).get(key) for shape in shapes] for name in names})
        for key, title in titles.items()
        if any(row.get(key) for row in rows)
    ]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = "; ".join(str(shape) for shape in SHAPES.values())
    parser.add_argument("--shapes", type=some_of(list(SHAPES)), default=list(SHAPES), help=shapes)
    parser.add_argument(
        "--candidates", type=some_of(FAMILIES), default=list(FAMILIES), help=f"some of {', '.join(FAMILIES)}"
    )
    parser.add_argument("--batch", type=positive, default=128)
    parser.add_argument("--rounds", type=positive, default=15, help="calls of each candidate, after one unmeasured")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="time only")
    parser.add_argument("--out", type=folder, default=LOGS, help="folder of operators.csv and operators.png")
    arguments: argparse.Namespace = parser.parse_args(argv)
    if "conv" not in arguments.candidates:
        parser.error(f"--candidates {','.join(arguments.candidates)}: conv must be among them, ratios are to it")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    arguments.memory = arguments.memory and can_measure_memory()
    print(environment())
    path = path_of_ours()
    print(f"ours: {path}")
    rows = []
    for shape in (SHAPES[name] for name in arguments.shapes):
        chosen = [c for c in candidates(shape) if c.family in arguments.candidates]
        measured = measure_shape(shape, chosen, arguments)
        add_ratios(measured)
        title = f"{shape}; batch {arguments.batch}, {shape.macs * arguments.batch / 1e6:.0f} M accumulations"
        print_table(title, formatted(measured, COLUMNS))
        rows += measured
    print_table(f"ours / faster convolution ({path})", summary(rows))
    print(load_average())
    constant = {"batch": arguments.batch, "threads": arguments.threads, "torch": torch.__version__, "path": path}
    keys = ["shape", *COLUMNS]
    table, picture = arguments.out / "operators.csv", arguments.out / "operators.png"
    write_csv(table, [{key: row.get(key) for key in keys} | constant for row in rows])
    plot_bars(picture, f"Add convolution, batch {arguments.batch}, {arguments.threads} threads", panels(rows))
    print(f"{shortest_path(table)}, {shortest_path(picture)}")


if __name__ == "__main__":
    main()
