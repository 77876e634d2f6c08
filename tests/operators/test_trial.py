"""Slips of an operator's author are answered in one line, before anything is trained."""

from pathlib import Path

import pytest
import torch
from tests.operators.toy import OPERATOR, SETTINGS, write_plugin

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.errors import UserError
from shiftaddaug.operators import available, build, settings_from
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.trial import try_operator


def test_ours_pass_and_draw_nothing() -> None:
    before = torch.get_rng_state()
    for name in available():
        try_operator(build(name))
    assert torch.equal(torch.get_rng_state(), before)


def slipped_catalogue(folder: Path, written: str, instead: str, file: str = OPERATOR) -> Catalogue:
    """With the toy with a slip, in a package with a name of its own."""
    assert written in file
    package = f"slip_{folder.name}"
    plugin = write_plugin(folder)
    renamed = {"settings": SETTINGS, "operator": OPERATOR}
    for name, content in renamed.items():
        content = content.replace(written, instead).replace("ternary_plugin", package)
        (plugin / f"operators/toy/{name}.py").write_text(content)
    return catalogue_of([str(plugin.rename(folder / package))])


def slipped(folder: Path, written: str, instead: str, file: str = OPERATOR) -> Operator:
    return build("toy", catalogue=slipped_catalogue(folder, written, instead, file))


CONV = "    def conv2d(self, x, weight, stride=1"
SLIPS = {
    "shapes": (
        '"scale": ()}',
        '"scale": (2,)}',
        r"init_parameters makes .*'scale': \(\).*parameter_shapes says .*\(2,\)",
    ),
    "names": ('"scale": ()}', '"scales": ()}', r"init_parameters makes .*parameter_shapes says .*'scales'"),
    "unknown tensor": (
        "    def codes",
        "    input_tensors = ('clip',)\n\n    def codes",
        r"input_tensors names clip; options: scale,",
    ),
    "no channels": (
        "    def codes",
        "    channel_tensors = ('scale',)\n\n    def codes",
        r"channel_tensors names scale, of shape",
    ),
    "unread tensor": (
        CONV,
        f"    def prepare_input(self, x, tensors):\n        return x * tensors['clip']\n\n{CONV}",
        r"KeyError: 'clip' \(.*operator\.py:\d+, prepare_input\)",
    ),
    "an abstract method": (
        "    def effective_weight",
        "    def effective_weights",
        r"Can't instantiate abstract class Ternary .*effective_weight",
    ),
    "output's shape": (
        "return F.conv2d(x, weight, None, stride,",
        "return F.conv2d(x, weight, None, 2,",
        r"computes \(2, 4, 2, 1\)",
    ),
    "no constant": (
        "OPERATOR = Ternary",
        "OPERATORS = Ternary",
        r"operators\.toy\.operator must end with OPERATOR = a class",
    ),
    "no class": ("OPERATOR = Ternary", "OPERATOR = 3", r"must end with OPERATOR = a class, a frozen dataclass"),
    "syntax": ("import torch\n", "import torch torch\n", r"operator cannot be imported \(SyntaxError"),
    "exit": ("import torch\n", "raise SystemExit(0)\n", r"operator cannot be imported \(SystemExit: 0"),
}


@pytest.mark.parametrize(("written", "instead", "message"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_one_line(written: str, instead: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^op=toy: .*{message}") as caught:
        try_operator(slipped(tmp_path, written, instead))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ('name = "toy"', 'name = "other"', r"TernarySettings\.name is other; must be 'toy'"),
        ('    name = "toy"\n', "", r"TernarySettings\.name is missing; must be 'toy'"),
        ("SETTINGS = TernarySettings", "", r"settings must end with SETTINGS = a class"),
    ],
)
def test_a_slip_of_the_settings(written: str, instead: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        settings_from({"name": "toy"}, slipped_catalogue(tmp_path, written, instead, SETTINGS))


def test_unknown_operations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"arithmetic: 1 operations adds; options: at least 1 of mult, shift, add"):
        slipped(tmp_path, 'Arithmetic({"add": 1}', 'Arithmetic({"adds": 1}', SETTINGS).arithmetic  # noqa: B018


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("Arithmetic({}, weight_bits=2)", r"arithmetic: no operations; options: at least 1 of mult, shift"),
        ('Arithmetic({"add": 1}, weight_bits=0)', r"arithmetic: weight_bits=0; must be a whole number >= 1"),
        ('Arithmetic({"add": 1}, input_bits=2.5)', r"arithmetic: input_bits=2.5; must be a whole number >= 1"),
        ('{"add": 1}', r"^op=toy: states no arithmetic, but \{add: 1\}"),
        ("None", r"^op=toy: states no arithmetic, but null"),
    ],
)
def test_an_arithmetic_that_nothing_can_price_is_refused(stated: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        settings_from(
            {"name": "toy"}, slipped_catalogue(tmp_path, 'Arithmetic({"add": 1}, weight_bits=2)', stated, SETTINGS)
        )


def test_settings_without_an_arithmetic(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^op=toy: states no arithmetic$"):
        slipped(tmp_path, "    def arithmetic(self)", "    def arithmetics(self)", SETTINGS)


def test_a_configuration_without_a_name() -> None:
    with pytest.raises(UserError, match=r"^op=\{eta: 1\}: has no name"):
        settings_from({"eta": 1})


def test_settings_alone_are_checked_too() -> None:
    with pytest.raises(UserError, match=r"^op=shifty: no such operator"):
        settings_from({"name": "shifty"})
