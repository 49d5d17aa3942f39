from __future__ import annotations

from itertools import product

import pytest

from oftp2.deviations import (
    CONNECTED,
    DEVIATIONS,
    EFFECTIVE,
    ESID,
    FROM_NETWORK,
    FROM_PEER,
    UNCONNECTED,
    Decision,
    Deviation,
    of_the_rfc,
)
from oftp2.layouts import COMMAND_OCTETS
from oftp2.machine import COMMANDS, EFFECTS, EVENTS, NETWORK, PREDICATES
from oftp2.tables import IMPOSSIBLE, USER_ERROR, Input, Row, State, Table, cells

BETWEEN_COMMANDS = {"UE", "ESID(R=02)", "F_ABORT_IND(R,AO=L)"}
"""Outputs that the interpreter makes by itself, because they need the row or what was said before."""

WITHOUT_EFFECT = {
    Table.SESSION: {"1", "2", "3", "4"},
    Table.ERROR: {"1", "2"},
    Table.SPEAKER_1: {"1", "2", "3", "7", "8", "9", "11", "15", "17", "18"},
    Table.SPEAKER_2: {"1", "2", "3", "4", "5", "6"},
    Table.LISTENER: {"1", "2", "4", "10"},
}
"""Actions that only start or stop the timer, or say from what an output is built."""


def rows() -> list[Row]:
    return [row for decision in EFFECTIVE.values() if not isinstance(decision, str) for row in decision]


def _applied(deviations: tuple[Deviation, ...]) -> dict[tuple[State, Input], Decision]:
    decided = of_the_rfc()
    for deviation in deviations:
        for state in deviation.states:
            for event in deviation.inputs:
                if not (deviation.only_undefined and (state, event) in decided):
                    decided[state, event] = deviation.decision
    return decided


@pytest.mark.rfc("9.1", "9.2")
def test_every_state_decides_every_input() -> None:
    assert set(EFFECTIVE) == {(state, event) for state in State for event in Input}
    for decision in EFFECTIVE.values():
        assert decision in {USER_ERROR, IMPOSSIBLE} or (decision and not isinstance(decision, str))


def test_inputs_are_of_the_peer_of_the_network_or_of_our_own() -> None:
    assert {
        Input(kind.__name__.upper()) for kind in COMMAND_OCTETS.values() if kind.__name__ != "Esid"
    } | ESID == FROM_PEER
    assert {event.value for event in set(Input) - FROM_PEER - FROM_NETWORK} == {
        event.value for event in Input if event.value.startswith("F_")
    }


def test_nothing_that_the_peer_sends_is_an_error_of_our_own() -> None:
    for (state, event), decision in EFFECTIVE.items():
        if event in FROM_PEER | {Input.INVALID_BUFFER, Input.TIME_OUT} and state not in UNCONNECTED | {State.WF_NDISC}:
            assert not isinstance(decision, str), (state, event)
            assert all("UE" not in row.outputs for row in decision)
        if event in FROM_PEER and state is State.WF_NDISC:
            assert not isinstance(decision, str)


@pytest.mark.rfc("9.9")
def test_the_connection_may_break_in_every_state() -> None:
    for state in State:
        decision = EFFECTIVE[state, Input.N_DISC_IND]
        assert not isinstance(decision, str)
        assert [row.to for row in decision] == [State.IDLE]


def test_every_connected_state_may_be_left_with_a_reason_and_without_one() -> None:
    for state in CONNECTED:
        assert not isinstance(EFFECTIVE[state, Input.F_REL_RQ_ERR], str)
        assert not isinstance(EFFECTIVE[state, Input.F_ABORT_RQ], str)


@pytest.mark.rfc("9.8.3", "9.9.3", "9.10.3", "9.11.3", "9.12.3")
@pytest.mark.parametrize("token", sorted({(row.table.name, name) for row in rows() for name, _ in row.guard}))
def test_every_predicate_has_a_meaning(token: tuple[str, str]) -> None:
    assert (Table[token[0]], token[1]) in PREDICATES


@pytest.mark.rfc("9.8.3", "9.9.3", "9.10.3", "9.11.3", "9.12.3")
@pytest.mark.parametrize("token", sorted({(row.table.name, action) for row in rows() for action in row.actions}))
def test_every_action_has_an_effect_or_needs_none(token: tuple[str, str]) -> None:
    table, action = Table[token[0]], token[1]
    assert ((table, action) in EFFECTS) is not (action in WITHOUT_EFFECT[table] and token != ("SPEAKER_2", "7"))


