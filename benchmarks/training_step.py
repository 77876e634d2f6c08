"""Time whole training steps of every operator, as ratios against multiplication in the same run.

    make bench ARGS="--net mbv2_micro --image-size 32 --batch-size 64"

For each operator and augmentation: the smallest and the median time of a step (forward, backward, optimiser; the
augmented pass included), its images/s, and its ratio to op=mult under the same augmentation. The candidates take
turns, so that a busy machine burdens all of them alike; the ratios of the smallest times are the ones to trust.
"""

import argparse
import csv
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml

from shiftaddaug import operators
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.report.results import print_table

ROOT = Path(__file__).resolve().parents[1]
OPS, AUGS = ("mult", "shift", "add"), ("none", "width_expand")
SPECS = 8
"""Sub-networks the augmented steps cycle through, the same for all operators."""


class Step:
    """One candidate: a network, its data and its optimiser, stepped on call."""

    def __init__(self, op: str, aug: str, arguments: argparse.Namespace) -> None:
        op_config, net = _yaml("op", op), _yaml("net", arguments.net)
        plan = plan_net(net, 100, 3, arguments.image_size)
        widening = (net["width_multipliers"], net["expand_multipliers"]) if aug == "width_expand" else ((1.0,), (1.0,))
        torch.manual_seed(0)
        self.net = build_supernet(plan, operators.from_config(op_config), op_config["mult_layers"], *widening)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
        shape = (arguments.batch_size, 3, arguments.image_size, arguments.image_size)
        self.images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(100, (arguments.batch_size,))
        draws = [self.net.widening.sample(random.Random(i)) for i in range(SPECS)]
        self.specs = draws if aug == "width_expand" else [None] * SPECS
        self.count = 0
        self.seconds: list[float] = []

    def __call__(self) -> None:
        spec = self.specs[self.count % SPECS]
        self.count += 1
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(self.images), self.labels)
        if spec is not None:
            loss = loss + F.cross_entropy(self.net(self.images, spec), self.labels)
        loss.backward()
        for layer in self.net.hybrid_layers().values():
            layer.rescale_gradients()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def _yaml(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs" / group / f"{name}.yaml").read_text())
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="mbv2_micro")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--rounds", type=int, default=2 * SPECS, help="steps of each candidate, after one cycle unmeasured"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--csv", type=Path, default=ROOT / "logs" / "bench_training_step.csv")
    arguments = parser.parse_args()
    if arguments.rounds < SPECS:
        parser.error(f"--rounds {arguments.rounds}: at least {SPECS}, one for each sub-network")
    torch.set_num_threads(arguments.threads)
    candidates = {(op, aug): Step(op, aug, arguments) for aug in AUGS for op in OPS}
    for round_ in range(SPECS + arguments.rounds):
        for step in candidates.values():
            step()
            if round_ < SPECS:
                step.seconds.clear()
    rows = []
    for (op, aug), step in candidates.items():
        # one whole cycle of sub-networks, at the best time seen for each
        best = [min(step.seconds[i::SPECS]) for i in range(SPECS)]
        reference = candidates["mult", aug].seconds
        least = statistics.mean(min(reference[i::SPECS]) for i in range(SPECS))
        rows.append(
            {
                "op": op,
                "aug": aug,
                "ratio to mult (min)": f"{statistics.mean(best) / least:.2f}",
                "ratio to mult (median)": f"{statistics.median(step.seconds) / statistics.median(reference):.2f}",
                "min ms": f"{1000 * statistics.mean(best):.0f}",
                "median ms": f"{1000 * statistics.median(step.seconds):.0f}",
                "images/s (min)": f"{arguments.batch_size / statistics.mean(best):.0f}",
            }
        )
    size = f"{arguments.image_size} px, batch {arguments.batch_size}, {arguments.threads} threads"
    title = f"training step: {arguments.net}, {size}"
    print_table(title, rows)
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    with arguments.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
