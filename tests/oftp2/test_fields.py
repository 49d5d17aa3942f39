from __future__ import annotations

from itertools import pairwise

import pytest
from construct import Construct, Struct

from oftp2 import codec
from oftp2.errors import InvalidDataError, LocalProtocolError
from oftp2.fields import carriage_return, choice, code, indicator, literal, name, number, omissible, reserved, text
from oftp2.values import Mode, SecurityLevel
from tests.oftp2.rfc5024 import fields_of_the_fixture
from tests.oftp2.wire import SAMPLES

FIXTURE = fields_of_the_fixture()


@pytest.mark.rfc("5.1.2", "5.3")
def test_names_are_padded_with_blanks_and_read_without_them() -> None:
    field = name("X", 5)
    assert field.build("A B") == b"A B  "
    assert field.parse(b"A B  ") == "A B"
    assert field.parse(b"     ") == ""


@pytest.mark.rfc("5.1.2", "5.3")
def test_numbers_are_padded_with_zeros() -> None:
    assert number("X", 5).build(42) == b"00042"
    assert number("X", 5).parse(b"00042") == 42


@pytest.mark.parametrize("octets", [b"   42", b"+0042", b"-0042", b"4_200", b"\xb2\xb2\xb2\xb2\xb2", b"0x042"])
def test_a_number_is_digits_and_nothing_else(octets: bytes) -> None:
    with pytest.raises(InvalidDataError, match="X is"):
        number("X", 5).parse(octets)


@pytest.mark.parametrize(
    ("field", "octets"),
    [
        (code("X", 2, SecurityLevel), b"04"),
        (code("X", 2, SecurityLevel), b"??"),
        (choice("X", Mode), b"Q"),
        (choice("X", Mode), b"\xff"),
        (indicator("X"), b"y"),
        (literal("X", b"READY"), b"READX"),
        (carriage_return("X"), b"\0"),
        (name("X", 2), b"\x7f "),
        (name("X", 2), b"\xe4 "),
        (text("X"), b"00A"),
    ],
)
def test_a_value_that_is_not_listed_is_invalid_data(field: Construct, octets: bytes) -> None:
    with pytest.raises(InvalidDataError, match="X"):
        field.parse(octets)


def test_a_secret_and_what_stands_beside_it_are_not_quoted() -> None:
    with pytest.raises(LocalProtocolError) as local:
        name("X", 3, secret=True).build("hush!")
    assert "hush" not in str(local.value)
    with pytest.raises(InvalidDataError) as remote:
        number("X", 5, beside_secret=True).parse(b"hush!")
    assert "hush" not in str(remote.value)


@pytest.mark.rfc("5.3")
def test_reserved_octets_are_blanks_and_may_be_anything() -> None:
    layout = Struct("a" / reserved(3))
    assert layout.build({}) == b"   "
    assert layout.parse(b"\0\xffx")["a"] is None


def test_a_field_that_may_be_missing_is_always_written() -> None:
    layout = Struct("a" / omissible(text("X")))
    assert layout.build({"a": ""}) == b"000"
    assert not layout.parse(b"")["a"]
    assert layout.parse(b"001Z")["a"] == "Z"
    with pytest.raises(LocalProtocolError):
        layout.build({"a": "x" * 1_000})


@pytest.mark.rfc("5.3")
@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__.upper())
def test_positions_and_formats_are_those_of_the_rfc(command: object) -> None:
    """Every field of fixed size begins where the one before it ends, and numbers stand where the RFC has them."""
    kind = type(command).__name__.upper()
    rows = [field for field in FIXTURE if field.command == kind]
    buffer = codec.encode(command)
    for here, following in pairwise([row for row in rows if row.position]):
        assert int(here.position) + int(here.format[4:-1]) == int(following.position)
    for row in rows:
        if row.position and "n" not in row.format:
            octets = buffer[int(row.position) :][: int(row.format[4:-1])]
            if row.format[2] == "9":
                assert octets.isdigit(), row
            elif row.format[2] == "X":
                assert all(0x20 <= octet <= 0x7E or octet == 0x0D for octet in octets), row
            if row.field.endswith("RSV1"):
                assert octets.strip() == b"", row
