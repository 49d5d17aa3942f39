"""Layouts that hold whatever they are filled with, and documents of which nobody knows who wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2d.renewal.nmvs.markup import DEEPEST, MOST_ELEMENTS, Layout, MarkupError, Path, parsed, qualified

NAMES = frozenset({"user", "password", "tan"})
LAYOUT = '<r xmlns="urn:x"><a user="{user}">{password}</a><b>tan: {tan}</b><c/></r>'
XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r￾￿").filter(
        lambda letter: letter >= " " or letter in "\t\n"
    )
)


@given(user=XML_TEXT, password=XML_TEXT, tan=XML_TEXT)
def test_every_value_comes_out_as_it_went_in_and_never_becomes_markup(user: str, password: str, tan: str) -> None:
    filled = Layout(LAYOUT, NAMES).filled({"user": user, "password": password, "tan": tan})
    root = parsed(filled)
    assert [child.tag for child in root] == ["{urn:x}a", "{urn:x}b", "{urn:x}c"]
    assert root[0].get("user") == user
    assert (root[0].text or "") == password
    assert root[1].text == f"tan: {tan}"
    assert len(root[0]) == len(root[1]) == 0


@given(
    letter=st.characters(max_codepoint=31, exclude_characters="\t\n\r") | st.sampled_from("\ud800\udfff\ufffe\uffff")
)
def test_what_no_xml_can_hold_is_refused_without_repeating_it(letter: str) -> None:
    with pytest.raises(MarkupError) as error:
        Layout(LAYOUT, NAMES).filled({"user": "", "password": f"s3cret{letter}", "tan": ""})
    assert "password" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_what_has_no_value_is_left_out_with_the_element_or_attribute_around_it() -> None:
    filled = Layout(LAYOUT, NAMES).filled({"user": None, "password": "p", "tan": None})
    root = parsed(filled)
    assert [child.tag for child in root] == ["{urn:x}a", "{urn:x}c"]
    assert not root[0].attrib


def test_an_empty_value_is_an_empty_element() -> None:
    root = parsed(Layout("<r><a>{tan}</a></r>", NAMES).filled({"tan": ""}))
    assert [(child.tag, child.text) for child in root] == [("a", None)]


def test_a_value_that_looks_like_a_placeholder_stays_what_it_is() -> None:
    root = parsed(Layout("<r><a>{user}</a></r>", NAMES).filled({"user": "{password}", "password": "s3cret"}))
    assert root[0].text == "{password}"


def test_a_layout_serves_many_times() -> None:
    layout = Layout("<r><a>{tan}</a></r>", NAMES)
    assert b"<a>" not in layout.filled({"tan": None})
    assert b"<a>1</a>" in layout.filled({"tan": "1"})


def test_a_placeholder_that_nobody_knows_is_named() -> None:
    with pytest.raises(MarkupError, match=r"no placeholder \{pasword\}; known are password, tan, user"):
        Layout("<r>{pasword}</r>", NAMES)


def test_a_layout_that_is_no_xml_says_where() -> None:
    with pytest.raises(MarkupError, match="mismatched tag: line 2"):
        Layout("<r>\n<a></b></r>", NAMES)


BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><r>&b;</r>'
OUTSIDE = b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>'
DOCUMENTS = {
    "entities": (BOMB, "document type"),
    "entities of a file": (OUTSIDE, "document type"),
    "a document type alone": (b'<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><r/>', "document type"),
    "a document type in UTF-16": (BOMB.decode().encode("utf-16"), "document type"),
    "an entity without a document type": (b"<r>&a;</r>", "not well-formed"),
    "too deep": (b"<a>" * (DEEPEST + 1) + b"</a>" * (DEEPEST + 1), "too deep"),
    "too many": (b"<r>" + b"<a/>" * MOST_ELEMENTS + b"</r>", "too many"),
    "too many attributes": (b"<r " + b" ".join(b'a%d=""' % n for n in range(101)) + b"/>", "too many"),
    "cut off": (b"<r><a>", "not well-formed"),
    "nothing": (b"", "not well-formed"),
    "no XML": (b"\x30\x82\x01\x00", "not well-formed"),
    "an encoding that nobody knows": (b'<?xml version="1.0" encoding="x-none"?><r/>', "not well-formed"),
    "a declaration of other octets": (b'<?xml version="1.0" encoding="utf-16"?><r/>', "not well-formed"),
    "a null": (b"<r>\0</r>", "not well-formed"),
    "namespaces that are not there": (b"<x:r/>", "not well-formed"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_of_nobody_knows_whom_is_refused_for(name: str) -> None:
    octets, why = DOCUMENTS[name]
    with pytest.raises(MarkupError, match=why):
        parsed(octets)


@given(st.binary(max_size=300))
def test_no_octets_do_more_than_be_refused(octets: bytes) -> None:
    try:
        parsed(b"<r>" + octets + b"</r>")
    except MarkupError:
        return


def test_names_are_qualified_by_the_prefixes_of_the_profile() -> None:
    assert qualified("t:Name", {"t": "urn:t"}) == "{urn:t}Name"
    for wrong in ("Name", "x:Name", "t:", "t:a b", "t:1"):
        with pytest.raises(MarkupError):
            qualified(wrong, {"t": "urn:t"})


def test_a_path_goes_by_namespace_and_never_by_prefix() -> None:
    document = parsed(b'<z:r xmlns:z="urn:t" xmlns="urn:other"><z:a z:k="1">x</z:a><a k="2">y</a></z:r>')
    assert Path("t:a", {"t": "urn:t"}).texts(document) == ["x"]
    assert Path("t:a/@t:k", {"t": "urn:t"}).texts(document) == ["1"]
    assert Path("t:a/@k", {"t": "urn:t"}).texts(document) == []
    assert Path("string(t:a)", {"t": "urn:t"}).texts(document) == ["x"]


@pytest.mark.parametrize("wrong", ["t:a[", "x:a", "nothing()", "re:test('a','b')", "$variable", ""])
def test_a_path_that_cannot_be_used_shows_when_it_is_made(wrong: str) -> None:
    with pytest.raises(MarkupError, match="XPath"):
        Path(wrong, {"t": "urn:t"})
