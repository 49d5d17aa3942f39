from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2d.charsets import UTF_8, UnknownCharsetError, named

EBCDIC = ("cp037", "cp273", "cp500", "cp875", "cp1026", "cp1047", "cp1140", "cp1141", "cp1148")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("utf-8", UTF_8),
        ("UTF8", UTF_8),
        ("utf_8", UTF_8),
        ("ascii", "ascii"),
        ("latin-1", "iso8859-1"),
        ("ISO-8859-15", "iso8859-15"),
        ("windows-1252", "cp1252"),
        ("cp037", "cp037"),
        ("CP37", "cp037"),
        ("IBM037", "cp037"),
        ("ibm-273", "cp273"),
        ("IBM1047", "cp1047"),
        ("ebcdic-cp-500", "cp500"),
        ("cp1141", "cp1141"),
    ],
)
def test_a_character_set_is_known_by_its_usual_names(spelling: str, name: str) -> None:
    assert named(spelling).name == name


@pytest.mark.parametrize(
    "name",
    ["", "klingon", "cp9999", "utf-16", "utf-7", "utf-8-sig", "shift_jis", "cp932", "gb18030", "iso2022_jp", "base64",
     "rot13", "idna", "punycode", "unicode_escape", "charmap", "../cp037", "cp\0", "\udc80", "mbcs"],
)  # fmt: skip
def test_what_is_no_character_set_of_one_octet_a_character_is_unknown(name: str) -> None:
    with pytest.raises(UnknownCharsetError):
        named(name)


@pytest.mark.parametrize("name", EBCDIC)
def test_ebcdic_keeps_all_octets_and_line_ends(name: str) -> None:
    charset = named(name)
    octets = bytes(range(256))
    if name != "cp875":
        assert charset.encode(charset.decoder().decode(octets, True)) == octets
    assert charset.encode("ABC 019\r\n") == b"\xc1\xc2\xc3\x40\xf0\xf1\xf9\r\x25"


def test_the_pages_python_lacks_differ_where_they_should() -> None:
    assert named("cp1047").encode("[]^\xac\xdd\xa8") == bytes([0xAD, 0xBD, 0x5F, 0xB0, 0xBA, 0xBB])
    assert named("cp1141").encode("\u20ac\xc4") == b"\x9f" + "\xc4".encode("cp273")
    assert named("cp1148").encode("\u20ac[") == b"\x9f" + "[".encode("cp500")


@given(name=st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", *EBCDIC]), text=st.text(), at=st.integers(0, 50))
def test_what_can_be_encoded_comes_back_in_any_pieces(name: str, text: str, at: int) -> None:
    charset = named(name)
    try:
        octets = charset.encode(text)
    except UnicodeEncodeError:
        assert name != "utf-8" or not text.isprintable()
        return
    decoder = charset.decoder()
    assert decoder.decode(octets[:at]) + decoder.decode(octets[at:], True) == text


def test_an_octet_that_stands_for_nothing_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        named("cp1252").decoder().decode(b"\x81")
    with pytest.raises(UnicodeEncodeError):
        named("cp1252").encode("\ufffe")
    with pytest.raises(UnicodeEncodeError):
        named("ascii").encode("\ufffd")
