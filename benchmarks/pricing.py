"""Measure how fast networks are priced: one from nothing, and many sub-networks at once.

    python benchmarks/pricing.py --nets mcunet,mbv2_w035 --candidates 10000

`cold`: seconds for one network in a process of its own, every layer solved, numpy imported before. `warm`: different
random sub-networks (widths, kernels, skipped blocks, operators) a second, when layers like theirs have been solved.
"""

import subprocess
import sys
import time
from typing import Any

import numpy as np
from measure import LOGS, ROOT, Parser, folder, positive, some_of, write_csv

from shiftaddaug import operators
from shiftaddaug.hardware.candidates import Candidates, Pricer
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.nets.plan import Plan

SEARCHED = "searched"
"""A net that is in a file of a search."""
NETS = tuple(sorted(path.stem for path in (ROOT / "configs" / "net").glob("[!_]*.yaml") if path.stem != SEARCHED))
WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
KERNELS = (3, 5, 7)
OPS = ("mult", "add", "shift")
SKIPPED = 0.3

COLD = """
import sys, time
sys.path.insert(0, "benchmarks")
from pricing import MULT, hardware, plan_of
from shiftaddaug import operators
from shiftaddaug.hardware.price import price
from shiftaddaug.nets.assignment import uniform
plan, found = plan_of({net!r}, {side}), hardware()
assignment = uniform(plan, operators.settings_from({{"name": {op!r}}}), ("stem",), MULT)
start = time.perf_counter()
price(plan, assignment, found)
print(time.perf_counter() - start)
"""
MULT = operators.settings_from({"name": "mult"})


def hardware() -> Hardware:
    """Return the default hardware."""
    from omegaconf import OmegaConf

    from shiftaddaug.runs.explain import compose_config

    config: Any = OmegaConf.to_container(compose_config("cost", []).hardware, resolve=True)
    return hardware_from(config)


def plan_of(net: str, side: int) -> Plan:
    """Return the plan of a net for 100 classes."""
    from omegaconf import OmegaConf

    from shiftaddaug.nets.tables import plan_net
    from shiftaddaug.runs.explain import compose_config

    table: Any = OmegaConf.to_container(compose_config("cost", [f"net={net}"]).net, resolve=True)
    return plan_net(table, 100, 3, side)


def drawn(plan: Plan, count: int, rng: np.random.Generator) -> Candidates:
    """Return random sub-networks: widths in eights, kernels of depthwise layers, skipped blocks, operators."""
    layers, channels = plan.layers(), np.array([space.channels for space in plan.spaces])
    widths = np.maximum(8, np.round(channels * rng.choice(WIDTHS, (count, len(channels))) / 8).astype(int) * 8)
    for place, space in enumerate(plan.spaces):
        if space.kind == "fixed":
            widths[:, place] = space.channels
    kernels = np.tile([layer.kernel for layer in layers], (count, 1))
    for place, layer in enumerate(layers):
        if layer.depthwise:
            kernels[:, place] = rng.choice(KERNELS, count)
    chosen = rng.integers(0, len(OPS), (count, len(layers)))
    return Candidates(widths, kernels, chosen, rng.random((count, len(plan.skippable))) < SKIPPED)


def distinct(candidates: Candidates) -> int:
    """Return how many of the candidates differ from all others."""
    rows = np.concatenate(
        [candidates.channels, candidates.kernels, candidates.operators, candidates.skipped.astype(int)], 1
    )
    return len(np.unique(rows, axis=0))


def row_of(net: str, side: int, count: int, rounds: int) -> dict[str, Any]:
    """Measure one net; the best of some rounds counts, each on candidates of its own."""
    script = COLD.format(net=net, side=side, op="add")
    cold = [
        float(
            subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        )
        for _ in range(rounds)
    ]
    plan, rng = plan_of(net, side), np.random.default_rng(0)
    pricer = Pricer(plan, [operators.settings_from({"name": op}) for op in OPS], hardware())
    for _ in range(2):
        pricer.price(drawn(plan, count, rng))
    best, different = 0.0, 0
    for _ in range(rounds):
        candidates = drawn(plan, count, rng)
        start = time.perf_counter()
        pricer.price(candidates)
        best, different = max(best, count / (time.perf_counter() - start)), distinct(candidates)
    return {"net": net, "px": side, "cold_s": round(min(cold), 3), "warm_per_s": round(best), "distinct": different}


def main() -> None:
    """Measure, print a table and write pricing.csv."""
    parser = Parser(description=__doc__)
    parser.add_argument("--nets", type=some_of(NETS), default=["mcunet", "mbv2_w035"])
    parser.add_argument("--side", type=positive, default=176, help="of the images")
    parser.add_argument("--candidates", type=positive, default=10_000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--out", type=folder, default=LOGS, help="folder of pricing.csv")
    arguments = parser.parse_args()
    rows = [row_of(net, arguments.side, arguments.candidates, arguments.rounds) for net in arguments.nets]
    for row in rows:
        print(row)
    write_csv(arguments.out / "pricing.csv", rows)


if __name__ == "__main__":
    main()
