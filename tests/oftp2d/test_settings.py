"""The kinds of value that settings have: what may stand, and that a fault shows no secret."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
import pytest

from oftp2d.settings import (
    UnfitError,
    choices,
    each_matching,
    expression,
    file_path,
    matching,
    secret_reference,
    texts,
)


class Word(StrEnum):
    ONE = "one"
    TWO = "two"


def check(field: Any, value: object) -> object:
    """What a field of this kind makes of a value."""
    made = attrs.make_class("Made", {"it": field}, kw_only=True)
    return attrs.fields(made).it.metadata["check"](value)


KINDS = {
    "texts": texts(5, 2, (), "doc", fewest=1),
    "matching": matching("[a-z]+", "", "doc", values="small letters"),
    "each": each_matching("[a-z]+", 2, (), "doc", values="small letters"),
    "expression": expression(20, "", "doc"),
    "path": file_path("", "doc"),
    "secret": secret_reference("", "doc"),
    "choices": choices(Word, frozenset(), "doc"),
}


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        ("texts", ["a", "b c"], ("a", "b c")),
        ("matching", "abc", "abc"),
        ("each", [], ()),
        ("each", ["a", "b"], ("a", "b")),
        ("expression", "", ""),
        ("expression", "CN=.*", "CN=.*"),
        ("path", "a/b", Path("a/b")),
        ("path", "/a/../b", Path("/a/../b")),
        ("secret", "store", "store"),
        ("secret", "file:a b", "file:a b"),
        ("secret", "env:SITE_1", "env:SITE_1"),
        ("choices", ["two", "one", "two"][:2], frozenset(Word)),
    ],
)
def test_what_fits_is_taken(kind: str, value: object, made: object) -> None:
    assert check(KINDS[kind], value) == made


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("texts", value) for value in ("a", [], ["a", "b", "c"], [""], ["a\nb"], [3], ["abcdef"], None)),
        *(("matching", value) for value in ("", "A", "a\n", 3, None)),
        *(("each", value) for value in ("a", ["A"], ["a", "b", "c"], [["a"]])),
        *(("expression", value) for value in ("(", "a" * 21, 3, "a{99999999999}", "\n")),
        *(("path", value) for value in ("", "../a", "a/../b", "a\0", 3)),
        *(("secret", value) for value in ("", "Store", "file:", "file:a\nb", "env:", "env:1", "env:A-B", 3, None)),
        *(("choices", value) for value in ([], "one", ["three"], ["one", "two", "one"])),
    ],
)
def test_what_does_not_fit_is_told_with_advice(kind: str, value: object) -> None:
    with pytest.raises(UnfitError) as caught:
        check(KINDS[kind], value)
    assert caught.value.what
    assert caught.value.advice


def test_a_secret_that_stands_where_its_place_belongs_is_not_repeated() -> None:
    with pytest.raises(UnfitError) as caught:
        check(KINDS["secret"], "hunter2")
    assert "hunter2" not in str(caught.value)
