"""Overrides that Hydra's grammar has no place for, though they can be texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftaddaug.runs.compose import as_text, parsed, text_of, typed

VALUES = ("/x/epoch=0-step=5.ckpt", "/a (1)", "it's", 'say "x"', "/ä/ö", "$HOME/a", "a\\", "a=b (c)'", "a, b=c")


@pytest.mark.parametrize("value", VALUES)
def test_names_of_files_are_taken(value: str) -> None:
    assert text_of(as_text(f"ckpt_path={value}")) == value


@pytest.mark.parametrize(
    "argument",
    [
        *("op=shift,add", "seed=1", "a=[1,2]", "a={b: 1}", "a='b'", "a=${b}", "optim.lr=tag(log, interval(0.01, 1))"),
        *("-m", "--cfg", "a", "=3", "a=", "a b=c=d"),  # nothing to quote
        *("a=[1", "a={b", "a='b", "a=choice(1", "a=${b} (1)"),  # mistakes, not texts
    ],
)
def test_what_hydra_reads_or_nobody_does_stays(argument: str) -> None:
    assert as_text(argument) == argument


def test_in_a_multirun_commas_stand_between_values() -> None:
    assert as_text("a=/x=1,/y (2),z", multirun=True) == "a='/x=1','/y (2)',z"
    override = parsed(as_text("a=/x=1,/y (2),z", multirun=True))
    assert override is not None and override.is_sweep_override()
    assert as_text("op=shift,add,", multirun=True) == "op=shift,add,"


@settings(max_examples=100, deadline=None)  # Hydra's parser takes milliseconds for each
@given(st.text(alphabet="ab1 ,=:{}[]()'\"\\$~+./-@?*#%é\t\n", min_size=1, max_size=8))
def test_no_value_changes_its_meaning(value: str) -> None:
    """What Hydra's grammar accepts is passed on as it is; what is quoted is read as what was typed."""
    argument = f"a={value}"
    quoted = as_text(argument)
    if parsed(argument) is not None:
        assert quoted == as_text(argument, multirun=True) == argument
    elif quoted != argument:
        assert text_of(quoted) == value
    again = parsed(as_text(typed("a", value)))
    assert again is not None and not again.is_sweep_override() and text_of(as_text(typed("a", value))) == value
