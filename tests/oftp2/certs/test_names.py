"""Distinguished names in the spellings of different products."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from oftp2.certs.names import Attribute, DistinguishedName, DistinguishedNameError

parse = DistinguishedName.parse

OIDS = st.sampled_from(["2.5.4.3", "2.5.4.10", "2.5.4.5", "1.2.840.113549.1.9.1", "2.5.4.6", "1.2.3.4.5"])
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.builds(
    lambda rdns: DistinguishedName(tuple(tuple(Attribute(oid=oid, value=value) for oid, value in rdn) for rdn in rdns)),
    st.lists(st.lists(st.tuples(OIDS, VALUES), min_size=1, max_size=3), max_size=5),
)


@given(NAMES)
def test_a_name_survives_being_written_and_read(name: DistinguishedName) -> None:
    assert parse(str(name)).rdns == name.rdns


@given(NAMES, st.randoms())
def test_neither_order_nor_case_nor_blanks_make_a_difference(name: DistinguishedName, random: object) -> None:
    attributes = [(Attribute(oid=item.oid, value=f" {item.value.replace(' ', '  ')} "),) for item in name.attributes]
    random.shuffle(attributes)  # type: ignore[attr-defined]
    other = DistinguishedName(tuple(attributes))
    assert other == name
    assert hash(other) == hash(name)


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_a_distinguished_name_error(text: str) -> None:
    with suppress(DistinguishedNameError):
        parse(text)


@pytest.mark.parametrize(
    "spelling",
    [
        "2.5.4.5=O0013,1.2.840.113549.1.9.1=a@b.test,CN=x",  # python cryptography
        "CN=x,emailAddress=a@b.test,serialNumber=O0013",  # OpenSSL
        "E=a@b.test, CN=x, SERIALNUMBER=O0013",  # .NET
        "EMAIL=A@B.test;commonName=X;oid.2.5.4.5=o0013",  # others
        "CN=x+serialNumber=O0013,E=a@b.test",
    ],
)
def test_the_spellings_of_different_products_are_equal(spelling: str) -> None:
    assert parse(spelling) == parse("CN=x,serialNumber=O0013,E=a@b.test")


def test_state_is_known_by_both_spellings() -> None:
    assert parse("CN=x,S=Bayern") == parse("CN=x,ST=Bayern")


def test_sn_is_the_surname_and_never_a_serial_number() -> None:
    assert parse("SN=O0013") != parse("serialNumber=O0013")


def test_an_escaped_comma_belongs_to_the_value() -> None:
    name = parse(r"CN=OFTP2 Issuing CA,O=Test CA\, Inc.,C=DE")
    assert [item.value for item in name.attributes] == ["OFTP2 Issuing CA", "Test CA, Inc.", "DE"]
    assert parse('CN=OFTP2 Issuing CA,O="Test CA, Inc.",C=DE') == name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"CN=a\ ", "a "),
        (r"CN=\ a", " a"),
        (r"CN=M\c3\bcller", "Müller"),
        (r"CN=\#1", "#1"),
        ("CN=#0c024142", "AB"),
        ("CN=#04024142", "4142"),
        ("CN=  a  ", "a"),
        ("CN=a\\\\", "a\\"),
        ("CN=a\\", "a"),
        ("CN=", ""),
    ],
)
def test_escapes_are_read_as_rfc_4514_says(text: str, value: str) -> None:
    assert parse(text).common_name == value


@pytest.mark.parametrize(
    "text", ["CN", "nonsense=x", r"CN=\ff", "CN=#zz", "CN=#30", "CN=#48006eccb7", "CN=#8300560a", "=x", "CN=x,,C=DE"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(DistinguishedNameError):
        parse(text)


def test_no_text_is_the_empty_name() -> None:
    assert parse(" ").attributes == ()
    assert parse("").common_name is None


def test_a_partial_name_is_included_and_a_foreign_attribute_is_not() -> None:
    name = parse("CN=x,O=Company,C=DE")
    assert name.includes(parse("c=de,cn=X"))
    assert not name.includes(parse("CN=x,OU=Other"))
    assert not name.includes(parse("CN=x,CN=x"))


def test_a_name_is_read_from_a_certificate_most_specific_first() -> None:
    name = x509.Name.from_rfc4514_string(r"CN=host.test,O=A\, B,C=DE")
    assert str(DistinguishedName.of(name)) == r"CN=host.test,O=A\, B,C=DE"


def test_octets_as_a_value_are_shown_in_hexadecimal() -> None:
    unique = x509.NameAttribute(x509.ObjectIdentifier("2.5.4.45"), b"\x01\xff", x509.name._ASN1Type.BitString)
    assert str(DistinguishedName.of(x509.Name([unique]))) == "2.5.4.45=01ff"


def test_control_characters_do_not_break_the_line() -> None:
    name = DistinguishedName(((Attribute(oid="2.5.4.3", value="a\nb"),),))
    assert str(name) == r"CN=a\0ab"


def test_a_name_is_not_equal_to_its_text() -> None:
    assert parse("CN=x") != "CN=x"


def test_the_station_code_is_found_in_the_serial_number() -> None:
    assert parse("CN=x,serialNumber=O0013").serial_number == "O0013"
    assert parse("CN=x").serial_number is None
