"""Time training steps whose target pass is compiled (`task.compile=inductor`) against the same steps as they are.

    make bench BENCH=compiled_step ARGS="--nets mbv2_w035 --ops add"

For each net, augmentation and operator: the smallest time of a step, eager and compiled, their ratio, and the seconds
that the first compiled step took beyond an eager one (compilation; what torch keeps on disk shortens it the next time).
The candidates take turns. Augmented passes stay eager, as in training. File: compiled_step.csv under --out.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from measure import (
    LOGS,
    Parser,
    environment,
    folder,
    formatted,
    interleave,
    load_average,
    mean_of_least,
    positive,
    some_of,
    write_csv,
)
from training_step import AUGS, NETS, OPS, Step, plan_of, read_config

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.report.results import print_table, shortest_path

COLUMNS = {
    "net": ("net", ""),
    "aug": ("aug", ""),
    "op": ("op", ""),
    "ratio": ("compiled / eager", ".2f"),
    "eager_ms": ("eager, min ms", ".0f"),
    "compiled_ms": ("compiled, min ms", ".0f"),
    "compile_s": ("compilation, s", ".0f"),
}


def measure(plan: Plan, net: str, op: str, aug: str, arguments: argparse.Namespace) -> dict[str, Any]:
    table, cycle = read_config("net", net), arguments.specs if aug != "none" else 1
    eager, compiled = (Step(plan, table, op, aug, arguments.batch, cycle) for _ in range(2))
    compiled.target_pass = torch.compile(compiled.net, backend=arguments.backend)
    first = []
    for step in (eager, compiled):
        start = time.perf_counter()
        step()
        first.append(time.perf_counter() - start)
    # one call of each was made: a cycle less one brings both to its beginning
    seconds = interleave({"eager": eager, "compiled": compiled}, arguments.rounds, warm_up=2 * cycle - 1)
    least = {name: mean_of_least(times, cycle) for name, times in seconds.items()}
    row: dict[str, Any] = {"net": f"{net} {shown_size(plan.image_size)} px", "aug": aug, "op": op}
    row |= {"ratio": least["compiled"] / least["eager"], "compile_s": first[1] - first[0]}
    return row | {f"{name}_ms": 1e3 * value for name, value in least.items()}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=some_of(NETS), default=["mbv2_w035"], help=f"some of {', '.join(NETS)}")
    parser.add_argument("--ops", type=some_of(OPS), default=OPS, help=f"some of {', '.join(OPS)}")
    parser.add_argument("--augs", type=some_of(AUGS), default=AUGS, help=f"some of {', '.join(AUGS)}")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--image-size", type=positive, help="pixels, of all nets (default: mcunet 96, others 32)")
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--specs", type=positive, default=4, help="sub-networks the augmented steps cycle through")
    parser.add_argument("--rounds", type=positive, default=16, help="steps of each candidate")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--out", type=folder, default=LOGS, help="folder of compiled_step.csv")
    arguments: argparse.Namespace = parser.parse_args(argv)
    if arguments.rounds < arguments.specs:
        parser.error(f"--rounds {arguments.rounds}: at least --specs {arguments.specs}, one for each sub-network")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    print(environment())
    rows = []
    for net in arguments.nets:
        plan = plan_of(net, arguments.image_size)
        rows += [measure(plan, net, op, aug, arguments) for aug in arguments.augs for op in arguments.ops]
    title = f"compiled training steps, batch {arguments.batch}, {arguments.threads} threads"
    print_table(title, formatted(rows, COLUMNS))
    print(load_average())
    constant = {"batch": arguments.batch, "threads": arguments.threads, "torch": torch.__version__}
    write_csv(arguments.out / "compiled_step.csv", [row | constant for row in rows])
    print(shortest_path(arguments.out / "compiled_step.csv"))


if __name__ == "__main__":
    main()
