"""A mistake is one line, whatever it names."""

import pytest

from shiftaddaug.errors import UserError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("été 漢字 ~'\"\\", "été 漢字 ~'\"\\"),
        ("a\nb\t\x1b[31m\x00", r"a\nb\t\x1b[31m\x00"),
        ("\udcff\u2028\u202e", r"\udcff\u2028\u202e"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown == str(UserError(text))
    printable(text).encode()
