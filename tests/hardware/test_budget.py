"""A network over a budget: by how much, and at which layer."""

import pytest
from tests.build import plan_of

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.budget import check_budget
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import uniform

MULT = operators.settings_from({"name": "mult"})


def test_a_network_that_fits_passes_and_others_are_told_by_how_much() -> None:
    plan = plan_of("mcunet", 1000, side=176)
    assignment = uniform(plan, MULT, (), MULT)
    check_budget(plan, assignment, Hardware("none", None))
    check_budget(plan, assignment, Hardware("h743", None, 512, 2048))
    check_budget(plan, assignment, Hardware("f412", None, 256, 1024, in_place_depthwise=True))
    wanted = r"332.8 KiB at blocks.2.depthwise.conv, 76.8 KiB more than its 256 KiB of SRAM; options: hardware.in_place"
    with pytest.raises(UserError, match=rf"^hardware=f412: activations take {wanted}"):
        check_budget(plan, assignment, Hardware("f412", None, 256, 1024))
    with pytest.raises(UserError, match=r"132.8 KiB more than its 200 KiB of SRAM; options: smaller images"):
        check_budget(plan, assignment, Hardware("tiny", None, 200))
    with pytest.raises(
        UserError, match=r"weights take 768.1 KiB, 268.1 KiB more .* classifier alone has 160,000 of them"
    ):
        check_budget(plan, assignment, Hardware("tiny", None, None, 500))


def test_a_network_over_both_budgets_is_told_of_both() -> None:
    plan = plan_of("mcunet", 1000, side=176)
    wanted = (
        r"^hardware=tiny: activations take 332.8 KiB at [\w.]*, 76.8 KiB .*; weights take 768.1 KiB, 268.1 KiB .*; "
        r"options: smaller images, a narrower net, an operator of fewer bits, or another hardware$"
    )
    with pytest.raises(UserError, match=wanted.replace("smaller", "hardware.in_place_depthwise=true, smaller")):
        check_budget(plan, uniform(plan, MULT, (), MULT), Hardware("tiny", None, 256, 500))
    wanted = wanted.replace("76.8", "132.8")
    with pytest.raises(UserError, match=wanted):
        check_budget(plan, uniform(plan, MULT, (), MULT), Hardware("tiny", None, 200, 500))
