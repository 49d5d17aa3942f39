"""Steps on the tables of transfers and receipts that the ledger's methods are put together from.

Each function works in a transaction its caller has begun; none begins or ends one. A ``Move`` is the only
thing that ever writes a state of a transfer after its row is there, and it cannot be made against
``MOVES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from oftp2.records import stored_octets
from oftp2.values import FileFormat, FileIdentity, clip
from oftp2d.ledger.errors import AmbiguousError, ClaimLostError, UnknownError
from oftp2d.ledger.identifiers import Identifiers
from oftp2d.ledger.records import NewIncoming, NewOutgoing, NewReceipt, ReceiptState, Transfer
from oftp2d.ledger.schema import receipts, transfers
from oftp2d.ledger.stamps import allot
from oftp2d.ledger.states import Direction, IllegalMoveError, TransferState, is_legal

_identifiers = Identifiers()

_END_RESPONSE = sa.case(
    (receipts.c.state == ReceiptState.SENT, "sent"), (receipts.c.state.is_not(None), "owed"), else_=None
).label("end_response")

SELECT_TRANSFERS = sa.select(transfers, _END_RESPONSE).select_from(
    transfers.outerjoin(receipts, receipts.c.transfer_id == transfers.c.id)
)
"""Transfers with the state of the end response owed for them."""

_BY_ID = SELECT_TRANSFERS.where(transfers.c.id == sa.bindparam("key"))
_BY_KEY = SELECT_TRANSFERS.where(
    transfers.c.direction == sa.bindparam("way"),
    *(transfers.c[name] == sa.bindparam(f"key_{name}") for name in FileIdentity.__slots__),
).with_for_update(of=transfers)

_BY_SECOND = (
    SELECT_TRANSFERS.where(
        transfers.c.direction == Direction.OUT,
        transfers.c.efid_sent,
        *(transfers.c[name] == sa.bindparam(f"key_{name}") for name in FileIdentity.__slots__ if name != "time"),
        transfers.c.time.between(sa.bindparam("low"), sa.bindparam("high")),
    )
    .limit(2)
    .with_for_update(of=transfers)
)

_SECOND_SHARED = (
    sa.select(transfers.c.id)
    .where(
        transfers.c.direction == Direction.OUT,
        *(transfers.c[name] == sa.bindparam(f"key_{name}") for name in FileIdentity.__slots__ if name != "time"),
        transfers.c.time.between(sa.bindparam("low"), sa.bindparam("high")),
        transfers.c.id != sa.bindparam("own"),
    )
    .limit(1)
)

_INSERT_TRANSFER = sa.insert(transfers)
_INSERT_RECEIPT = sa.insert(receipts)

_FIELDS: Final = {kind: tuple(each.name for each in fields(kind)) for kind in (NewOutgoing, NewIncoming, Transfer)}

_UNCLAIMED: Final[dict[str, Any]] = {"claim_owner": None, "claim_until": None}


def to_transfer(row: Row[Any], end_response: str | None = None) -> Transfer:
    """The record of a row; ``end_response`` where the row itself does not have it."""
    values = row._asdict()
    values.setdefault("end_response", end_response)
    return Transfer(**values)


def fetch(connection: Connection, transfer_id: str) -> Transfer:
    """One transfer. Raises UnknownError."""
    row = connection.execute(_BY_ID, {"key": transfer_id}).one_or_none()
    if row is None:
        raise UnknownError("transfer", transfer_id)
    return to_transfer(row)


def fetch_by_key(connection: Connection, direction: Direction, key: FileIdentity) -> Transfer | None:
    """The transfer with this duplicate key, locked where the database locks rows."""
    values = {f"key_{name}": getattr(key, name) for name in FileIdentity.__slots__}
    row = connection.execute(_BY_KEY, {"way": direction, **values}).one_or_none()
    return None if row is None else to_transfer(row)


def fetch_by_second(connection: Connection, key: FileIdentity) -> Transfer | None:
    """The file we sent within the second of this key, whatever its counter, answered or not.

    Raises AmbiguousError where there is more than one: to take any of them for the one that is meant would be a guess.
    """
    rows = connection.execute(_BY_SECOND, _second_of(key)).all()
    if len(rows) > 1:
        raise AmbiguousError(f"more than one file sent has the key {key}, as far as its second")
    return to_transfer(rows[0]) if rows else None


def is_second_shared(connection: Connection, transfer: Transfer) -> bool:
    """Whether the key of an outgoing file without its counter is that of another one too, sent or not."""
    return connection.execute(_SECOND_SHARED, {"own": transfer.id, **_second_of(transfer.key)}).first() is not None


def _second_of(key: FileIdentity) -> dict[str, str]:
    """A key as far as the second of its time, as parameters."""
    values = {f"key_{name}": getattr(key, name) for name in FileIdentity.__slots__ if name != "time"}
    second = key.time[:6]
    return {**values, "low": f"{second}0000", "high": f"{second}9999"}


class Move:
    """One verb of a transfer: from any of some states to one, through legal moves only.

    ``overtaken`` names states in which the verb comes too late and is simply without effect.
    """

    def __init__(
        self,
        direction: Direction,
        origins: Sequence[TransferState],
        *way: TransferState,
        overtaken: Sequence[TransferState] = (),
    ) -> None:
        for origin in origins:
            for here, there in zip((origin, *way), way, strict=False):
                if not is_legal(direction, here, there):
                    raise IllegalMoveError("(none)", here, there)
        self._goal = way[-1]
        self._overtaken = frozenset(overtaken)
        self._statement = (
            sa.update(transfers)
            .where(
                transfers.c.id == sa.bindparam("key"),
                transfers.c.direction == direction,
                sa.or_(*(transfers.c.state == origin for origin in origins)),
            )
            .returning(*transfers.c)
        )
        self._owned = self._statement.where(transfers.c.claim_owner == sa.bindparam("by"))

    def apply(
        self,
        connection: Connection,
        transfer_id: str,
        now: datetime,
        *,
        owner: str | None = None,
        **values: Any,
    ) -> Transfer:
        """Make the move, end the claim, and set the values given.

        With ``owner``, only while that owner has the claim. Raises UnknownError, IllegalMoveError,
        ClaimLostError.
        """
        parameters = {"key": transfer_id, "state": self._goal, "updated_at": now, **_UNCLAIMED, **values}
        if owner is None:
            row = connection.execute(self._statement, parameters).one_or_none()
        else:
            row = connection.execute(self._owned, {"by": owner, **parameters}).one_or_none()
        return self._explain(connection, transfer_id, owner) if row is None else to_transfer(row)

    def _explain(self, connection: Connection, transfer_id: str, owner: str | None) -> Transfer:
        """Nothing was moved: the transfer where that is no fault, else the error that says why."""
        transfer = fetch(connection, transfer_id)
        if transfer.state in self._overtaken:
            return transfer
        if owner is not None and transfer.claim_owner not in {None, owner}:
            raise ClaimLostError(f"transfer {transfer_id} was taken over by another session")
        raise IllegalMoveError(transfer_id, transfer.state, self._goal)


def insert_outgoing(connection: Connection, new: NewOutgoing, now: datetime) -> Transfer:
    """A queued transfer with a stamp of its own, or one to be secured first."""
    date, time = allot(
        connection,
        partner_id=new.partner_id,
        originator=new.originator,
        destination=new.destination,
        dataset=new.dataset,
        now=now,
    )
    queued = Transfer(
        **_values(new),
        **_beginning(now),
        direction=Direction.OUT,
        date=date,
        time=time,
        state=TransferState.QUEUED,
        attempts=0,
        queued_at=now,
        claim_owner=None,
        claim_until=None,
    )
    if new.to_be_secured:
        plain = stored_octets(FileFormat(new.format), new.octets, new.records)
        queued = replace(queued, state=TransferState.SECURING, plain_name=new.spool_name, plain_octets=plain)
    return _insert(connection, queued)


def insert_incoming(connection: Connection, new: NewIncoming, now: datetime, owner: str, until: datetime) -> Transfer:
    """A transfer that is being received; its part in the spool is called as it is."""
    beginning = _beginning(now)
    return _insert(
        connection,
        Transfer(
            **_values(new),
            **beginning,
            direction=Direction.IN,
            spool_name=beginning["id"],
            state=TransferState.RECEIVING,
            attempts=1,
            claim_owner=owner,
            claim_until=until,
            sha256=None,
        ),
    )


def insert_forwarded(connection: Connection, incoming: Transfer, partner_id: int, now: datetime) -> Transfer:
    """A received file, queued for the partner it is for: all that it is stays as it was (RFC 5024 section 1.5.2)."""
    onward: dict[str, Any] = {
        **_beginning(now),
        **_UNCLAIMED,
        "direction": Direction.OUT,
        "partner_id": partner_id,
        "state": TransferState.QUEUED,
        "attempts": 0,
        "queued_at": now,
        "reached": 0,
        "forwarded_from": incoming.id,
        "end_response": None,
    }
    return _insert(connection, replace(incoming, **onward))


def insert_receipt(connection: Connection, transfer: Transfer, new: NewReceipt, now: datetime) -> None:
    """Owe an end response for an incoming transfer: it goes back the way the file came.

    Its text is cut to what a NERP holds. One that travels may need more room than it came with: what was no UTF-8 has
    become replacement characters of three octets.
    """
    connection.execute(
        _INSERT_RECEIPT,
        {
            "transfer_id": transfer.id,
            "partner_id": transfer.partner_id,
            "kind": new.kind,
            "dataset": transfer.dataset,
            "date": transfer.date,
            "time": transfer.time,
            "user": transfer.user if new.user is None else new.user,
            "originator": transfer.destination,
            "destination": transfer.originator,
            "creator": transfer.destination if new.creator is None else new.creator,
            "reason": new.reason,
            "text": clip(new.text),
            "state": ReceiptState.OWED,
            "created_at": now,
            "hash": new.hash,
            "signature": new.signature,
        },
    )


def release_receipts(connection: Connection, owner: str) -> None:
    """The end responses an owner had claimed are owed again."""
    claimed = sa.update(receipts).where(receipts.c.claim_owner == owner, receipts.c.state == ReceiptState.SENDING)
    connection.execute(claimed, {"state": ReceiptState.OWED, **_UNCLAIMED})


def _beginning(now: datetime) -> dict[str, Any]:
    """What every transfer begins with."""
    return {
        "id": _identifiers.next(now),
        "created_at": now,
        "updated_at": now,
        "next_attempt_at": None,
        "sent_at": None,
        "ended_at": None,
        "reason": None,
        "text": None,
        "efid_sent": False,
    }


def _insert(connection: Connection, transfer: Transfer) -> Transfer:
    values = _values(transfer)
    del values["end_response"]
    connection.execute(_INSERT_TRANSFER, values)
    return transfer


def _values(record: NewOutgoing | NewIncoming | Transfer) -> dict[str, Any]:
    """The fields of a record by their names; what they hold is frozen and need not be copied."""
    return {name: getattr(record, name) for name in _FIELDS[type(record)]}
