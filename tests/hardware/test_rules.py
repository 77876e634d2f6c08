"""What each mode counts of an arithmetic, and with words of how many bits."""

import pytest
from tests.hardware.oracles import eyeriss

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.rules import DIFFERENCES, FAIR, PAPER, counted, steps, unit_of
from shiftaddaug.hardware.tilings import MOVES
from shiftaddaug.operators.settings import Arithmetic

MULT, ADD, SHIFT = (operators.settings_from({"name": op}).arithmetic for op in ("mult", "add", "shift"))
WORDS = (200, 200, 200, 22.2, 22.2, 7.4, 7.4, 3.7, 3.7, 7.4, 3.7)
"""pJ of 16 bits, by move."""


def test_the_published_mode_leaves_accumulations_out() -> None:
    assert [counted(each, PAPER) for each in (MULT, ADD, SHIFT)] == [{"mult": 1}, {"add": 1}, {"shift": 1}]
    assert [counted(each, FAIR) for each in (MULT, ADD, SHIFT)] == [
        {"mult": 1, "add": 1},
        {"add": 2},
        {"shift": 1, "add": 1},
    ]
    assert counted(Arithmetic({"add": 1}), PAPER) == {"add": 1}  # a sum of signed inputs is its own operation
    assert counted(Arithmetic({"xnor": 1}), PAPER) == {"xnor": 1}


def test_energies_of_operations_are_those_of_the_technology() -> None:
    accelerator = eyeriss()
    assert [unit_of(each, accelerator, PAPER).mac for each in (MULT, ADD, SHIFT)] == [3.7, 0.9, 0.13]
    assert [unit_of(each, accelerator, FAIR).mac for each in (MULT, ADD, SHIFT)] == pytest.approx([4.6, 1.8, 1.03])


def test_published_words_of_shifts_have_ten_bits_and_adders_work_on_chip() -> None:
    accelerator = eyeriss()
    assert unit_of(MULT, accelerator, PAPER).moves == pytest.approx([2 * word for word in WORDS])
    shift = unit_of(SHIFT, accelerator, PAPER)
    assert shift.moves == pytest.approx([10 / 16 * word for word in WORDS]) and shift.cycle == 10 / 32
    add = unit_of(ADD, accelerator, PAPER)
    assert add.moves == pytest.approx([0] * 7 + [2 * word for word in WORDS[7:]]) and add.cycle == 1
    assert MOVES[7] == "noc_psum"


def test_fair_words_have_the_bits_that_operators_state() -> None:
    accelerator = eyeriss()
    fair = Arithmetic({"shift": 1, "add": 1}, weight_bits=4, input_bits=8)
    bits = dict(zip(MOVES, (8, 4, 32, 8, 32, 8, 4, 32, 8, 4, 32), strict=True))
    unit = unit_of(fair, accelerator, FAIR)
    assert unit.moves == pytest.approx([word * bits[move] / 16 for word, move in zip(WORDS, MOVES, strict=True)])
    assert unit.cycle == 1
    assert unit_of(ADD, accelerator, FAIR).moves == unit_of(MULT, accelerator, FAIR).moves


def test_the_differences_lead_from_one_mode_to_the_other() -> None:
    assert [name for name, _ in steps()] == list(DIFFERENCES) and steps()[-1][1] == FAIR


def test_an_operation_without_energy_is_named() -> None:
    with pytest.raises(UserError, match=r"asic_45nm at fp32 states no energy of the operation lookup; options: mult, "):
        unit_of(Arithmetic({"lookup": 1}), eyeriss(), PAPER)