@pytest.mark.rfc("9.5")
@pytest.mark.parametrize("token", sorted({output for row in rows() for output in row.outputs}))
def test_every_output_has_exactly_one_meaning(token: str) -> None:
    assert [token in meanings for meanings in (COMMANDS, EVENTS, NETWORK, BETWEEN_COMMANDS)].count(True) == 1


def test_no_meaning_is_dead() -> None:
    said = {output for row in rows() for output in row.outputs}
    assert set(COMMANDS) | set(EVENTS) | BETWEEN_COMMANDS <= said
    assert set(EFFECTS) <= {(row.table, action) for row in rows() for action in row.actions}
    assert set(PREDICATES) <= {(row.table, name) for row in rows() for name, _ in row.guard}


def test_every_state_is_reachable_from_idle_and_idle_from_every_state() -> None:
    onward = {state: {state} for state in State}
    for (state, _), decision in EFFECTIVE.items():
        if not isinstance(decision, str):
            onward[state] |= {row.to for row in decision if "UE" not in row.outputs}

    def reachable(state: State) -> set[State]:
        seen: set[State] = set()
        waiting = [state]
        while waiting:
            at = waiting.pop()
            if at not in seen:
                seen.add(at)
                waiting += onward[at]
        return seen

    assert reachable(State.IDLE) == set(State)
    for state in State:
        assert State.IDLE in reachable(state)


def test_alternatives_are_guarded_but_for_the_last() -> None:
    for pair, decision in EFFECTIVE.items():
        if not isinstance(decision, str):
            assert all(row.guard for row in decision[:-1]), pair


ALWAYS = {(Table.SESSION, "P1"): False, (Table.SESSION, "P3"): False}
"""Predicates with one value: resources are there, the role fits; and over TCP there is no special logic."""
ALWAYS |= {(Table.SPEAKER_1, "P4"): True, (Table.LISTENER, "P5"): False}


def test_one_alternative_holds_whatever_the_predicates_say() -> None:
    for pair, decision in EFFECTIVE.items():
        if isinstance(decision, str):
            continue
        names = sorted({(row.table, name) for row in decision for name, _ in row.guard}, key=str)
        for values in product([False, True], repeat=len(names)):
            world = dict(zip(names, values, strict=True))
            if any(world[name] is not value for name, value in ALWAYS.items() if name in world):
                continue
            assert any(all(world[row.table, name] is wanted for name, wanted in row.guard) for row in decision), pair


def test_only_esid_stands_in_two_tables_and_its_own_columns_come_last() -> None:
    decided: dict[tuple[str, str], Table] = {}
    for table in Table:
        for event, column, _ in cells(table):
            first = decided.setdefault((event.split(" R=")[0], column), table)
            assert first is table or event.startswith("ESID")
    tables = {event: table for table in Table for event, _, _ in cells(table) if event.startswith("ESID")}
    assert tables == {"ESID": Table.SESSION, "ESID R=Normal": Table.LISTENER, "ESID R=Error": Table.LISTENER}


@pytest.mark.parametrize("index", range(len(DEVIATIONS)))
def test_every_deviation_has_a_reason_and_changes_something(index: int) -> None:
    deviation = DEVIATIONS[index]
    assert len(deviation.because) > 20
    assert deviation.states
    assert deviation.inputs
    without = _applied(DEVIATIONS[:index] + DEVIATIONS[index + 1 :])
    assert without != dict(EFFECTIVE)


@pytest.mark.parametrize("index", range(len(DEVIATIONS)))
def test_every_deviation_holds_wherever_it_says_it_does(index: int) -> None:
    deviation = DEVIATIONS[index]
    if deviation.only_undefined:
        return
    for state in deviation.states:
        for event in deviation.inputs:
            assert EFFECTIVE[state, event] == deviation.decision, (state, event)


def test_the_rfc_leaves_251_of_its_pairs_open() -> None:
    ours = {State.WF_CHALLENGE_RS, State.WF_RESPONSE_RS}
    new = {Input.F_CHALLENGE_RS, Input.F_RESPONSE_RS, Input.F_CONSUMED_RQ}
    pairs = {(state, event) for state in set(State) - ours for event in set(Input) - new}
    assert len(pairs - set(of_the_rfc())) == 251
