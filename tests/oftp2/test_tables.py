from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from oftp2.tables import IMPOSSIBLE, NOTE_1, USER_ERROR, Input, State, Table, cells, row, transitions
from tests.oftp2 import rfc5024
from tests.oftp2.rfc5024 import Alternative, Cell

WITHOUT_ROWS = {USER_ERROR, NOTE_1, IMPOSSIBLE}

needs_the_text = pytest.mark.skipif(
    not rfc5024.TEXT.exists(), reason=f"the text of RFC 5024 is not at {rfc5024.TEXT.parent} beside this checkout"
)


def our_cells() -> set[Cell]:
    return {
        Cell(table.value, event, rfc5024.OTHER_STATES if state == "*" else state, letter)
        for table in Table
        for event, state, letter in cells(table)
    }


def needs_special_logic(alternative: Alternative) -> bool:
    """Whether an alternative holds only with the special logic of X.25, which over TCP is never agreed."""
    special = {"9.10": "!P4", "9.12": "P5"}.get(alternative.table)
    return alternative.letter in {"Y", "Z1", "H", "I", "K"} and special in alternative.predicate.split(" & ")


def as_we_write(alternative: Alternative) -> tuple[object, ...]:
    """An alternative of the RFC in the form of ``tables``.

    Notes are left out, a user error is UE everywhere, ``Received ESID Reason`` is R, and A0 in Listener row I is AO.
    """
    outputs = re.sub(r" \(See Note 1\)", "", alternative.outputs).replace("Received ESID Reason", "R")
    outputs = outputs.replace("A0=L", "AO=L").replace("no CD", "no_CD")
    if alternative.next_state == "UE" or outputs == "See Note 1":
        outputs = "UE"
    guard = alternative.predicate if alternative.predicate not in {"else", "Protocol Error"} else ""
    return (
        alternative.table,
        alternative.letter,
        frozenset((name.lstrip("!"), not name.startswith("!")) for name in guard.split(" & ") if name),
        tuple(action for action in alternative.actions.split(",") if action),
        tuple(output for output in outputs.split("; ") if output),
        "IDLE" if outputs == "UE" else alternative.next_state,
    )


def ours() -> list[tuple[object, ...]]:
    return [
        (table.value, letter, frozenset(found.guard), found.actions, found.outputs, found.to.value)
        for table in Table
        for letter, alternatives in transitions(table).items()
        for found in alternatives
    ]


@pytest.mark.rfc("9.8.1", "9.9.1", "9.10.1", "9.11.1", "9.12.1")
def test_every_cell_is_the_one_of_the_rfc() -> None:
    fixture = rfc5024.cells_of_the_fixture()
    assert len(fixture) == len(set(fixture)) == 351
    assert our_cells() == set(fixture)


@pytest.mark.rfc("9.8.2", "9.9.2", "9.10.2", "9.11.2", "9.12.2")
def test_every_transition_is_the_one_of_the_rfc_in_its_order() -> None:
    theirs = [
        as_we_write(alternative)
        for alternative in rfc5024.alternatives_of_the_fixture()
        if alternative.letter not in WITHOUT_ROWS and not needs_special_logic(alternative)
    ]
    # Row Y names its alternatives in another order in each table; only the order that can matter is compared.
    assert sorted(map(repr, ours())) == sorted(map(repr, theirs))
    for table in Table:
        for letter in transitions(table):
            here, there = ([found for found in rows if found[:2] == (table.value, letter)] for rows in (ours(), theirs))
            assert here == there


def test_every_letter_used_has_a_transition_and_every_transition_is_used() -> None:
    used = {(found.table, found.letter) for found in our_cells()} - {
        (table.value, letter) for table in Table for letter in WITHOUT_ROWS
    }
    assert used == {(table.value, letter) for table in Table for letter in transitions(table)}


@needs_the_text
def test_the_fixture_has_the_cells_of_the_text() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    assert_same(rfc5024.cells_of_the_fixture(), rfc5024.cells_of_the_text(text))


@needs_the_text
def test_the_fixture_has_the_transitions_of_the_text() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    assert_same(rfc5024.alternatives_of_the_fixture(), rfc5024.alternatives_of_the_text(text))


@needs_the_text
def test_the_fixture_has_the_fields_of_the_text() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    assert_same(rfc5024.fields_of_the_fixture(), rfc5024.fields_of_the_text(text))


@needs_the_text
def test_the_fixture_has_the_fields_of_rfc_2204() -> None:
    text = rfc5024.TEXT_OF_RFC2204.read_text(encoding="utf-8", errors="replace")
    assert_same(rfc5024.fields_of_rfc2204(), rfc5024.fields_of_the_text(text))


def assert_same(fixture: Iterable[object], text: Iterable[object]) -> None:
    assert list(fixture) == list(text)


@pytest.mark.rfc("9.3")
@needs_the_text
def test_every_state_of_section_9_3_is_known() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    section = text[text.rindex("9.3.  States") : text.rindex("9.4.  Input Events")]
    named = set(re.findall(r"^   ([A-Z][A-Z_]{2,}) {2,}\S", section, re.MULTILINE)) - {"RFC"}
    assert {state.value for state in State} == named | {"WF_CHALLENGE_RS", "WF_RESPONSE_RS"}


@pytest.mark.rfc("9.4")
@needs_the_text
def test_every_input_of_section_9_4_is_known() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    section = text[text.rindex("9.4.  Input Events") : text.rindex("9.5.  Output Events")]
    named = set(re.findall(r"\b(?:[FN]_[A-Z_]+|[A-Z]{2,4}[0-9]?)(?=\s)", section)) - {"RFC", "ODETTE", "FTP", "TIME"}
    known = {event.value.split("(")[0].split(" ")[0].replace("F_REL_RQ", "F_RELEASE_RQ") for event in Input}
    # Octets reach the machine as the commands that are in them.
    assert named - {"N_DATA_IND", "F_RELEASE_RQ", "OUT"} <= known


def test_a_line_is_read_into_its_parts() -> None:
    found = row(Table.LISTENER, "K | P2 & !P3 | 1,2 | EFPA(no_CD) | IDLELI")
    assert found.guard == (("P2", True), ("P3", False))
    assert (found.actions, found.outputs, found.to) == (("1", "2"), ("EFPA(no_CD)",), State.IDLELI)
    assert row(Table.LISTENER, "K | else | | UE | UE").guard == ()
