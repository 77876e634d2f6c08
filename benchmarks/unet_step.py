"""Time training steps of a U-Net against smp's with the same encoder, as ratios in the same run.

    make bench BENCH=unet_step ARGS="--net mbv2_micro --batch 8"

Every candidate steps (forward, cross-entropy, backward, SGD) on the same images, and the candidates take turns. smp's
network is `smp.Unet("tu-shiftaddaug_<net>", op="mult")` with as many channels in its decoder: it multiplies.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from measure import ROOT, Parser, environment, fail, formatted, interleave, load_average, positive
from torch import Tensor, nn

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.report.results import print_table

OPS = ("mult", "shift", "add")
CLASSES = 11
COLUMNS = {
    "name": ("network", ""),
    "ratio": ("time / smp (min)", ".2f"),
    "median_ratio": ("time / smp (median)", ".2f"),
    "params": ("params", ","),
    "min_ms": ("min ms", ".0f"),
    "n": ("n", ""),
}


def step_of(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a training step; our operators rescale their gradients in it, as in a run."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    rescale: Callable[[], None] = getattr(net, "rescale_gradients", lambda: None)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        rescale()
        optimizer.step()

    return step


def read_config(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs" / group / f"{name}.yaml").read_text())
    return content


def our_net(plan: Plan, op: str) -> nn.Module:
    config = read_config("op", op)
    return build_supernet(plan, assign(plan, operators.from_config(config), config["mult_layers"]))


def smp_net(net: str, plan: Plan) -> nn.Module:
    import segmentation_models_pytorch as smp

    import shiftaddaug.interop.timm_models  # noqa: F401  (registers the encoders)

    strides, channels = plan.strides(), plan.channels()
    decoded = {
        strides[node.name]: channels[node.space] for node in plan.nodes if node.group == "decoder" and node.space
    }
    widths = [decoded[stride] for stride in sorted(decoded, reverse=True)]
    made: nn.Module = smp.Unet(
        f"tu-shiftaddaug_{net}", encoder_weights=None, decoder_channels=widths, classes=CLASSES, op="mult"
    )
    return made


def measure(net: str, plan: Plan, batch: int, rounds: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    images = torch.randn(batch, 3, *plan.image_size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch, *plan.image_size))
    nets = {"smp.Unet": smp_net(net, plan), **{f"op={op}": our_net(plan, op) for op in OPS}}
    seconds = interleave({name: step_of(each, images, labels) for name, each in nets.items()}, rounds)
    theirs = seconds["smp.Unet"]
    return [
        {
            "name": name,
            "ratio": min(times) / min(theirs),
            "median_ratio": statistics.median(times) / statistics.median(theirs),
            "params": sum(parameter.numel() for parameter in nets[name].parameters()),
            "min_ms": 1e3 * min(times),
            "n": len(times),
        }
        for name, times in seconds.items()
    ]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="mbv2_micro")
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--height", type=positive, default=192)
    parser.add_argument("--width", type=positive, default=256)
    parser.add_argument("--rounds", type=positive, default=12)
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    if not (ROOT / "configs" / "net" / f"{arguments.net}.yaml").exists():
        fail(f"--net {arguments.net}: no such net")
    size = arguments.height, arguments.width
    try:
        plan = plan_net(read_config("net", arguments.net), CLASSES, 3, size, arch=read_config("arch", "unet"))
    except UserError as error:
        fail(f"--net {arguments.net}: {error}")
    torch.set_num_threads(arguments.threads)
    print(environment())
    rows = measure(arguments.net, plan, arguments.batch, arguments.rounds)
    title = f"training step of a U-Net: {arguments.net}, {size[0]} x {size[1]} px, batch {arguments.batch}"
    print_table(title, formatted(rows, COLUMNS))
    print(load_average())


if __name__ == "__main__":
    main()
