"""Hardware yamls: all of them are read, and each mistake is one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.build import names
from tests.commands.running import composed
from tests.hardware.oracles import eyeriss

from shiftaddaug.errors import UserError
from shiftaddaug.hardware.settings import Hardware, hardware_from


def hardware(*overrides: str) -> Hardware:
    config: Any = OmegaConf.to_container(composed(Path("/logs/run"), *overrides, config_name="cost").hardware)
    return hardware_from(config)


def test_the_yamls_are_the_published_hardware() -> None:
    found = {name: hardware(f"hardware={name}") for name in names("hardware")}
    assert found["eyeriss_168"] == Hardware("eyeriss_168", replace(eyeriss(168), pad=True))
    assert found["eyeriss_192"] == Hardware("eyeriss_192", replace(eyeriss(192), pad=True))
    budgets = {name: (each.sram_kib, each.flash_kib) for name, each in found.items() if each.accelerator is None}
    assert budgets == {"stm32f412": (256, 1024), "stm32f746": (320, 1024), "stm32h743": (512, 2048)}


def test_eight_bits_give_more_room() -> None:
    accelerator = hardware("hardware.accelerator.precision=int8").accelerator
    assert accelerator is not None
    limits = accelerator.limits()
    assert (limits.elements, limits.filter_rows, limits.filter_words, limits.filters, limits.buffer_words) == (
        *(672, 24, 1920, 32),
        131072,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "hardware.accelerator.precision=fp64",
            r"precision=fp64: technology=asic_45nm has no such precision; options: fp32",
        ),
        (
            "hardware.accelerator.technology=fpga",
            r"technology=fpga: no such technology; options: asic_45nm, asic_45nm_var",
        ),
        ("hardware.accelerator.technology=nowhere.yaml", "technology=nowhere.yaml: no such technology; options: "),
        ("hardware.accelerator.array.elements=0", "array.elements=0: must be a whole number >= 1"),
        ("hardware.accelerator.memory.dram=-1", "memory.dram=-1: must be a number >= 0"),
        ("+hardware.accelerator.memory.dramm=1", r"memory.dramm=1: no such key; did you mean .*memory.dram\?"),
        ("hardware.accelerator.published.on_chip=[sub]", r"on_chip=\[sub\]: options: mult, shift, add"),
        ("hardware.accelerator.memory.dram=1e308", "memory.dram=1e.308: must be a number >= 0 and <= 1000000000"),
        ("hardware.accelerator.clock_mhz=0", "clock_mhz=0: must be a number >= 0.001"),
        ("hardware.sram_kib=-3", "hardware.sram_kib=-3: must be a number > 0 or null"),
        ("hardware.accelerator=7", "hardware.accelerator=7: must be a group of keys or null"),
    ],
)
def test_a_mistake_is_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hardware(override)


DOUBLED = "\n".join(["a0: &a0 x", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))])
"""Lists of lists that hold 9**11 words when they are written out."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "name: mine\nsource: me\nprecisions: {p: {bits: 4, mul: 1}}",
            "precisions.p.mul=1.*options: bits, mult, shift",
        ),
        ("name: mine\nsource: me\nprecisions: {p: {mult: 1}}", "precisions.p.bits: is missing"),
        ("name: mine\nsource: me\nprecisions: {p: {bits: 4, mult: -1}}", "precisions.p.mult=-1: must be a number >= 0"),
        ("name: mine\nsource: me\nprecisions: {p: {bits: 4, mult: 3 pJ}}", "precisions.p.mult=3 pJ: must be a number"),
        ("name: mine\nsource: me\nprecisions: {p: {bits: 4, add: .nan}}", "precisions.p.add=nan: must be a number"),
        ("name: mine\nsource: me\nprecisions: {p: {bits: 4, add: {a: 1}}}", "precisions.p.add={a: 1}: must be a num"),
        ("name: mine\nsource: me\nprecisions: &a {p: *a}", "holds more than 10,000 values, aliases written out"),
        (DOUBLED, "holds more than 10,000 values, aliases written out"),
        ("name: mine\nsource: me\nprecisions: {}", "precisions: holds none"),
        ("name: mine\nprecisions: {p: {bits: 4, mult: 1}}", "file.source: is missing"),
        ("- 1", "file=\\[1\\]: must be a group of keys"),
        ("{", "cannot be read"),
    ],
)
def test_a_technology_of_ones_own_is_checked(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"^hardware.accelerator.technology={path}: .*{message}"):
        hardware(f"hardware.accelerator.technology={path}")


def test_a_technology_of_ones_own_prices_other_operations(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsource: measured\nprecisions: {int4: {bits: 4, lookup: 0.5, add: 0.02}}")
    found = hardware(f"hardware.accelerator.technology={path}", "hardware.accelerator.precision=int4").accelerator
    assert found is not None and found.operations.bits == 4
    assert found.operations.of({"lookup": 2, "add": 1}) == pytest.approx(1.02)
