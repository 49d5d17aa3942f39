"""Transfers: the queue of what goes out, the record of what comes in, and the duplicate key for both.

Each method is one transaction. A session claims what it works on, with its name as owner and a lease; when the
lease runs out another may take over. The order of steps that loses nothing is the caller's: ``efid_going`` before
the EFID, the spool's seal before ``received``, ``received`` before the EFPA, ``acknowledged`` before the RTR.

A transaction is on disk when its method returns, but for those that a loss of power may take back (never a kill),
because what they say is found out again:

    claim, renew        without them the file is queued, which is what the start makes of a dead owner's claim
    sent                without it the file is sent again, and SFNA 13 says that the partner has it
    open_incoming       of a new file; without it that is unknown, and its partner, who has no EFPA, sends it again; nothing of
                        it is in the inbox, since that comes after ``received``, which makes this durable too
    interrupted         of what is not kept; without it the file is being received, of which the start makes interrupted
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from oftp2.reasons import NegativeResponseReason
from oftp2.records import BLOCK, LENGTH_OCTETS
from oftp2.values import FileFormat, FileIdentity
from oftp2d.errors import OperatorError
from oftp2d.ledger.certified import ExchangeState
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import ClaimLostError
from oftp2d.ledger.evidence import drop, hold, keep, release
from oftp2d.ledger.exchanges import reopen, set_going, settle
from oftp2d.ledger.forwarding import answer_for, pass_back, takes_files, turn_back
from oftp2d.ledger.moves import (
    SELECT_TRANSFERS,
    Move,
    fetch,
    fetch_by_key,
    fetch_by_second,
    insert_forwarded,
    insert_incoming,
    insert_outgoing,
    insert_receipt,
    is_second_shared,
    release_receipts,
    to_transfer,
)
from oftp2d.ledger.records import (
    Answered,
    Busy,
    Duplicate,
    NewEvidence,
    NewIncoming,
    NewOutgoing,
    NewReceipt,
    ReceiptState,
    SignedResponse,
    Traffic,
    Transfer,
)
from oftp2d.ledger.schema import partners, receipts, transfers
from oftp2d.ledger.stamps import allot
from oftp2d.ledger.states import STATES_OF, UNFINISHED, Direction, Kind, TransferState

_S = TransferState
_ANSWERED: Final = (_S.ACKNOWLEDGED, _S.REFUSED)
"""The partner's end response may come in one session while another still believes it is sending."""

_SENT = Move(Direction.OUT, [_S.SENDING], _S.SENT, overtaken=_ANSWERED)
_REQUEUED = Move(Direction.OUT, [_S.SENDING], _S.QUEUED, overtaken=_ANSWERED)
_FAILED = Move(Direction.OUT, [_S.SENDING, _S.QUEUED], _S.FAILED, overtaken=_ANSWERED)
_GIVEN_UP = {state: Move(Direction.OUT, [state], _S.FAILED) for state in (_S.QUEUED, _S.SENT)}
_SECURED = Move(Direction.OUT, [_S.SECURING], _S.QUEUED, overtaken=[_S.CANCELLED])
_UNSECURABLE = Move(Direction.OUT, [_S.SECURING], _S.FAILED, overtaken=[_S.CANCELLED])
_SECURED_AGAIN = Move(Direction.OUT, [_S.QUEUED], _S.SECURING)
_RETRIED = {
    goal: Move(Direction.OUT, [_S.FAILED, _S.CANCELLED, _S.REFUSED, _S.SENT], goal) for goal in (_S.QUEUED, _S.SECURING)
}
_CANCELLED = {
    Direction.OUT: Move(Direction.OUT, [_S.SECURING, _S.QUEUED, _S.FAILED], _S.CANCELLED),
    Direction.IN: Move(Direction.IN, [_S.INTERRUPTED], _S.CANCELLED),
}
_CANCELLED_ONWARD = Move(Direction.OUT, [_S.QUEUED, _S.FAILED, _S.SENT], _S.CANCELLED)
_UNANSWERED: Final = (_S.QUEUED, _S.SENDING, _S.SENT, _S.FAILED, _S.CANCELLED)
_ACKNOWLEDGED = Move(Direction.OUT, _UNANSWERED, _S.ACKNOWLEDGED, overtaken=_ANSWERED)
_REFUSED_BY_PARTNER = Move(Direction.OUT, _UNANSWERED, _S.REFUSED, overtaken=_ANSWERED)

_RESUMED = Move(Direction.IN, [_S.INTERRUPTED, _S.CANCELLED], _S.RECEIVING)
_TAKEN_OVER = Move(Direction.IN, [_S.RECEIVING], _S.INTERRUPTED, _S.RECEIVING)
_RECEIVED = Move(Direction.IN, [_S.RECEIVING], _S.RECEIVED)
_INTERRUPTED = Move(Direction.IN, [_S.RECEIVING], _S.INTERRUPTED)
_DELIVERED = Move(Direction.IN, [_S.RECEIVED], _S.DELIVERED)
_RECEIVED_AND_DELIVERED = Move(Direction.IN, [_S.RECEIVING], _S.RECEIVED, _S.DELIVERED)
_REFUSED_BY_US = Move(Direction.IN, [_S.RECEIVED], _S.REFUSED)

_CLAIMED: Final = (_S.SENDING, _S.RECEIVING)
_IN_SPOOL: Final = {
    Direction.OUT: (UNFINISHED & STATES_OF[Direction.OUT]) | {_S.FAILED, _S.CANCELLED, _S.REFUSED},
    Direction.IN: UNFINISHED & STATES_OF[Direction.IN],
}
"""Ours may be retried; what broke off on its way in goes on where it did."""

