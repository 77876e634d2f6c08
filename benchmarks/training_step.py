"""Time whole training steps of every operator, as ratios against multiplication in the same run.

    make bench BENCH=training_step ARGS="--nets mbv2_micro --image-size 32 --batch 64"

For each net, operator and augmentation: the smallest and the median time of a step (forward, backward, optimiser; the
augmented pass included), its images/s, and its ratio to op=mult under the same augmentation. For the augmented steps
also the ratio to the step of the target alone, next to what their MACs say: those of the target and of the sampled
sub-networks over those of the target. The candidates take turns, so that a busy machine burdens all of them alike;
the ratios of the smallest times are the ones to trust. Files: training_step.csv and training_step.png under --out.
"""

import argparse
import dataclasses
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from measure import (
    LOGS,
    ROOT,
    Panel,
    Parser,
    environment,
    fail,
    folder,
    formatted,
    interleave,
    load_average,
    mean_of_least,
    plot_bars,
    positive,
    some_of,
    write_csv,
)

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.cost import total_macs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.report.results import print_table, shortest_path

OPS, AUGS = ("mult", "shift", "add"), ("none", "width_expand")
SEARCHED = "searched"
"""A net that is in a file of a search."""
NETS = sorted(path.stem for path in (ROOT / "configs" / "net").glob("*.yaml") if path.stem != SEARCHED)
IMAGE_SIZES = {"mcunet": 96}
"""Pixels that suit two CPU cores, where 32 is too few for the net."""
CLASSES = 100
MOST_OVER_MACS = 1.25
"""How far an augmented step's time may exceed what its MACs say."""

COLUMNS = {
    "net": ("net", ""),
    "aug": ("aug", ""),
    "op": ("op", ""),
    "ratio_to_mult": ("time / mult (min)", ".2f"),
    "median_ratio_to_mult": ("time / mult (median)", ".2f"),
    "ratio_to_plain": ("time / aug=none", ".2f"),
    "macs_to_plain": ("MACs / aug=none", ".2f"),
    "time_over_macs": (f"time over MACs (<= {MOST_OVER_MACS})", ".2f"),
    "min_ms": ("min ms", ".0f"),
    "median_ms": ("median ms", ".0f"),
    "images_per_s": ("images/s (min)", ".0f"),
    "n": ("n", ""),
}


class Step:
    """One candidate: a network, its data and its optimiser, stepped on call."""

    def __init__(self, plan: Plan, table: dict[str, Any], op: str, aug: str, batch: int, specs: int) -> None:
        op_config = read_config("op", op)
        widening = (table["width_multipliers"], table["expand_multipliers"]) if aug != "none" else ((1.0,), (1.0,))
        torch.manual_seed(0)
        self.net = build_supernet(
            plan, assign(plan, operators.from_config(op_config), op_config["mult_layers"]), *widening
        )
        self.target_pass: Callable[[torch.Tensor], torch.Tensor] = self.net
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
        shape = (batch, plan.in_channels, *plan.image_size)
        self.images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(plan.num_classes, (batch,))
        draws = [self.net.widening.sample(random.Random(i)) for i in range(specs)]
        self.specs: list[SubnetSpec | None] = [*draws] if aug != "none" else [None] * specs
        self.count = 0

    def __call__(self) -> None:
        spec = self.specs[self.count % len(self.specs)]
        self.count += 1
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.target_pass(self.images), self.labels)
        if spec is not None:
            loss = loss + F.cross_entropy(self.net(self.images, spec), self.labels)
        loss.backward()
        self.net.rescale_gradients()
        self.optimizer.step()

    def macs(self) -> float:
        """Of one image in a step, as a mean over the cycle of sub-networks."""
        plan = self.net.plan
        sampled = [0 if spec is None else spec_macs(plan, spec) for spec in self.specs]
        return total_macs(plan) + statistics.mean(sampled)


def spec_macs(plan: Plan, spec: SubnetSpec) -> int:
    """MACs of one image through a sub-network: those of the plan whose spaces have its channels.

    What a hybrid layer computes in parts, by its operator and by multiplication, adds up to the whole layer.
    """
    pairs = zip(plan.spaces, spec.channels, strict=True)
    spaces = tuple(dataclasses.replace(space, channels=channels) for space, channels in pairs)
    return total_macs(dataclasses.replace(plan, spaces=spaces))


