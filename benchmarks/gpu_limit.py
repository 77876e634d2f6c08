"""How many float32 additions a CUDA device makes in a second when nothing has to be loaded. Importing needs triton."""
# mypy: disable-error-code="no-untyped-def,misc"
# Triton reads annotations itself: none but tl.constexpr may stand in a kernel.

import torch
import triton
import triton.language as tl
from triton.testing import do_bench

VALUES, UNROLLED, ROUNDS = tl.constexpr(2048), tl.constexpr(16), 1024
"""Of a program (16 for each of its threads, to hide the additions' latency); additions to each in a round; rounds."""
PROGRAMS_PER_PROCESSOR = 32


@triton.jit
def _add(values_ptr, rounds):
    values = tl.load(values_ptr + tl.arange(0, VALUES))
    step = tl.load(values_ptr + VALUES)
    for _ in range(rounds):
        for _ in tl.static_range(UNROLLED):
            values += step
    tl.store(values_ptr + tl.arange(0, VALUES), values)


def additions_per_second() -> float:
    programs = PROGRAMS_PER_PROCESSOR * torch.cuda.get_device_properties(0).multi_processor_count
    values = torch.ones(VALUES.value + 1, device="cuda")
    milliseconds = do_bench(lambda: _add[(programs,)](values, ROUNDS, num_warps=4), return_mode="median")
    return 1e3 * programs * VALUES.value * UNROLLED.value * ROUNDS / float(milliseconds)
