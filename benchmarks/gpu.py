"""Time the add convolution on a CUDA device, shape by shape, next to torch's own convolution.

    python benchmarks/gpu.py --shapes a1,b2 --batch 256

Both layouts; the convolution in float32 without and with TF32; ours without (its weight gradient is a convolution).
Medians of device time; `memory` is the peak of forward + backward, outputs and gradients included. `% of limit`
compares with the additions that the device makes from registers, measured first: 2 for each accumulation forward, 3
instructions of that rate for the input gradient. Files: gpu.csv under --out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from candidates import SHAPES, Shape
from measure import LOGS, Parser, fail, folder, formatted, positive, some_of, write_csv
from torch import Tensor

from shiftaddaug.kernels.add import add_conv2d, add_conv2d_input_grad, describe
from shiftaddaug.report.results import print_table, shortest_path

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
INSTRUCTIONS = {"fwd": 2, "input_grad": 3}
"""Of each accumulation."""
COLUMNS = {
    "layout": ("layout", ""),
    "candidate": ("candidate", ""),
    "fwd_ms": ("fwd ms", ".3f"),
    "fwd_bwd_ms": ("fwd+bwd ms", ".3f"),
    "input_grad_ms": ("input grad ms", ".3f"),
    "memory_mib": ("memory MiB", ".0f"),
    "fwd_limit": ("fwd % of limit", ".0%"),
    "input_grad_limit": ("input grad % of limit", ".0%"),
}
Layer = Callable[[Tensor, Tensor], Tensor]


def milliseconds(step: Callable[[], object]) -> float:
    from triton.testing import do_bench

    step()  # compiles and tunes
    return float(do_bench(step, return_mode="median"))


def peak_mib(step: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure_layer(layer: Layer, x: Tensor, w: Tensor) -> dict[str, Any]:
    inputs = (x.detach().requires_grad_(), w.detach().requires_grad_())
    g = torch.randn_like(layer(x, w))

    def both() -> object:
        y = layer(*inputs)
        return y, torch.autograd.grad(y, inputs, g)

    return {
        "fwd_ms": milliseconds(lambda: layer(x, w)),
        "fwd_bwd_ms": milliseconds(both),
        "memory_mib": peak_mib(both),
    }


def measure_shape(shape: Shape, layout: str, batch: int, additions: float) -> list[dict[str, Any]]:
    x = torch.randn(batch, shape.channels, shape.size, shape.size, device="cuda")
    x = x.contiguous(memory_format=LAYOUTS[layout])
    w = torch.randn(shape.filters, shape.channels // shape.groups, shape.kernel, shape.kernel, device="cuda")
    arguments = (shape.stride, shape.padding, 1, shape.groups)

    def convolution(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, None, *arguments)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        return add_conv2d(x, w, *arguments)

    rows = []
    for name, layer, tf32 in (("add", ours, False), ("conv", convolution, False), ("conv, TF32", convolution, True)):
        torch.backends.cudnn.allow_tf32 = tf32
        rows.append({"shape": shape.name, "layout": layout, "candidate": name} | measure_layer(layer, x, w))
    add = rows[0]
    g = torch.randn_like(ours(x, w))
    add["input_grad_ms"] = milliseconds(lambda: add_conv2d_input_grad(g, x, w, *arguments))
    for phase, instructions in INSTRUCTIONS.items():
        least_ms = 1e3 * instructions * shape.macs * batch / additions
        add[f"{phase}_limit"] = least_ms / add[f"{phase}_ms"]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--shapes", type=some_of(tuple(SHAPES)), default=list(SHAPES))
    parser.add_argument("--batch", type=positive, default=256)
    parser.add_argument("--out", type=folder, default=LOGS)
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        fail("no CUDA device: this benchmark needs one")
    from gpu_limit import additions_per_second

    additions = additions_per_second()
    device = torch.cuda.get_device_properties(0)
    print(f"{device.name}, {device.multi_processor_count} SMs, torch {torch.__version__}; ours: {describe('cuda')}")
    print(f"registers: {additions / 1e12:.1f} T additions/s, so {additions / 2e12:.1f} T accumulations/s forward")
    rows = []
    for shape in (SHAPES[name] for name in arguments.shapes):
        measured = [r for layout in LAYOUTS for r in measure_shape(shape, layout, arguments.batch, additions)]
        title = f"{shape}; batch {arguments.batch}, {shape.macs * arguments.batch / 1e6:.0f} M accumulations"
        print_table(title, formatted(measured, COLUMNS))
        rows += measured
    constant = {"batch": arguments.batch, "device": device.name, "torch": torch.__version__, "additions": additions}
    path = arguments.out / "gpu.csv"
    write_csv(path, [{key: row.get(key) for key in ["shape", *COLUMNS]} | constant for row in rows])
    print(shortest_path(path))


if __name__ == "__main__":
    main()
