"""Resolution and width, chosen by what fits into the memory."""

from typing import Any

import numpy as np
import pytest
from tests.build import read_yaml

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.settings import Hardware, hardware_from
from shiftaddaug.nas.settings import check_space
from shiftaddaug.nas.tinynas import Setting, choose, settings_of

SPACE = check_space(read_yaml("space", "micro") | {"image_sizes": [16, 32], "width_mults": [0.2, 0.5]})


def limited(sram: float | None, flash: float | None = None) -> Hardware:
    return hardware_from(read_yaml("hardware", "stm32f412") | {"name": "own", "sram_kib": sram, "flash_kib": flash})


def measured(hardware: Hardware, **changes: Any) -> list[Setting]:
    return settings_of(read_yaml("net", "mbv2_micro"), SPACE, 100, 3, hardware, 200, 0)


def setting(macs: list[float], drawn: int = 10) -> Setting:
    return Setting(16, 1.0, np.array(macs), drawn, 5.0, 7.0)


def test_by_hand() -> None:
    few, many = setting([1.0, 9.0]), setting([2.0, 3.0, 4.0, 5.0])
    assert (few.fitting, many.fitting) == (0.2, 0.4)
    assert (few.quantile(0.5), many.quantile(0.5)) == (5.0, 3.5)
    assert choose([few, many], limited(8), 0.5) is few
    assert choose([few, many], limited(8), 0.01) is many
    assert setting([9.0], drawn=101).quantile(0.5) == 0  # too few fit
    assert many.record(0.5)["macs_quantile"] == 4  # rounded


def test_two_budgets_choose_differently() -> None:
    small, large = (choose(measured(hw), hw, 0.8) for hw in (limited(16, 40), limited(64, 128)))
    assert (small.image_size, small.width_mult) == (16, 0.2)
    assert (large.image_size, large.width_mult) == (32, 0.5)
    assert small.quantile(0.8) < large.quantile(0.8)


def test_only_what_fits_counts() -> None:
    whole, tight = measured(limited(None, 10**6)), measured(limited(40))
    for free, bound in zip(whole, tight, strict=True):
        assert free.fitting == 1
        assert {*bound.macs} <= {*free.macs}
        assert bound.least_sram_kib == free.least_sram_kib
    assert 0 < tight[2].fitting < 1


@pytest.mark.parametrize(
    ("sram", "flash", "message"),
    [
        (1, None, r"^hardware\.sram_kib=1: no network of the space takes less than 8\.0 KiB; options: smaller"),
        (None, 2, r"^hardware\.flash_kib=2: no network of the space takes less than 21\.8 KiB; options: smaller"),
        (8, 32, r"^hardware=own: less than 1 % of the networks fit"),
    ],
)
def test_limits_that_nothing_meets(sram: float | None, flash: float | None, message: str) -> None:
    hardware = limited(sram, flash)
    with pytest.raises(UserError, match=message):
        choose(measured(hardware), hardware, 0.8)
