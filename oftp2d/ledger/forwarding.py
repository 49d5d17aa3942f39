"""Files for a third party: a transfer in, a transfer out, and the end response that travels back (RFC 5024 section 4.3.6).

The outgoing transfer is queued in the transaction that notes the incoming one as received, and its end is passed back in
the transaction that notes it: with the end response that came for it, or, where none will come, with a NERP of our own. So
a crash leaves both or neither. The incoming transfer stays *received* until then; the first answer stands. A file whose
partner can no longer be sent anything when it has come gets no outgoing transfer, but that NERP.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2.reasons import NegativeResponseReason
from oftp2d.ledger.database import Database
from oftp2d.ledger.moves import Move, fetch, insert_receipt
from oftp2d.ledger.records import NewReceipt, ReceiptKind, Traffic, Transfer
from oftp2d.ledger.schema import partners, transfers
from oftp2d.ledger.states import Direction, TransferState

_N = NegativeResponseReason
_DELIVERED = Move(Direction.IN, [TransferState.RECEIVED], TransferState.DELIVERED)
_REFUSED = Move(Direction.IN, [TransferState.RECEIVED], TransferState.REFUSED)

_OF_ANSWER: Final = {21: _N.INVALID_SIGNATURE, 22: _N.DECRYPTION_FAILED, 23: _N.DECOMPRESSION_FAILED}
"""EFNA reasons whose NERP reason is not simply ten more."""

_OF_SESSION: Final = {3: _N.USER_CODE_NOT_KNOWN, 4: _N.INVALID_PASSWORD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """The two partners between which a file is forwarded, by their codes, and both transfers."""

    incoming_id: str
    outgoing_id: str
    source: str
    target: str


class Forwardings:
    """What is forwarded, for those who look."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, transfer_ids: Collection[str]) -> dict[str, Forwarding]:
        """The forwardings that these transfers are a part of, in or out; transfers that are not forwarded are left out."""
        incoming, outgoing, source, target = transfers.alias(), transfers.alias(), partners.alias(), partners.alias()
        found = (
            sa.select(
                incoming.c.id.label("incoming_id"),
                outgoing.c.id.label("outgoing_id"),
                source.c.code.label("source"),
                target.c.code.label("target"),
            )
            .select_from(outgoing)
            .join(incoming, incoming.c.id == outgoing.c.forwarded_from)
            .join(source, source.c.id == incoming.c.partner_id)
            .join(target, target.c.id == outgoing.c.partner_id)
        )
        with self._database.reading() as connection:
            rows = [
                *connection.execute(found.where(outgoing.c.id.in_(transfer_ids))),
                *connection.execute(found.where(outgoing.c.forwarded_from.in_(transfer_ids))),
            ]
        made = [Forwarding(**row._asdict()) for row in rows]
        return {each.outgoing_id: each for each in made} | {each.incoming_id: each for each in made}


def negative_reason(reason: str | None, *, sent: bool) -> NegativeResponseReason:
    """NERPREAS for a file that could not be forwarded (RFC 5024 section 5.3.14).

    ``reason`` is the answer that ended it, such as ``SFNA 02`` or ``ESID 04``, or None; ``sent``: it went out in full, and
    was never confirmed.
    """
    command, _, number = (reason or "").partition(" ")
    if not number.isdecimal():
        return _N.NOT_ACKNOWLEDGED if sent else _N.NOT_DELIVERED
    code = int(number)
    if command == "ESID":
        return _OF_SESSION.get(code, _N.SESSION_UNSPECIFIED)
    return _OF_ANSWER.get(code) or next((each for each in _N if each == code + 10), _N.UNSPECIFIED)


def takes_files(connection: Connection, partner_id: int) -> bool:
    """Whether files can go to a partner: it is still there, active, and not one from which we only receive."""
    found = sa.select(partners.c.id).where(
        partners.c.id == partner_id, partners.c.active, partners.c.mode != Traffic.RECEIVE
    )
    return connection.execute(found).first() is not None


def pass_back(connection: Connection, outgoing: Transfer, answer: NewReceipt, now: datetime) -> None:
    """The end response for a forwarded file: owe it, as it is, to the partner the file came from."""
    if outgoing.forwarded_from is None:
        return
    incoming = fetch(connection, outgoing.forwarded_from)
    # Where it was answered before, that one answer is all it gets.
    if incoming.state is TransferState.RECEIVED:
        _answer(connection, incoming, answer, now)


def answer_for(
    connection: Connection,
    outgoing: Transfer,
    now: datetime,
    *,
    reason: NegativeResponseReason | None = None,
    said: str = "",
) -> None:
    """No end response will come for a file that was given up: a NERP of our own goes back, if it is a forwarded one.

    It says what the standard says of its reason and what the next location ``said`` itself, but nothing that we noted for
    our own administrators: that tells of addresses, disks and other partners.
    """
    if outgoing.forwarded_from is None:
        return
    given = reason or negative_reason(outgoing.reason, sent=outgoing.efid_sent)
    pass_back(connection, outgoing, _ours(connection, outgoing.forwarded_from, given, said), now)


def turn_back(connection: Connection, incoming: Transfer, now: datetime) -> Transfer:
    """A received file cannot go on to the partner it is for: a NERP of our own goes back at once."""
    return _answer(connection, incoming, _ours(connection, incoming.id, _N.NOT_DELIVERED), now)


def _ours(connection: Connection, incoming_id: str, reason: NegativeResponseReason, said: str = "") -> NewReceipt:
    """A NERP whose creator is the station of ours that the partner knows."""
    came_by = sa.select(transfers.c.partner_id).where(transfers.c.id == incoming_id).scalar_subquery()
    station = connection.execute(sa.select(partners.c.station).where(partners.c.id == came_by)).scalar_one()
    text = f"{reason.meaning}: {said}" if said else reason.meaning
    return NewReceipt(kind=ReceiptKind.NERP, creator=station, reason=reason, text=text)


def _answer(connection: Connection, incoming: Transfer, answer: NewReceipt, now: datetime) -> Transfer:
    """The end of a received file, and the end response owed for it."""
    reason = None if answer.reason is None else f"{answer.kind} {answer.reason:02}"
    move = _DELIVERED if answer.kind is ReceiptKind.EERP else _REFUSED
    ended = move.apply(
        connection, incoming.id, now, spool_name="", ended_at=now, reason=reason, text=answer.text or None
    )
    insert_receipt(connection, ended, answer, now)
    return ended