_OFFER: Final = (
    "format",
    "record_length",
    "octets",
    "description",
    "security",
    "cipher",
    "compression",
    "envelope",
    "signed_response",
    "original_size",
)
"""What SFID says of a file: where it says something else than before, it is not that file that is offered again."""


def _waiting(state: TransferState, *, of_one_kind: bool) -> sa.Select[tuple[str, int]]:
    """The transfers of a partner that wait in this state, in their order; Kind sorts the exchange before files."""
    due = [transfers.c.partner_id == sa.bindparam("partner"), transfers.c.state == state]
    if state is _S.QUEUED:
        due.append(
            sa.or_(transfers.c.next_attempt_at.is_(None), transfers.c.next_attempt_at <= sa.bindparam("due")),
        )
    else:
        due.append(transfers.c.claim_until < sa.bindparam("due"))
    if of_one_kind:
        due.append(transfers.c.kind == sa.bindparam("only"))
    return (
        sa.select(transfers.c.id, transfers.c.octets)
        .where(*due)
        .order_by(transfers.c.kind, transfers.c.id)
        .limit(sa.bindparam("files"))
        .with_for_update(skip_locked=True)
    )


# What is queued goes before what another session left behind; SENDING to SENDING is a change of owner, no move.
_WAITING: Final = {
    of_one_kind: {state: _waiting(state, of_one_kind=of_one_kind) for state in (_S.QUEUED, _S.SENDING)}
    for of_one_kind in (False, True)
}
_CLAIM = (
    sa.update(transfers)
    .where(transfers.c.id.in_(sa.bindparam("chosen", expanding=True)))
    .values(attempts=transfers.c.attempts + 1)
    .returning(*transfers.c)
)

_UNCLAIM = (
    sa.update(transfers)
    .where(
        transfers.c.id.in_(sa.bindparam("chosen", expanding=True)),
        transfers.c.claim_owner == sa.bindparam("by"),
        transfers.c.state == _S.SENDING,
    )
    .values(attempts=transfers.c.attempts - 1, claim_owner=None, claim_until=None)
)
_RENEW = sa.update(transfers).where(
    transfers.c.id == sa.bindparam("key"),
    transfers.c.claim_owner == sa.bindparam("by"),
    sa.or_(*(transfers.c.state == state for state in _CLAIMED)),
)
_RENEW_ALL = sa.update(transfers).where(
    transfers.c.claim_owner == sa.bindparam("by"), sa.or_(*(transfers.c.state == state for state in _CLAIMED))
)
_EFID_GOING = sa.update(transfers).where(transfers.c.id == sa.bindparam("key"), transfers.c.state == _S.SENDING)
_RESTAMP = (
    sa.update(transfers)
    .where(
        transfers.c.id == sa.bindparam("key"),
        transfers.c.claim_owner == sa.bindparam("by"),
        transfers.c.state == _S.SENDING,
    )
    .values(reached=0)
    .returning(*transfers.c)
)
_UNOPENED = tuple(f"NERP {reason:02}" for reason in range(31, 35))
_NOT_ACCEPTED = sa.update(transfers).where(
    transfers.c.id == sa.bindparam("key"),
    transfers.c.direction == Direction.OUT,
    transfers.c.state.not_in(_ANSWERED),
)
_OWN_EFID_GOING = _EFID_GOING.where(transfers.c.claim_owner == sa.bindparam("by"))