def read_config(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs" / group / f"{name}.yaml").read_text())
    return content


def plan_of(net: str, image_size: int | None) -> Plan:
    """Raises UserError if the image is too small for the net."""
    return plan_net(read_config("net", net), CLASSES, 3, image_size or IMAGE_SIZES.get(net, 32))


def measure_net(plan: Plan, net: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of raw figures for each operator and augmentation."""
    table, cycle = read_config("net", net), arguments.specs
    steps = {f"{aug} {op}": Step(plan, table, op, aug, arguments.batch, cycle) for aug in AUGS for op in OPS}
    # one cycle of sub-networks unmeasured, so that recorded call i is of sub-network i % cycle
    seconds = interleave(steps, arguments.rounds, warm_up=cycle)
    least = {name: mean_of_least(times, cycle) for name, times in seconds.items()}
    median = {name: statistics.median(times) for name, times in seconds.items()}
    rows = []
    for aug in AUGS:
        for op in OPS:
            name, mult, plain = f"{aug} {op}", f"{aug} mult", f"none {op}"
            row: dict[str, Any] = {"net": f"{net} {shown_size(plan.image_size)} px", "aug": aug, "op": op}
            row["ratio_to_mult"] = least[name] / least[mult]
            row["median_ratio_to_mult"] = median[name] / median[mult]
            if aug != "none":
                row["ratio_to_plain"] = least[name] / least[plain]
                row["macs_to_plain"] = steps[name].macs() / steps[plain].macs()
                row["time_over_macs"] = row["ratio_to_plain"] / row["macs_to_plain"]
            row |= {"min_ms": 1e3 * least[name], "median_ms": 1e3 * median[name], "n": len(seconds[name])}
            row["images_per_s"] = arguments.batch / least[name]
            rows.append(row)
    return rows


def panels(rows: list[dict[str, Any]]) -> list[Panel]:
    def values(key: str, op: str, chosen: list[dict[str, Any]]) -> list[float | None]:
        return [row[key] for row in chosen if row["op"] == op]

    augmented = [row for row in rows if row["aug"] != "none"]
    return [
        Panel(
            "smallest step time / op=mult's",
            [f"{row['net']}, {row['aug']}" for row in rows if row["op"] == OPS[0]],
            {op: values("ratio_to_mult", op, rows) for op in OPS},
        ),
        Panel(
            "augmented step: its time over the plain step's, over the same of MACs",
            [row["net"] for row in augmented if row["op"] == OPS[0]],
            {op: values("time_over_macs", op, augmented) for op in OPS},
            limit=MOST_OVER_MACS,
        ),
    ]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--nets", type=some_of(NETS), default=["mcunet", "mbv2_w035"], help=f"some of {', '.join(NETS)}"
    )
    parser.add_argument("--image-size", type=positive, help="pixels, of all nets (default: mcunet 96, others 32)")
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--specs", type=positive, default=8, help="sub-networks the augmented steps cycle through")
    parser.add_argument("--rounds", type=positive, default=16, help="steps of each candidate, after --specs unmeasured")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--out", type=folder, default=LOGS, help="folder of training_step.csv and training_step.png")
    arguments: argparse.Namespace = parser.parse_args(argv)
    if arguments.rounds < arguments.specs:
        parser.error(f"--rounds {arguments.rounds}: at least --specs {arguments.specs}, one for each sub-network")
    if arguments.batch < 2:
        parser.error(f"--batch {arguments.batch}: at least 2, batch-norm needs them")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    try:
        plans = {net: plan_of(net, arguments.image_size) for net in arguments.nets}
    except UserError as error:
        fail(f"--image-size: {error}")
    torch.set_num_threads(arguments.threads)
    print(environment())
    rows = []
    for net, plan in plans.items():
        measured = measure_net(plan, net, arguments)
        size = shown_size(plan.image_size)
        title = f"training step: {net}, {size} px, batch {arguments.batch}, {arguments.threads} threads"
        print_table(title, formatted(measured, COLUMNS))
        rows += measured
    print(load_average())
    constant = {"batch": arguments.batch, "threads": arguments.threads, "torch": torch.__version__}
    table, picture = arguments.out / "training_step.csv", arguments.out / "training_step.png"
    write_csv(table, [{key: row.get(key) for key in COLUMNS} | constant for row in rows])
    plot_bars(picture, f"Training steps, batch {arguments.batch}, {arguments.threads} threads", panels(rows))
    print(f"{shortest_path(table)}, {shortest_path(picture)}")


if __name__ == "__main__":
    main()
