"""A rule on settings without effect speaks of what was typed, once, and of nothing that it spares."""

from typing import cast

import pytest

from shiftaddaug.runs.rules import Checked, Rule, always, typed_of, warn_of_no_effect


@pytest.mark.parametrize(
    ("override", "key", "below"),
    [
        ("+trainer.x=1", "trainer.x", True),
        ("++trainer.x.y=1", "trainer.x", True),
        ("~trainer.x", "trainer.x", True),
        ("optim/scheduler=step", "optim.scheduler", True),
        ("sharing@other=kl", "sharing", True),
        ("trainer.xy=1", "trainer.x", False),
        ("trainer=ddp", "trainer.x", False),
    ],
)
def test_typed_keys(override: str, key: str, below: bool) -> None:
    assert typed_of([key], [override]) == [override] * below


def test_a_rule_spares_what_makes_it_apply(caplog: pytest.LogCaptureFixture) -> None:
    rule, settings = Rule(("op",), always("no layer is left"), but=("op.layers",)), cast(Checked, None)
    warn_of_no_effect(settings, ["op.layers=[]", "op.bits=4"], [rule, rule])
    assert [record.getMessage() for record in caplog.records] == ["no effect, because no layer is left: op.bits=4"]