class Transfers:
    """The transfers of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- out ---------------------------------------------------------------------------------------------------

    def queue(self, new: NewOutgoing, now: datetime) -> Transfer:
        """Queue a staged file, with a stamp no other file of its name and stations has; or have it secured first.

        It is secured where it is to be signed, compressed or encrypted, and where a signed end response is asked for, to
        which it must be hashed.
        """
        return self._database.insist(lambda connection: insert_outgoing(connection, new, now))

    def to_secure(self, *, limit: int = 100, small: int = 0) -> Sequence[Transfer]:
        """What is to be secured, oldest first: of each partner as many as the limit, and as many up to ``small`` octets."""
        alike = (transfers.c.partner_id, transfers.c.plain_octets <= small)
        number = sa.func.row_number().over(partition_by=alike, order_by=transfers.c.id)
        numbered = sa.select(transfers.c.id, number.label("number")).where(transfers.c.state == _S.SECURING).subquery()
        found = SELECT_TRANSFERS.where(transfers.c.id.in_(sa.select(numbered.c.id).where(numbered.c.number <= limit)))
        with self._database.reading() as connection:
            return [to_transfer(row) for row in connection.execute(found.order_by(transfers.c.id))]

    def secured(
        self,
        transfer_id: str,
        now: datetime,
        *,
        octets: int,
        spool_name: str,
        virtual_hash: bytes,
        signers: Sequence[str] = (),
        recipients: Sequence[str] = (),
        choice: str = "",
    ) -> Transfer:
        """A file was secured and is queued as ``spool_name``; with nothing to do but to hash it, that is the file it was.

        ``octets``: of the Virtual File as it travels. Without effect where it was cancelled meanwhile.
        """
        with self._database.writing() as connection:
            return _SECURED.apply(
                connection,
                transfer_id,
                now,
                queued_at=now,
                octets=octets,
                spool_name=spool_name,
                virtual_hash=virtual_hash,
                signers=tuple(signers),
                recipients=tuple(recipients),
                choice=choice,
            )

    def secure_again(self, fingerprints: Collection[str], now: datetime) -> Sequence[Transfer]:
        """Queued files of ours that were signed or encrypted with one of these certificates are secured anew.

        Returned are these as they were: nobody needs what was made of them any more. One that the partner has a part of gets
        a new stamp. Not one whose EFID has gone: the partner has it, or was told so.
        """
        if not fingerprints:
            return ()
        these = frozenset(fingerprints)
        found = SELECT_TRANSFERS.where(
            transfers.c.direction == Direction.OUT,
            transfers.c.state == _S.QUEUED,
            transfers.c.plain_name.is_not(None),
            sa.not_(transfers.c.efid_sent),
        )

        def again(connection: Connection) -> Sequence[Transfer]:
            queued = map(to_transfer, connection.execute(found).all())
            made = [each for each in queued if not these.isdisjoint((*each.signers, *each.recipients))]
            for each in made:
                self._secure_again(connection, each, now)
            return made

        return self._database.insist(again)

    def _secure_again(self, connection: Connection, old: Transfer, now: datetime) -> None:
        values = {**_plain(old), "attempts": 0, "next_attempt_at": None, "text": None}
        if old.reached != 0:
            date, time = allot(
                connection,
                partner_id=old.partner_id,
                originator=old.originator,
                destination=old.destination,
                dataset=old.dataset,
                now=now,
            )
            values.update(date=date, time=time, reached=0)
        _SECURED_AGAIN.apply(connection, old.id, now, **values)

    def unsecurable(self, transfer_id: str, now: datetime, text: str) -> Transfer:
        """A file cannot be secured; an operator may retry it. Without effect where it was cancelled meanwhile."""
        with self._database.writing() as connection:
            return _UNSECURABLE.apply(connection, transfer_id, now, text=text, ended_at=now)

    def claim_next(
        self,
        partner_id: int,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        kind: Kind | None = None,
        due: datetime | None = None,
    ) -> Transfer | None:
        """Claim the next file for a partner, or take over one whose claim has run out; None when none is due.

        The certificate exchange goes first, then the oldest. ``kind`` restricts the choice to one kind. ``due`` is the
        moment by which it must be due, if not ``now``: the beginning of the session, so that what was refused for now
        is offered again in a later one (RFC 5024 section 5.3.5).
        """
        return next(iter(self.claim(partner_id, owner, now, lease, kind=kind, due=due)), None)

    def claim(
        self,
        partner_id: int,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        kind: Kind | None = None,
        due: datetime | None = None,
        files: int = 1,
        octets: int = 0,
    ) -> list[Transfer]:
        """Claim the next file as ``claim_next`` does, and those behind it as long as all together are small.

        At most ``files``, which together have at most ``octets``; the first one may have any size. In their order.
        """
        values: dict[str, Any] = {"partner": partner_id, "due": due or now, "files": files}
        if kind is not None:
            values["only"] = kind
        claim: dict[str, Any] = {
            "state": _S.SENDING,
            "claim_owner": owner,
            "claim_until": now + lease,
            "updated_at": now,
            "next_attempt_at": None,
        }
        with self._database.writing(durable=False) as connection:
            for state, waiting in _WAITING[kind is not None].items():
                chosen = _few(connection.execute(waiting, values).all(), octets)
                if state is _S.SENDING:
                    # Nobody noted how far the session came that left it behind.
                    claim["reached"] = None
                if chosen:
                    rows = {row.id: row for row in connection.execute(_CLAIM, {"chosen": chosen, **claim})}
                    return [to_transfer(rows[key]) for key in chosen]
        return []

    def unclaim(self, transfer_ids: Collection[str], owner: str, now: datetime) -> None:
        """Queue claimed files again that were not begun: due at once, and the attempt does not count.

        Without effect on those that are no longer this owner's.
        """
        values = {"chosen": list(transfer_ids), "by": owner, "state": _S.QUEUED, "updated_at": now}
        with self._database.writing(durable=False) as connection:
            connection.execute(_UNCLAIM, values)

    def renew(self, transfer_id: str, owner: str, now: datetime, lease: timedelta) -> None:
        """Prolong a claim. Raises ClaimLostError where it is no longer this owner's."""
        values = {"key": transfer_id, "by": owner, "claim_until": now + lease}
        with self._database.writing(durable=False) as connection:
            if connection.execute(_RENEW, values).rowcount == 0:
                raise ClaimLostError(f"transfer {transfer_id} is not claimed by {owner}")

    def renew_all(self, owner: str, now: datetime, lease: timedelta) -> None:
        """Prolong every claim that this owner still has."""
        with self._database.writing(durable=False) as connection:
            connection.execute(_RENEW_ALL, {"by": owner, "claim_until": now + lease})

    def tell_apart(self, transfer_id: str, owner: str, now: datetime) -> Transfer | None:
        """A claimed file with a second that no other file of its name and stations has, as release levels 1 and 2 need it.

        One whose EFID has gone, or that is not ours, must keep its stamp: None where that second is another one's too; any
        other gets a new stamp then. Raises ClaimLostError.
        """

        def apart(connection: Connection) -> Transfer | None:
            transfer = fetch(connection, transfer_id)
            if not is_second_shared(connection, transfer):
                return transfer
            if transfer.efid_sent or transfer.forwarded_from is not None:
                return None
            date, time = allot(
                connection,
                partner_id=transfer.partner_id,
                originator=transfer.originator,
                destination=transfer.destination,
                dataset=transfer.dataset,
                now=now,
                uncounted=True,
            )
            values = {"key": transfer_id, "by": owner, "date": date, "time": time, "updated_at": now}
            row = connection.execute(_RESTAMP, values).one_or_none()
            if row is None:
                raise ClaimLostError(f"transfer {transfer_id} is not claimed by {owner}")
            return to_transfer(row)

        return self._database.insist(apart)

    def efid_going(self, transfer_id: str, owner: str | None = None) -> None:
        """Note that EFID is about to be written: from here on the partner may have the file."""
        with self._database.writing() as connection:
            _efid_going(connection, transfer_id, owner)

    def next_efid_going(self, sent: str, going: str, owner: str, now: datetime) -> None:
        """``sent`` of one file and ``efid_going`` of the one behind it, as one transaction."""
        with self._database.writing() as connection:
            _sent(connection, sent, now, owner)
            _efid_going(connection, going, owner)

    def sent(self, transfer_id: str, now: datetime, *, owner: str | None = None) -> Transfer:
        """The partner has the file: EFPA, or SFNA 13 for a file whose EFID had gone out before.

        Without effect where its end response has come already.
        """
        with self._database.writing(durable=False) as connection:
            return _sent(connection, transfer_id, now, owner)

    def requeue(
        self,
        transfer_id: str,
        now: datetime,
        next_attempt_at: datetime | None,
        why: str,
        *,
        refusals: int = 0,
        efid_sent: bool | None = None,
        reached: int | None = None,
        owner: str | None = None,
    ) -> Transfer:
        """Give a claimed file back, to be sent again not before ``next_attempt_at``.

        ``refusals``: how often the partner has refused it for now. ``efid_sent``: whether the partner may have all of
        it; not after EFNA, and after SFNA only where that was so before this try. ``reached``: octets of it in the spool
        that the partner may have, at most; None if it may have all. Without effect where the end response has come
        already.
        """
        values: dict[str, Any] = {
            "next_attempt_at": next_attempt_at,
            "text": why,
            "refusals": refusals,
            "reached": reached,
        }
        if efid_sent is not None:
            values["efid_sent"] = efid_sent
        with self._database.writing() as connection:
            return _REQUEUED.apply(connection, transfer_id, now, owner=owner, **values)

    def failed(
        self,
        transfer_id: str,
        now: datetime,
        reason: str | None,
        text: str,
        *,
        efid_sent: bool | None = None,
        reached: int | None = None,
        owner: str | None = None,
        said: str = "",
    ) -> Transfer:
        """Give up on a queued or claimed file; an operator may retry it. Otherwise as ``requeue``.

        ``said``: what the partner itself said to it, if anything, for whoever a forwarded file came from.
        """
        values: dict[str, Any] = {"reason": reason, "text": text, "ended_at": now, "reached": reached}
        if efid_sent is not None:
            values["efid_sent"] = efid_sent
        with self._database.writing() as connection:
            failed = _FAILED.apply(connection, transfer_id, now, owner=owner, **values)
            if failed.state is _S.FAILED:
                answer_for(connection, failed, now, said=said)
            return failed

    def give_up(
        self, transfer_id: str, now: datetime, reason: str | None, text: str, *, state: TransferState = _S.QUEUED
    ) -> Transfer:
        """Give up on a file that waits, and that no session has claimed; else as ``failed``.

        ``state``: queued, or sent for a forwarded file whose end response does not come. Raises IllegalMoveError where it
        is in another state by now.
        """
        with self._database.writing() as connection:
            given_up = _GIVEN_UP[state].apply(connection, transfer_id, now, reason=reason, text=text, ended_at=now)
            answer_for(connection, given_up, now)
            return given_up

    def cancel(self, transfer_id: str, now: datetime) -> Transfer:
        """Take a file out of the queue that waits, is being secured or failed, or give up waiting for an interrupted one.

        A forwarded file also when it was sent, and its end response does not come. The content of a file of ours stays in
        the spool for ``retry``; that of any other the caller removes.
        """
        with self._database.writing() as connection:
            known = fetch(connection, transfer_id)
            move = _CANCELLED[known.direction] if known.forwarded_from is None else _CANCELLED_ONWARD
            cancelled = move.apply(connection, transfer_id, now, ended_at=now)
            answer_for(connection, cancelled, now, reason=NegativeResponseReason.STOPPED_BY_OPERATOR)
            return cancelled

    def retry(
        self, transfer_id: str, now: datetime, *, new_stamp: bool = False, secured_as: Mapping[str, int] | None = None
    ) -> Transfer:
        """Queue a failed, cancelled, refused or unanswered file again.

        What failed or was cancelled keeps its stamp, so that the partner can resume or recognise it. What the
        partner has had in full it would refuse as a duplicate: that gets a new stamp, as does anything with
        ``new_stamp``. In either case it has all its attempts again.

        A file that is sent secured is secured anew where it gets a new stamp, or was never secured; with its old stamp it
        must be the same octets, and goes again as it is.

        ``secured_as``: what is done to it from now on, as ``security``, ``cipher``, ``compression``, ``envelope`` and
        ``signed_response``, in place of what was done before; it gets a new stamp.
        """
        values: dict[str, Any] = {
            "attempts": 0,
            "refusals": 0,
            "queued_at": now,
            "next_attempt_at": None,
            "ended_at": None,
            "reason": None,
            "text": None,
        }

        def again(connection: Connection) -> Transfer:
            old = fetch(connection, transfer_id)
            if old.forwarded_from is not None:
                raise OperatorError(
                    f"transfer {transfer_id} is a file of {old.originator} that we only forward",
                    "ask its originator to send it again",
                )
            if old.direction is Direction.IN:
                raise OperatorError(
                    f"transfer {transfer_id} is a file that came in", "ask the partner that sent it to send it again"
                )
            if secured_as is not None:
                plain = old.stored_octets if old.plain_octets is None else old.plain_octets
                old = replace(old, plain_name=old.plain_name or old.spool_name, plain_octets=plain)
                blocks = -(-plain // BLOCK) if secured_as["envelope"] else None
                values.update(secured_as, plain_name=old.plain_name, plain_octets=plain, original_size=blocks)
            if new_stamp or secured_as is not None or old.state in {_S.REFUSED, _S.SENT}:
                date, time = allot(
                    connection,
                    partner_id=old.partner_id,
                    originator=old.originator,
                    destination=old.destination,
                    dataset=old.dataset,
                    now=now,
                )
                values.update(date=date, time=time, efid_sent=False, sent_at=None, reached=0)
                drop(connection, transfer_id)
            goal = _S.QUEUED
            if old.plain_name is not None and ("time" in values or old.virtual_hash is None):
                goal = _S.SECURING
                values.update(_plain(old))
            transfer = _RETRIED[goal].apply(connection, transfer_id, now, **values)
            if transfer.kind is Kind.EXCHANGE:
                reopen(connection, transfer)
            return transfer

        return self._database.insist(again)

    def acknowledged(
        self,
        key: FileIdentity,
        now: datetime,
        *,
        partner_id: int | None = None,
        in_full: bool = False,
        counted: bool = True,
        answer: NewReceipt | None = None,
        evidence: NewEvidence | None = None,
        unless: Callable[[Transfer], bool] | None = None,
    ) -> Answered | None:
        """An EERP came for the file with this key; None where we never sent such a file (to this partner).

        ``in_full``: nor where its EFID never went out. Not ``counted``: the key came without the counter of its stamp, as
        release levels 1 and 2 carry it, and is that of the only file sent within its second; AmbiguousError is raised, and
        nothing changes, where there are several, whether answered or not. For a message of the certificate
        exchange its record and the partner's confirmation of our certificate are part of the same transaction; so is, for
        a forwarded file, the ``answer`` as it came, which travels back, and the ``evidence`` that it is. The first end
        response stands: a repeated or contradictory one is no news. ``unless`` says of a file that is not answered yet
        that nothing is to change for now: that it is to be judged first whether the end response counts.
        """
        return self._answered(
            _ACKNOWLEDGED,
            key,
            now,
            partner_id=partner_id,
            in_full=in_full,
            counted=counted,
            answer=answer,
            evidence=evidence,
            unless=unless,
            outcome=ExchangeState.ACCEPTED,
        )

    def refused(
        self,
        key: FileIdentity,
        now: datetime,
        reason: str,
        text: str,
        *,
        partner_id: int | None = None,
        in_full: bool = False,
        counted: bool = True,
        answer: NewReceipt | None = None,
        evidence: NewEvidence | None = None,
        unless: Callable[[Transfer], bool] | None = None,
    ) -> Answered | None:
        """A NERP came for the file with this key; otherwise as ``acknowledged``."""
        return self._answered(
            _REFUSED_BY_PARTNER,
            key,
            now,
            partner_id=partner_id,
            in_full=in_full,
            counted=counted,
            answer=answer,
            evidence=evidence,
            unless=unless,
            outcome=ExchangeState.REFUSED,
            reason=reason,
            text=text,
        )

    def _answered(
        self,
        move: Move,
        key: FileIdentity,
        now: datetime,
        *,
        partner_id: int | None,
        in_full: bool,
        counted: bool,
        answer: NewReceipt | None,
        evidence: NewEvidence | None,
        unless: Callable[[Transfer], bool] | None,
        outcome: ExchangeState,
        reason: str | None = None,
        text: str | None = None,
    ) -> Answered | None:
        with self._database.writing() as connection:
            transfer = fetch_by_key(connection, Direction.OUT, key) if counted else fetch_by_second(connection, key)
            if transfer is None or partner_id not in {None, transfer.partner_id}:
                return None
            if transfer.state is _S.SECURING or (in_full and not transfer.efid_sent):
                return None
            if transfer.state in _ANSWERED:
                return Answered(transfer=transfer, news=False)
            if unless is not None and unless(transfer):
                return Answered(transfer=transfer, news=False, held=True)
            if transfer.signed_response or transfer.text is not None:  # else nothing can be held
                release(connection, transfer.id)
            transfer = move.apply(connection, transfer.id, now, ended_at=now, reason=reason, text=text)
            if transfer.kind is Kind.EXCHANGE:
                settle(connection, transfer, outcome, text or "", now)
            if answer is not None:
                pass_back(connection, transfer, answer, now)
            if evidence is not None:
                keep(connection, transfer.id, evidence, now)
            return Answered(transfer=transfer, news=True)

    def not_accepted(self, transfer_id: str, now: datetime, text: str, *, held: SignedResponse | None = None) -> None:
        """An end response came that does not count; ``text`` says why, and is shown while no other one comes.

        ``held``: what of it may count yet, in place of what was held before. Without effect where the file is answered by
        now.
        """
        with self._database.writing() as connection:
            noted = connection.execute(_NOT_ACCEPTED, {"key": transfer_id, "text": text, "updated_at": now})
            if held is not None and noted.rowcount:
                hold(connection, transfer_id, held, now)

    # --- in ----------------------------------------------------------------------------------------------------

    def open_incoming(
        self, new: NewIncoming, now: datetime, owner: str, lease: timedelta
    ) -> Transfer | Duplicate | Busy:
        """Begin to receive a file, or go on with one that was cut off.

        ``reached`` of the transfer is 0 where the file must come from its beginning on, None where it can go on behind
        what is in the spool. Duplicate: it is here already. Busy: another session with a running claim is receiving it.

        To go on with a file is on disk when this returns: from here on not all that is there of it is.
        """
        with suppress(IntegrityError), self._database.writing(durable=False) as connection:
            return insert_incoming(connection, new, now, owner, now + lease)
        # Its key is known: rare enough to try without asking first.
        return self._database.insist(lambda connection: _open(connection, new, now, owner, now + lease))

    def received(
        self,
        transfer_id: str,
        octets: int,
        sha256: str,
        spool_name: str,
        now: datetime,
        *,
        records: int = 0,
        owner: str | None = None,
    ) -> Transfer:
        """The file is sealed in the spool; when this returns, EFPA may go."""
        values: dict[str, Any] = {"octets": octets, "records": records, "sha256": sha256, "spool_name": spool_name}
        with self._database.writing() as connection:
            return _RECEIVED.apply(connection, transfer_id, now, owner=owner, **values)

    def received_and_forwarded(
        self,
        transfer_id: str,
        octets: int,
        sha256: str,
        spool_name: str,
        now: datetime,
        *,
        partner_id: int,
        records: int = 0,
        owner: str | None = None,
    ) -> Transfer:
        """``received``, and queued for the partner it is for: another transfer of the same file, in the same place.

        Where that partner was removed, switched off or made one that only sends while the file came, the file is refused
        instead, its NERP is owed, and what is in the spool the caller removes.
        """
        values: dict[str, Any] = {"octets": octets, "records": records, "sha256": sha256, "spool_name": spool_name}

        def forward(connection: Connection) -> Transfer:
            received = _RECEIVED.apply(connection, transfer_id, now, owner=owner, **values)
            if not takes_files(connection, partner_id):
                return turn_back(connection, received, now)
            insert_forwarded(connection, received, partner_id, now)
            return received

        return self._database.insist(forward)

    def delivered(
        self,
        transfer_id: str,
        spool_name: str,
        now: datetime,
        receipt: NewReceipt | None,
        *,
        made: tuple[int, str] | None = None,
        virtual_hash: bytes | None = None,
        signers: Sequence[str] = (),
        recipients: Sequence[str] = (),
        choice: str = "",
    ) -> Transfer:
        """A received file is in the inbox as ``spool_name`` (empty: not kept), and its EERP is owed.

        ``made``: octets and SHA-256 of the file there, where another was made of the received one. The others tell of the
        file as it came: its hash, who signed it, which certificate of ours opened it, and why these.
        """
        values: dict[str, Any] = {"spool_name": spool_name, "ended_at": now}
        if made is not None:
            values["plain_octets"], values["sha256"] = made
        values.update(_opened(virtual_hash, signers, recipients, choice))
        with self._database.writing() as connection:
            transfer = _DELIVERED.apply(connection, transfer_id, now, **values)
            return _with_receipt(connection, transfer, receipt, now)

    def received_and_delivered(
        self,
        transfer_id: str,
        octets: int,
        sha256: str,
        spool_name: str,
        now: datetime,
        *,
        receipt: NewReceipt | None,
        records: int = 0,
        virtual_hash: bytes | None = None,
        owner: str | None = None,
    ) -> Transfer:
        """``received`` and ``delivered`` at once, for a file that needs no opening and is in the inbox already."""
        values: dict[str, Any] = {
            "octets": octets,
            "records": records,
            "sha256": sha256,
            "spool_name": spool_name,
            "virtual_hash": virtual_hash,
            "ended_at": now,
        }
        with self._database.writing() as connection:
            transfer = _RECEIVED_AND_DELIVERED.apply(connection, transfer_id, now, owner=owner, **values)
            return _with_receipt(connection, transfer, receipt, now)

    def refuse(
        self,
        transfer_id: str,
        reason: str,
        text: str,
        now: datetime,
        receipt: NewReceipt | None,
        *,
        virtual_hash: bytes | None = None,
        signers: Sequence[str] = (),
        recipients: Sequence[str] = (),
        choice: str = "",
        raw_name: str | None = None,
    ) -> Transfer:
        """A received file cannot be delivered, and its NERP is owed.

        ``raw_name``: where the spool keeps the file as it came, if it does. The others as in ``delivered``.
        """
        values: dict[str, Any] = {"reason": reason, "text": text, "ended_at": now, "raw_name": raw_name}
        values.update(_opened(virtual_hash, signers, recipients, choice))
        with self._database.writing() as connection:
            transfer = _REFUSED_BY_US.apply(connection, transfer_id, now, **values)
            return _with_receipt(connection, transfer, receipt, now)

    def raw_expired(self, before: datetime) -> Sequence[Transfer]:
        """Refused files, ended before then, whose content is still kept as it came."""
        found = SELECT_TRANSFERS.where(transfers.c.raw_name.is_not(None), transfers.c.ended_at < before)
        with self._database.reading() as connection:
            return [to_transfer(row) for row in connection.execute(found.order_by(transfers.c.ended_at).limit(1000))]

    def forget_raw(self, *transfer_ids: str) -> None:
        """The content of refused files is kept no longer. Without effect the second time."""
        with self._database.writing() as connection:
            connection.execute(sa.update(transfers).where(transfers.c.id.in_(transfer_ids)).values(raw_name=None))

    def interrupted(self, transfer_id: str, now: datetime, *, kept: bool = True, owner: str | None = None) -> Transfer:
        """The session ended before the file did.

        ``kept``: what came of it is on disk, and the next try goes on behind it; else that begins anew.
        """
        with self._database.writing(durable=kept) as connection:
            return _INTERRUPTED.apply(connection, transfer_id, now, owner=owner, reached=None if kept else 0)

    def expire(self, before: datetime, now: datetime) -> Sequence[Transfer]:
        """Give up files that broke off on their way in ``before`` that moment; what is there of them the caller removes.

        A partner that sends one of them all the same begins at its beginning.
        """
        old = sa.select(transfers.c.id).where(transfers.c.state == _S.INTERRUPTED, transfers.c.updated_at < before)
        with self._database.writing() as connection:
            return [
                _CANCELLED[Direction.IN].apply(connection, transfer_id, now, ended_at=now)
                for transfer_id in connection.execute(old.order_by(transfers.c.id)).scalars().all()
            ]

    # --- looking -----------------------------------------------------------------------------------------------

    def get(self, transfer_id: str) -> Transfer:
        """One transfer. Raises UnknownError."""
        with self._database.reading() as connection:
            return fetch(connection, transfer_id)

    def find(self, direction: Direction, key: FileIdentity) -> Transfer | None:
        """The transfer with this duplicate key."""
        with self._database.reading() as connection:
            return fetch_by_key(connection, direction, key)

    def list(
        self,
        *,
        direction: Direction | None = None,
        state: TransferState | None = None,
        partner_id: int | None = None,
        kind: Kind | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[Transfer]:
        """The youngest transfers first; ``before`` is the last identifier of the page before."""
        columns = {"direction": direction, "state": state, "partner_id": partner_id, "kind": kind}
        found = SELECT_TRANSFERS.where(
            *(transfers.c[name] == value for name, value in columns.items() if value is not None)
        )
        if before is not None:
            found = found.where(transfers.c.id < before)
        with self._database.reading() as connection:
            return [to_transfer(row) for row in connection.execute(found.order_by(transfers.c.id.desc()).limit(limit))]

    def undelivered(self, *, limit: int = 1000, after: str = "") -> Sequence[Transfer]:
        """Files received but not yet delivered, refused or forwarded, oldest first, beginning after an identifier."""
        onward = transfers.alias()
        forwarded = sa.exists().where(onward.c.forwarded_from == transfers.c.id)
        found = SELECT_TRANSFERS.where(transfers.c.state == _S.RECEIVED, transfers.c.id > after, ~forwarded)
        with self._database.reading() as connection:
            return [to_transfer(row) for row in connection.execute(found.order_by(transfers.c.id).limit(limit))]

    def overdue(self, before: datetime) -> Sequence[Transfer]:
        """What waits to be sent since before then, and is not merely waiting for its partner to call.

        Of forwarded files, for whose end somebody else waits, also that; and those sent before then that got no end response.
        """
        called = sa.exists().where(
            partners.c.id == transfers.c.partner_id,
            partners.c.active,
            partners.c.host.is_not(None),
            partners.c.wait_for_calls.is_(False),
        )
        forwarded = transfers.c.forwarded_from.is_not(None)
        waiting = sa.and_(transfers.c.state == _S.QUEUED, transfers.c.queued_at <= before, sa.or_(called, forwarded))
        unanswered = sa.and_(transfers.c.state == _S.SENT, transfers.c.sent_at <= before, forwarded)
        found = SELECT_TRANSFERS.where(sa.or_(waiting, unanswered))
        with self._database.reading() as connection:
            return [to_transfer(row) for row in connection.execute(found.order_by(transfers.c.id).limit(1000))]

    def counts(self) -> dict[TransferState, int]:
        """How many transfers stand in each state; states without any are left out."""
        counted = sa.select(transfers.c.state, sa.func.count()).group_by(transfers.c.state)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    def unopened(self, since: datetime) -> int:
        """How many files of partners were refused since then because they could not be opened (NERP 31 to 34)."""
        found = sa.select(sa.func.count()).where(
            transfers.c.state == _S.REFUSED,
            transfers.c.direction == Direction.IN,
            transfers.c.reason.in_(_UNOPENED),
            transfers.c.ended_at >= since,
        )
        with self._database.reading() as connection:
            return int(connection.execute(found).scalar_one())

    def partners_waiting(self, now: datetime) -> set[int]:
        """The partners for which something is due to be sent, or was left behind by a session whose claim has run out.

        Not those from which we only receive: there it waits until that is changed.
        """
        theirs = sa.exists().where(transfers.c.partner_id == partners.c.id, partners.c.mode != Traffic.RECEIVE)
        due = theirs.where(
            transfers.c.state == _S.QUEUED,
            sa.or_(transfers.c.next_attempt_at.is_(None), transfers.c.next_attempt_at <= now),
        )
        lapsed = theirs.where(transfers.c.state == _S.SENDING, transfers.c.claim_until < now)
        with self._database.reading() as connection:
            return set(connection.execute(sa.select(partners.c.id).where(sa.or_(due, lapsed))).scalars())

    def spool_names(self) -> set[str]:
        """The names of all content the spool must keep outside the inbox; what else lies there was abandoned.

        Files of ours are kept for a retry, until they are acknowledged, and forwarded ones until they are given up. Those
        of a partner are kept until they are delivered, refused or given up. A file that is secured is kept as it was too,
        and a refused one as it came, as long as the ledger knows of it.
        """
        kept = sa.or_(
            *(
                sa.and_(
                    transfers.c.direction == direction,
                    transfers.c.state.in_(states),
                    sa.or_(transfers.c.forwarded_from.is_(None), transfers.c.state.in_(UNFINISHED)),
                )
                for direction, states in _IN_SPOOL.items()
            )
        )
        names = sa.union(
            sa.select(transfers.c.spool_name).where(kept),
            sa.select(transfers.c.plain_name).where(kept, transfers.c.plain_name.is_not(None)),
            sa.select(transfers.c.raw_name).where(transfers.c.raw_name.is_not(None)),
        )
        with self._database.reading() as connection:
            return set(connection.execute(names).scalars())

    def release(self, owner: str, now: datetime, *, next_attempt_at: datetime | None = None) -> Sequence[Transfer]:
        """Give back what this owner still claims: sending is queued again, receiving interrupted.

        The end of a session is no failure of its files: the attempt does not count, and they are due at once or at
        ``next_attempt_at``. What was being received begins anew: nobody has brought it to disk. Without effect the second
        time. Returns the transfers that moved, as they are now.
        """
        claimed = (
            sa.select(transfers.c.id, transfers.c.state, transfers.c.attempts)
            .where(transfers.c.state.in_(_CLAIMED), transfers.c.claim_owner == owner)
            .order_by(transfers.c.id)
            .with_for_update()
        )
        with self._database.writing() as connection:
            return [
                _INTERRUPTED.apply(connection, transfer_id, now, owner=owner, reached=0)
                if state is _S.RECEIVING
                else _REQUEUED.apply(
                    connection,
                    transfer_id,
                    now,
                    owner=owner,
                    attempts=max(attempts - 1, 0),
                    next_attempt_at=next_attempt_at,
                    reached=None,
                )
                for transfer_id, state, attempts in connection.execute(claimed).all()
            ]

    def recover(
        self, owner_alive: Callable[[str], bool], now: datetime, *, rebooted: bool = False
    ) -> Sequence[Transfer]:
        """Give back what dead owners had claimed: sending is queued again, receiving interrupted.

        ``rebooted``: the machine was started since, and not all that was received need be on disk; then receiving begins
        anew. What a session has ``kept`` is on disk, and goes on. What is being secured stays so: that begins anew. Their
        end responses are owed again. A crash is no failure of the files, most of which were not even begun: their attempt
        does not count. Returns the transfers that moved, as they are now.
        """
        claimed = sa.select(transfers.c.id, transfers.c.state, transfers.c.claim_owner, transfers.c.attempts).where(
            transfers.c.state.in_(_CLAIMED)
        )
        holders = sa.select(receipts.c.claim_owner).where(receipts.c.state == ReceiptState.SENDING).distinct()
        with self._database.writing() as connection:
            moved = [
                _REQUEUED.apply(connection, transfer_id, now, reached=None, attempts=max(attempts - 1, 0))
                if state is _S.SENDING
                else _INTERRUPTED.apply(connection, transfer_id, now, reached=0 if rebooted else None)
                for transfer_id, state, owner, attempts in connection.execute(claimed.order_by(transfers.c.id)).all()
                if owner is None or not owner_alive(owner)
            ]
            for owner in connection.execute(holders).scalars().all():
                if not owner_alive(owner):
                    release_receipts(connection, owner)
            return moved


def _few(waiting: Sequence[Row[tuple[str, int]]], octets: int) -> list[str]:
    """The first of those that wait, and what fits behind it into so many octets."""
    chosen: list[str] = []
    for row in waiting:
        octets -= row.octets
        if chosen and octets < 0:
            break
        chosen.append(row.id)
    return chosen


def _efid_going(connection: Connection, transfer_id: str, owner: str | None) -> None:
    """The partner may have the file from now on. Raises ClaimLostError."""
    values = {"key": transfer_id, "efid_sent": True}
    if owner is None:
        noted = connection.execute(_EFID_GOING, values)
    else:
        noted = connection.execute(_OWN_EFID_GOING, {"by": owner, **values})
    if noted.rowcount == 0:
        raise ClaimLostError(f"transfer {transfer_id} is not being sent by this session")


def _plain(transfer: Transfer) -> dict[str, Any]:
    """A file as it was before it was secured."""
    stored = transfer.plain_octets or 0
    lengths = LENGTH_OCTETS * transfer.records if transfer.format == FileFormat.VARIABLE else 0
    return {
        "spool_name": transfer.plain_name,
        "octets": stored - lengths,
        "virtual_hash": None,
        "signers": (),
        "recipients": (),
        "choice": "",
    }


def _opened(
    virtual_hash: bytes | None, signers: Sequence[str], recipients: Sequence[str], choice: str
) -> dict[str, Any]:
    """What is known of a file as it came."""
    return {
        "virtual_hash": virtual_hash,
        "signers": tuple(signers),
        "recipients": tuple(recipients),
        "choice": choice,
    }


def _sent(connection: Connection, transfer_id: str, now: datetime, owner: str | None) -> Transfer:
    """EFPA has come."""
    transfer = _SENT.apply(connection, transfer_id, now, owner=owner, sent_at=now, efid_sent=True, text=None)
    if transfer.kind is Kind.EXCHANGE and transfer.state is _S.SENT:
        set_going(connection, transfer)
    return transfer


def _open(
    connection: Connection, new: NewIncoming, now: datetime, owner: str, until: datetime
) -> Transfer | Duplicate | Busy:
    """The row to receive into, or why there is none."""
    found = fetch_by_key(connection, Direction.IN, new.key)
    if found is None:
        return insert_incoming(connection, new, now, owner, until)
    # A key that came through another partner is settled: nobody may append to a file somebody else has begun.
    if found.partner_id != new.partner_id:
        return Duplicate(transfer=found)
    if found.state is _S.RECEIVING:
        if found.claim_owner != owner and found.claim_until is not None and found.claim_until > now:
            return Busy(transfer=found)
        move = _TAKEN_OVER
    elif found.state in {_S.INTERRUPTED, _S.CANCELLED}:
        move = _RESUMED
    else:
        return Duplicate(transfer=found)
    same = (
        found.state is _S.INTERRUPTED
        and found.reached is None
        and all(getattr(found, name) == getattr(new, name) for name in _OFFER)
    )
    values = {name: getattr(new, name) for name in ("kind", *_OFFER, "file_name", "user")}
    values.update(claim_owner=owner, claim_until=until, attempts=found.attempts + 1, ended_at=None)
    values.update(reached=None if same else 0)
    return move.apply(connection, found.id, now, **values)


def _with_receipt(connection: Connection, transfer: Transfer, receipt: NewReceipt | None, now: datetime) -> Transfer:
    """The transfer with its end response owed."""
    if receipt is None:
        return transfer
    insert_receipt(connection, transfer, receipt, now)
    return replace(transfer, end_response="owed")
