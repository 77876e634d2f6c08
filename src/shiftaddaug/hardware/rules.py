"""What is counted, and what is not: as published (`PAPER`), or everything for every operator alike (`FAIR`)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shiftaddaug.hardware.settings import Accelerator
from shiftaddaug.operators.settings import Arithmetic

ACCUMULATION = "add"


@dataclass(frozen=True)
class Rules:
    """Which of the differences between the two modes are made."""

    every_operation: bool
    one_memory_rule: bool
    grouped_depthwise: bool
    norms: bool


PAPER = Rules(every_operation=False, one_memory_rule=False, grouped_depthwise=False, norms=False)
"""ShiftAddNAS' simulator, with depthwise layers as ShiftAddViT's code prices them."""
FAIR = Rules(every_operation=True, one_memory_rule=True, grouped_depthwise=True, norms=True)
MODES: Mapping[str, Rules] = {"paper": PAPER, "fair": FAIR}

DIFFERENCES: Mapping[str, str] = {
    "one_memory_rule": "one memory rule: adders move inputs and weights too, shifts take whole words and cycles",
    "every_operation": "every operation: accumulations too, and the second addition of adders",
    "grouped_depthwise": "depthwise layers load the filter of every channel",
    "norms": "batch-norms: an addition where they fold into weights, else a multiplication besides",
}
"""What each field of `Rules` changes, in the order in which it is told."""


def steps() -> list[tuple[str, Rules]]:
    """Return the differences' names, each with the rules that hold when it and all before it are made."""
    found, rules = [], PAPER
    for name in DIFFERENCES:
        rules = replace(rules, **{name: True})
        found.append((name, rules))
    return found


@dataclass(frozen=True)
class Unit:
    """What a layer's arithmetic costs by some rules."""

    mac: float
    """Energy of a multiply-accumulate, or of what stands in its place: pJ."""
    moves: tuple[float, ...]
    """Energy of a moved number, pJ, for each of `tilings.MOVES`."""
    cycle: float
    """Length of a cycle, as a share of the accelerator's."""


def unit_of(arithmetic: Arithmetic, accelerator: Accelerator, rules: Rules) -> Unit:
    """Return what an operator's arithmetic costs.

    Raises:
        UserError: an operation that the technology says nothing of.
    """
    mac = accelerator.operations.of(counted(arithmetic, rules))
    if rules.one_memory_rule:
        bits = accelerator.operations.bits
        inputs, weights = min(arithmetic.input_bits, bits), min(arithmetic.weight_bits, bits)
        return Unit(mac, _moves(accelerator, inputs, weights, bits), 1.0)
    bits, cycle = _published_word(arithmetic, accelerator)
    moves = _moves(accelerator, bits, bits, bits)
    if set(arithmetic.operations) <= set(accelerator.published.on_chip):
        moves = (*[0.0] * FIRST_ON_CHIP, *moves[FIRST_ON_CHIP:])
    return Unit(mac, moves, cycle)


FIRST_ON_CHIP = 7
"""Place in `tilings.MOVES` of the first move that what is computed on chip pays for: that of partial sums."""


def counted(arithmetic: Arithmetic, rules: Rules) -> dict[str, int]:
    """Return the operations that are priced of each multiply-accumulate: all, or all but the accumulation."""
    operations = dict(arithmetic.operations)
    if rules.every_operation:
        return operations
    operations[ACCUMULATION] = operations.get(ACCUMULATION, 0) - 1
    rest = {kind: count for kind, count in operations.items() if count > 0}
    return rest or dict(arithmetic.operations)


def _published_word(arithmetic: Arithmetic, accelerator: Accelerator) -> tuple[int, float]:
    """Return the bits of all words, and the length of a cycle: both shrink with the bits of weights.

    The published code divides the cycle by 32 / 10 whatever the precision: at 8 bits, too.
    """
    bits, published = accelerator.operations.bits, accelerator.published
    narrow = published.narrow_input_bits
    if narrow is None or arithmetic.weight_bits >= min(bits, narrow):
        return bits, 1.0
    word = (narrow + arithmetic.weight_bits) // 2
    return word, word / published.whole_cycle_bits


def _moves(accelerator: Accelerator, inputs: int, weights: int, outputs: int) -> tuple[float, ...]:
    """Return the energies of `tilings.MOVES`, pJ, of numbers of so many bits."""
    memory = accelerator.memory
    by_input = (memory.dram + memory.dram_to_buffer, memory.buffer, memory.noc, memory.rf)
    by_weight = (memory.dram, memory.noc, memory.rf_weight)
    by_output = (memory.dram + memory.dram_to_buffer, memory.buffer, memory.noc_psum, memory.rf)
    scale = memory.word_bits
    x, w, y = (
        [energy if scale is None else energy * bits / scale for energy in energies]
        for energies, bits in ((by_input, inputs), (by_weight, weights), (by_output, outputs))
    )
    return x[0], w[0], y[0], x[1], y[1], x[2], w[1], y[2], x[3], w[2], y[3]
