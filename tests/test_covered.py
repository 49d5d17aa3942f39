"""What must be shown by tests is: every section of RFC 5024 that is played here, every letter of its state tables, every
tolerance of the field, every case of Odette."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.oftp2 import rfc5024

ROOT = Path(__file__).resolve().parent.parent

SHOWN = re.compile(r"5\.3(\.\d+)?|7\.\d|9\.\d+(\.\d+)?|4\.[2-6](\.\d+)?|4\.7\.[12]")
"""Sections 4.2 to 4.7.2 (the phases), 5.3 (the commands), 7 (the buffers) and 9 (the state machine)."""

NOT_PLAYED = {"4.3.4", "4.3.5", *(f"4.{number}" for number in range(2, 7))}
"""Broadcast and priority are left to the implementation; phases are played by the sections within them."""


@pytest.fixture(scope="module")
def covered() -> Any:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import covered
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return covered


@pytest.fixture(scope="module")
def marks(covered: Any) -> Any:
    return covered.collect()


def test_every_section_that_is_played_has_a_test(covered: Any, marks: Any) -> None:
    sections = {number for number in covered.titles(covered.SECTIONS) if SHOWN.fullmatch(number)} - NOT_PLAYED
    assert sections - set(marks["rfc"]) == set()
    assert {f"5.3.{number}" for number in range(1, 19)} <= sections


def test_every_letter_of_the_state_tables_has_a_test(marks: Any) -> None:
    letters = {f"{cell.table} {cell.letter}" for cell in rfc5024.cells_of_the_fixture()}
    assert {section for section in marks["rfc"] if " " in section} == letters


def test_every_tolerance_has_a_test(covered: Any, marks: Any) -> None:
    assert set(marks["interop"]) == set(covered.titles(covered.TOLERANCES)) == {str(each) for each in range(1, 16)}


def test_every_case_of_odette_has_a_test_and_every_test_a_case(covered: Any, marks: Any) -> None:
    assert set(marks["odette"]) == set(covered.titles(covered.CASES))


def test_no_mark_names_a_section_that_is_not_there(covered: Any, marks: Any) -> None:
    assert {section.partition(" ")[0] for section in marks["rfc"]} <= set(covered.titles(covered.SECTIONS))


@pytest.mark.skipif(not rfc5024.TEXT.exists(), reason="the text of RFC 5024 is not beside this checkout")
def test_the_sections_are_those_of_the_text(covered: Any) -> None:
    lines = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [re.fullmatch(r"((?:[1-9]|10)(?:\.\d+)*)\.?  (\S.*)", line) for line in lines]
    assert {each[1]: each[2] for each in found if each} == covered.titles(covered.SECTIONS)
