from __future__ import annotations

import pytest

from oftp2.values import clip, is_dataset_name, is_identification_code


@pytest.mark.rfc("5.4")
@pytest.mark.parametrize("code", ["O", "O0013005438TESTLAB", "O0013A/B-C.D&E(F)", "O09320000 ABC", "X" * 25])
def test_a_code_of_the_rfc_is_one(code: str) -> None:
    assert is_identification_code(code)


@pytest.mark.rfc("5.4")
@pytest.mark.parametrize("code", ["", " ", " A", "A ", "a", "Ä", "A_B", "A\n", "A\0B", "../ETC*", "X" * 26])
def test_anything_else_is_no_code(code: str) -> None:
    assert not is_identification_code(code)


@pytest.mark.parametrize("name", ["A", "ODETTE_CERTIFICATE_REQUEST", "PART 4711.STP", "../X", "X" * 26])
def test_a_dataset_name_may_hold_an_underscore(name: str) -> None:
    assert is_dataset_name(name)


@pytest.mark.parametrize("name", ["", " A", "A ", "lower", "Ü", "A\tB", "A\r", "X" * 27])
def test_anything_else_is_no_dataset_name(name: str) -> None:
    assert not is_dataset_name(name)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("x" * 999, "x" * 999),
        ("x" * 1000, "x" * 999),
        ("a" + "ü" * 600, "a" + "ü" * 499),
        ("\N{REPLACEMENT CHARACTER}" * 999, "\N{REPLACEMENT CHARACTER}" * 333),
        ("lone \udcff", "lone ?"),
    ],
)
def test_a_text_is_cut_to_999_octets_between_characters(text: str, cut: str) -> None:
    assert clip(text) == cut
