"""Hard limits, against everything that could be chosen."""

import numpy as np
import pytest
from tests.search.test_evolution import CHOICES, COST, EVERY, LIMITS, PRICER, PRICES

from shiftaddaug.errors import UserError
from shiftaddaug.search.limits import Limits, cheapest, drawn_within, refuse_unreachable


def test_cheapest_is_the_cheapest_of_everything() -> None:
    for cost in (COST, "energy_mj_paper", "latency_ms_fair", "flash_kib", "peak_sram_kib"):
        point = cheapest(CHOICES, PRICER, cost)
        assert PRICER.price(CHOICES.of([point]))[cost][0] == PRICES[cost].min()


def test_draws_are_those_that_keep_the_limits() -> None:
    kept = [point for point, keeps in zip(EVERY, LIMITS.kept(PRICES), strict=True) if keeps]
    drawn = drawn_within(CHOICES, PRICER, LIMITS, np.random.default_rng(0), 3000)
    assert len(drawn) == 3000
    shares = [drawn.count(point) / 3000 for point in kept]
    assert sum(shares) == pytest.approx(1) and max(shares) < 3 / len(kept)


@pytest.mark.parametrize("name", [COST, "flash_kib", "peak_sram_kib"])
def test_limits_that_nothing_keeps_say_what_can_be_had(name: str) -> None:
    least = float(PRICES[name].min())
    refuse_unreachable(CHOICES, PRICER, Limits({name: least}))
    key = name.removesuffix("_fair")
    with pytest.raises(UserError, match=rf"^limits.{key}=.*: no network of the space has less than {least:.4g}"):
        refuse_unreachable(CHOICES, PRICER, Limits({name: 0.99 * least}))
