"""A layer's best tiling: recorded figures of the published simulators, and an independent reference."""

from dataclasses import asdict, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.hardware.oracles import PREDICTED, PREDICTOR, RECORDED, conv, eyeriss
from tests.hardware.reference import best

from shiftaddaug import operators
from shiftaddaug.hardware.layer import PARTS, Cost, layer_cost
from shiftaddaug.hardware.rules import FAIR, PAPER, unit_of
from shiftaddaug.hardware.settings import Accelerator, ArraySettings
from shiftaddaug.hardware.shapes import LayerShape

ARITHMETIC = {op: operators.settings_from({"name": op}).arithmetic for op in ("mult", "add", "shift")}


def paper(shape: LayerShape, op: str, accelerator: Accelerator) -> Cost:
    cost = layer_cost(shape, accelerator, unit_of(ARITHMETIC[op], accelerator, PAPER))
    assert cost is not None
    return cost


@pytest.mark.parametrize(("elements", "op", "shape", "mj", "seconds"), RECORDED)
def test_recorded_figures_are_reproduced(elements: int, op: str, shape: LayerShape, mj: float, seconds: float) -> None:
    cost = paper(shape, op, eyeriss(elements))
    assert cost.energy == pytest.approx(mj, rel=1e-9, abs=0)
    assert cost.ms / 1e3 == pytest.approx(seconds, rel=1e-9, abs=0)


@pytest.mark.parametrize(("shape", "mj", "ms"), PREDICTED)
def test_the_released_predictor_is_reproduced_to_all_digits(shape: LayerShape, mj: float, ms: float) -> None:
    cost = paper(shape, "mult", PREDICTOR)
    assert (float(f"{cost.energy:.10g}"), float(f"{cost.ms:.10g}")) == (mj, ms)


def test_at_eight_bits_a_published_shift_costs_more_than_a_multiplication() -> None:
    """Its words stay at 10 bits: one of the reasons for a second mode."""
    accelerator, shape = eyeriss(192, "int8"), conv(64, 64, 1, 56)
    mult, shift, add = (paper(shape, op, accelerator) for op in ("mult", "shift", "add"))
    assert [round(cost.energy, 3) for cost in (mult, shift, add)] == [0.149, 0.184, 0.072]
    assert shift.ms == pytest.approx(mult.ms * 10 / 32)  # the published code divides by 32 at every precision
    fair = [layer_cost(shape, accelerator, unit_of(ARITHMETIC[op], accelerator, FAIR)) for op in ("mult", "shift")]
    assert fair[0] is not None and fair[1] is not None and fair[1].energy < fair[0].energy


SMALL = ArraySettings(elements=25, filter_rows=7, filter_words=24, filters=4, buffer_words=300)

shapes = st.builds(
    LayerShape,
    batch=st.integers(1, 3),
    inputs=st.sampled_from([1, 2, 6, 8]),
    outputs=st.sampled_from([1, 3, 4, 12]),
    kernel=st.sampled_from([1, 3, 5]),
    in_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    out_size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, op=st.sampled_from(["mult", "add", "shift"]), fair=st.booleans())
def test_a_layer_costs_what_loops_over_all_tilings_say(shape: LayerShape, op: str, fair: bool) -> None:
    accelerator = replace(eyeriss(), array=SMALL)
    unit = unit_of(ARITHMETIC[op], accelerator, FAIR if fair else PAPER)
    wanted, cost = best(shape, unit.mac, unit.moves, unit.cycle, asdict(SMALL)), layer_cost(shape, accelerator, unit)
    assert (wanted is None) == (cost is None)
    assume(wanted is not None and cost is not None)
    assert wanted is not None and cost is not None
    assert cost.energy == pytest.approx(shape.groups * wanted[0] / 1e9, rel=1e-9)
    assert cost.ms == pytest.approx(shape.groups * wanted[1] / 250e3, rel=1e-9)
    assert cost.energy == pytest.approx(sum(getattr(cost, part) for part in PARTS), rel=1e-12)


def test_padding_prices_rows_that_nothing_divides() -> None:
    accelerator = eyeriss()
    prime, padded = conv(8, 8, 3, 59), replace(conv(8, 8, 3, 59), in_size=(60, 59), out_size=(60, 59))
    unit = unit_of(ARITHMETIC["mult"], accelerator, PAPER)
    assert layer_cost(prime, accelerator, unit) is None
    wanted = layer_cost(padded, accelerator, unit)
    assert wanted is not None
    assert layer_cost(prime, replace(accelerator, pad=True), unit) == replace(wanted, padded_rows=1)


def test_costs_add_up() -> None:
    total = Cost(1, 2, 3, 4, 5, 6, 7, 8) + Cost(dram=1.0, ms=0.5)
    assert total == Cost(1, 2, 3, 4, 6, 6, 7, 8.5)
    assert total.energy == 22
