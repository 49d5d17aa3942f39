"""The states a transfer passes through, and the one table of legal moves between them.

``MOVES`` serves both directions: a move is legal when the table has it and both its ends belong to the
direction of the transfer (``STATES_OF``). Nothing in the ledger changes a state in any other way, and what is
put right after a crash goes by the same table.

Outgoing: securing (being signed, compressed or encrypted, where that was asked for), queued, sending (claimed by a
session), sent (EFPA seen), acknowledged (EERP) or refused (NERP).
Incoming: receiving, received (on disk and committed, so EFPA may go), then delivered (EERP owed) or refused
(NERP owed).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from oftp2d.errors import OperatorError


class Direction(StrEnum):
    """Which way a Virtual File travels, seen from this station."""

    OUT = "out"
    IN = "in"


class Kind(StrEnum):
    """What a Virtual File carries. Their order is their precedence: the certificate exchange goes first."""

    EXCHANGE = "exchange"
    FILE = "file"


class TransferState(StrEnum):
    """Where a transfer stands."""

    SECURING = "securing"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    RECEIVING = "receiving"
    INTERRUPTED = "interrupted"
    RECEIVED = "received"
    DELIVERED = "delivered"


STATES_OF: Final[dict[Direction, frozenset[TransferState]]] = {
    Direction.OUT: frozenset(
        {
            TransferState.SECURING,
            TransferState.QUEUED,
            TransferState.SENDING,
            TransferState.SENT,
            TransferState.ACKNOWLEDGED,
            TransferState.FAILED,
            TransferState.CANCELLED,
            TransferState.REFUSED,
        }
    ),
    Direction.IN: frozenset(
        {
            TransferState.RECEIVING,
            TransferState.INTERRUPTED,
            TransferState.RECEIVED,
            TransferState.DELIVERED,
            TransferState.CANCELLED,
            TransferState.REFUSED,
        }
    ),
}
"""The states each direction knows. Cancelled and refused belong to both."""

# An end response may overtake everything: a partner that got the file answers, whatever our side believed. So
# acknowledged and refused can be reached from every outgoing state that may follow an EFID. Securing never does: a file
# goes back there only with a new stamp, or where none of it has gone. One that is queued does so when a certificate that it
# was secured with counts no more.
MOVES: Final[dict[TransferState, frozenset[TransferState]]] = {
    TransferState.SECURING: frozenset({TransferState.QUEUED, TransferState.FAILED, TransferState.CANCELLED}),
    TransferState.QUEUED: frozenset(
        {
            TransferState.SECURING,
            TransferState.SENDING,
            TransferState.CANCELLED,
            TransferState.FAILED,
            TransferState.ACKNOWLEDGED,
            TransferState.REFUSED,
        }
    ),
    TransferState.SENDING: frozenset(
        {
            TransferState.SENT,
            TransferState.QUEUED,
            TransferState.FAILED,
            TransferState.ACKNOWLEDGED,
            TransferState.REFUSED,
        }
    ),
    # Failed and cancelled are for forwarded files: somebody waits for an answer, and it must not be for ever.
    TransferState.SENT: frozenset(
        {
            TransferState.ACKNOWLEDGED,
            TransferState.REFUSED,
            TransferState.SECURING,
            TransferState.QUEUED,
            TransferState.FAILED,
            TransferState.CANCELLED,
        }
    ),
    TransferState.FAILED: frozenset(
        {
            TransferState.SECURING,
            TransferState.QUEUED,
            TransferState.CANCELLED,
            TransferState.ACKNOWLEDGED,
            TransferState.REFUSED,
        }
    ),
    TransferState.CANCELLED: frozenset(
        {
            TransferState.SECURING,
            TransferState.QUEUED,
            TransferState.ACKNOWLEDGED,
            TransferState.REFUSED,
            TransferState.RECEIVING,
        }
    ),
    TransferState.REFUSED: frozenset({TransferState.SECURING, TransferState.QUEUED}),
    TransferState.ACKNOWLEDGED: frozenset(),
    TransferState.RECEIVING: frozenset({TransferState.RECEIVED, TransferState.INTERRUPTED}),
    TransferState.INTERRUPTED: frozenset({TransferState.RECEIVING, TransferState.CANCELLED}),
    TransferState.RECEIVED: frozenset({TransferState.DELIVERED, TransferState.REFUSED}),
    TransferState.DELIVERED: frozenset(),
}
"""Every legal move, for both directions at once."""

UNFINISHED: Final[frozenset[TransferState]] = frozenset(
    {
        TransferState.SECURING,
        TransferState.QUEUED,
        TransferState.SENDING,
        TransferState.SENT,
        TransferState.RECEIVING,
        TransferState.INTERRUPTED,
        TransferState.RECEIVED,
    }
)
"""States in which something is still to happen without anyone asking for it."""


class IllegalMoveError(OperatorError):
    """A transfer was asked to move where ``MOVES`` has no way. Nothing was changed."""

    def __init__(self, transfer_id: str, here: TransferState, there: TransferState) -> None:
        again = "the partner has confirmed it: what it is to get once more is sent with 'oftp2d send'"
        super().__init__(
            f"transfer {transfer_id} is {here} and cannot become {there}",
            again if here is TransferState.ACKNOWLEDGED else f"see 'oftp2d transfer show {transfer_id}'",
        )
        self.transfer_id = transfer_id
        self.here = here
        self.there = there


def is_legal(direction: Direction, here: TransferState, there: TransferState) -> bool:
    """Whether a transfer of this direction may move from ``here`` to ``there``."""
    states = STATES_OF[direction]
    return here in states and there in states and there in MOVES[here]
