"""Measure the memory that training steps need, beside what `runs/memory.py` says they do.

    python benchmarks/memory.py --cases "net=mbv2_micro op=add aug=full data=cifar100;op=mult aug=none"

For each case (overrides of src/train.py, in a process of its own): the growth of the process's peak of resident memory
over three steps on random images, each with the target and the widest sub-network, from what it had with everything
imported; the estimate; and their ratio. The table is written to memory.csv under --out.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import LOGS, ROOT, Parser, folder, write_csv

MOST = 1.5
"""How far estimate and measurement may be apart."""
STEPS = 3
CASES = (
    "op=mult aug=none data.batch_size=256",
    "op=mult aug=full data.batch_size=256",
    "op=shift aug=width_expand data.batch_size=256",
    "op=add aug=none data.batch_size=256",
    "op=add aug=full data.batch_size=128",
    "op=add aug=expand aug.operator=same data.batch_size=128",
    "op=add aug=expand sharing=heterogeneous data.batch_size=128",
    "op=shift aug=expand sharing=heterogeneous data.batch_size=128 data.image_size=64",
    "op=shift_ps aug=none optim=radam data.batch_size=256",
    "op=add aug=full data.batch_size=128 trainer.precision=bf16-mixed",
    "op=mult aug=full data.batch_size=128 trainer.precision=bf16-mixed",
    "op=mult aug=width_expand data.batch_size=128 trainer.precision=64-true",
    "op=shift aug=expand data.batch_size=128 trainer.precision=bf16-true",
    "net=mcunet op=shift aug=expand data.batch_size=32 data.image_size=96",
    "net=mbv3_w035 op=add aug=expand data.batch_size=64 data.image_size=64",
    "net=resnet20 op=add aug=width data.batch_size=64",
    "net=resnet20 op=shift op.activation_bits=16 op.activation_fraction_bits=8 aug=width data.batch_size=64",
    "net=mbv2_w035 op=mult aug=width_expand net.width_mult=2 data.batch_size=2 optim=adamw",
    "net=mbv2_micro op=shift aug=expand block_variant=blend data.batch_size=128",
)


def kilobytes(name: str) -> int:
    """Return a figure of this process, as Linux states it: VmRSS, VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def peak() -> Iterator[list[int]]:
    """Add the growth of resident memory at its peak, in bytes, to the list that is handed out."""
    found: list[int] = []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    yield found
    found.append(1024 * (kilobytes("VmHWM") - before))


def measure(overrides: list[str]) -> tuple[int, int]:
    """Return the bytes that were measured and estimated, of a run with these overrides, in this process."""
    from shiftaddaug.commands.freed_memory import keep_freed_memory
    from shiftaddaug.runs.explain import compose_config
    from shiftaddaug.runs.settings import read_settings

    keep_freed_memory()
    cfg = compose_config("train", ["trainer.accelerator=cpu", "paths.output_dir=unused", *overrides])
    settings = read_settings(cfg)
    return measured_steps(settings), settings.step.total_bytes()


def measured_steps(settings: Any) -> int:
    """Return the growth of the peak over a few training steps."""
    import torch

    from shiftaddaug import tasks
    from shiftaddaug.nets.build import assign, supernet_from_config
    from shiftaddaug.nets.spec import SubnetSpec
    from shiftaddaug.operators import from_config
    from shiftaddaug.tasks.optimizers import build_optim

    config, plan = settings.config, settings.plan
    objective = tasks.build(config["task"], plan.num_classes)
    precision = str(config["trainer"]["precision"])
    dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    warm = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8)).to(dtype)
    warm(torch.randn(2, 8, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)).sum().backward()
    make, _ = build_optim(settings.optim, 2)
    with peak() as found:
        torch.manual_seed(0)
        operator = from_config(config["op"])
        net = supernet_from_config(config, plan, assign(plan, operator, list(settings.net.mult_layers))).to(dtype)
        optimizer = make([{"params": [*net.parameters()]}])
        widest = SubnetSpec(net.widening.max_channels(), augmented=True)
        target = net.target_spec
        if net.widening.extra_blocks:
            extras = [extra.name for extra in net.widening.extra_blocks]
            target = target.at_depth(extras, [(name, 1.0) for name in extras])
        if config["callbacks"].get("block_variant", {}).get("blend"):
            names = [
                n for n, layer in net.hybrid_layers().items() if layer.operator.turns and not n.startswith("extras")
            ]
            target = type(target)(
                target.channels, skipped=target.skipped, blends=((names[0], 0.5),), multiplied=frozenset(names[1:])
            )
        around = widest.around(target)
        shape = (config["data"]["batch_size"], plan.in_channels, *plan.image_size)
        for _ in range(STEPS):
            images = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
            labels = torch.randint(plan.num_classes, shape[:1])
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                weights = net.operator_weights(target.multiplied)
                loss = objective.loss(net(images, target, weights), labels)
                if net.widening.max_channels() != net.target_spec.channels:
                    loss = loss + objective.loss(net(images, around, weights), labels)
            loss.backward()
            net.rescale_gradients(target, around)
            optimizer.step()
            del loss, weights
    return found[0]


def row_of(case: str) -> dict[str, Any]:
    """Return the figures of a case, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", case], capture_output=True, text=True, check=True, cwd=ROOT
    )
    measured, estimated = map(int, done.stdout.split()[-2:])
    ratio = estimated / measured
    return {
        "case": case,
        "measured_mib": round(measured / 2**20),
        "estimated_mib": round(estimated / 2**20),
        "ratio": round(ratio, 2),
    }


def main() -> None:
    """Measure the cases, print and write their table."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(CASES), help="separated by semicolons")
    parser.add_argument("--one", help="measure this case in this process, and print bytes: measured, estimated")
    parser.add_argument("--out", type=folder, default=LOGS / "benchmarks")
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(*measure(arguments.one.split()))
        return
    rows = []
    for case in arguments.cases.split(";"):
        rows.append(row_of(case.strip()))
        print(*rows[-1].values(), sep=" | ", flush=True)
    write_csv(arguments.out / "memory.csv", rows)


if __name__ == "__main__":
    main()
