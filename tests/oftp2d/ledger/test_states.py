"""The table of legal moves."""

from __future__ import annotations

import itertools

import pytest

from oftp2d.ledger.moves import Move
from oftp2d.ledger.states import MOVES, STATES_OF, Direction, IllegalMoveError, TransferState, is_legal

FINAL = {
    Direction.OUT: {TransferState.ACKNOWLEDGED},
    Direction.IN: {TransferState.DELIVERED, TransferState.REFUSED},
}


def test_every_state_has_its_row_and_belongs_to_a_direction() -> None:
    assert set(MOVES) == set(TransferState) == STATES_OF[Direction.OUT] | STATES_OF[Direction.IN]


@pytest.mark.parametrize("direction", Direction)
def test_only_final_states_have_no_way_out(direction: Direction) -> None:
    stuck = {
        here for here in STATES_OF[direction] if not any(is_legal(direction, here, there) for there in TransferState)
    }
    assert stuck == FINAL[direction]


def test_no_move_leads_from_one_direction_into_the_other() -> None:
    only_out = STATES_OF[Direction.OUT] - STATES_OF[Direction.IN]
    only_in = STATES_OF[Direction.IN] - STATES_OF[Direction.OUT]
    for direction, here, there in itertools.product(Direction, TransferState, TransferState):
        if is_legal(direction, here, there):
            foreign = only_in if direction is Direction.OUT else only_out
            assert not {here, there} & foreign


def test_a_refused_file_can_be_sent_again_but_never_received_again() -> None:
    assert is_legal(Direction.OUT, TransferState.REFUSED, TransferState.QUEUED)
    assert not is_legal(Direction.IN, TransferState.REFUSED, TransferState.QUEUED)


def test_what_is_being_secured_cannot_have_been_answered() -> None:
    assert MOVES[TransferState.SECURING] == {TransferState.QUEUED, TransferState.FAILED, TransferState.CANCELLED}


def test_a_verb_cannot_be_made_against_the_table() -> None:
    with pytest.raises(IllegalMoveError, match="acknowledged and cannot become queued"):
        Move(Direction.OUT, [TransferState.ACKNOWLEDGED], TransferState.QUEUED)
