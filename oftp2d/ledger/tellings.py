"""Who is to be told that the credential in use of a set has changed: one row for each consumer, until all know.

They are written in the transaction of the change itself, so that a crash between the two loses nothing. A consumer is told of
the last change only: a later one takes the place of what was not told before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.errors import OperatorError
from oftp2d.ledger.audit import write
from oftp2d.ledger.candidates import Candidate, CandidateState, Telling, TellingEvent, TellingState
from oftp2d.ledger.database import Database
from oftp2d.ledger.records import Detail, NewAuditEntry
from oftp2d.ledger.schema import candidates, tellings


class Tellings:
    """The tellings of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, name: str | None = None) -> Sequence[Telling]:
        """Those about the credential in use of one set, or of all, by set and consumer."""
        found = sa.select(tellings)
        if name is not None:
            found = found.where(tellings.c.set_name == name)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(tellings.c.set_name, tellings.c.consumer))
            return [Telling(**row._asdict()) for row in rows]

    def due(self, now: datetime, limit: int = 100) -> Sequence[Telling]:
        """Those that are to be told until now, the longest due first."""
        found = sa.select(tellings).where(tellings.c.next_at <= now)
        order = (tellings.c.next_at, tellings.c.set_name, tellings.c.consumer)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(*order).limit(limit))
            return [Telling(**row._asdict()) for row in rows]

    def told(
        self, telling: Telling, state: TellingState, text: str, now: datetime, next_at: datetime | None = None
    ) -> bool:
        """How telling a consumer ended, in a sentence; ``next_at`` is when it is tried again, or None.

        False, and nothing is changed, where the credential in use has changed meanwhile.
        """
        mine = (
            tellings.c.set_name == telling.set_name,
            tellings.c.consumer == telling.consumer,
            tellings.c.candidate_id == telling.candidate_id,
            tellings.c.since == telling.since,
        )
        told = sa.update(tellings).where(*mine)
        values = {
            "state": state,
            "text": text,
            "attempts": tellings.c.attempts + 1,
            "next_at": next_at,
            "told_at": now if state is TellingState.DONE else None,
        }
        with self._database.writing() as connection:
            if connection.execute(told.values(values)).rowcount == 0:
                return False
            fingerprint = sa.select(candidates.c.fingerprint).where(candidates.c.id == telling.candidate_id)
            detail: dict[str, Detail] = {
                "set": telling.set_name,
                "consumer": telling.consumer,
                "what": telling.event.value,
                "text": text,
                "fingerprint": connection.execute(fingerprint).scalar_one(),
            }
            event = "credential consumer told" if state is TellingState.DONE else "credential consumer not told"
            # Who cannot be told for days shall not fill the audit trail: what is said again is not written again.
            if state is TellingState.DONE or (state, text) != (telling.state, telling.text):
                write(connection, NewAuditEntry(at=now, partner_code=None, event=event, detail=detail))
            return True

    def tell_again(self, name: str, consumers: Collection[str], now: datetime) -> Sequence[Telling]:
        """These consumers are to be told of the credential in use, whether they know or were never asked.

        Raises OperatorError where none is in use.
        """
        in_use = sa.select(candidates.c.id, candidates.c.activated_at).where(
            candidates.c.set_name == name, candidates.c.state == CandidateState.ACTIVE
        )
        with self._database.writing() as connection:
            active = connection.execute(in_use).first()
            if active is None:
                raise OperatorError(f"credential set {name} has no credential in use", "activate one first")
            last = connection.execute(sa.select(tellings).where(tellings.c.set_name == name)).first()
            fresh = [
                Telling(
                    set_name=name,
                    consumer=consumer,
                    candidate_id=active.id,
                    former_id=None if last is None else last.former_id,
                    event=TellingEvent.ACTIVATED if last is None else last.event,
                    since=now,
                    next_at=now,
                )
                for consumer in sorted(set(consumers))
            ]
            _replace(connection, name, fresh)
            return fresh

    def forget(self, name: str, consumers: Collection[str]) -> None:
        """These consumers are not to be told any more: the definition of the set names them no longer."""
        gone = sa.delete(tellings).where(tellings.c.set_name == name, tellings.c.consumer.in_(consumers))
        with self._database.writing() as connection:
            connection.execute(gone)


def owe(
    connection: Connection,
    event: TellingEvent,
    active: Candidate,
    former: Candidate | None,
    *,
    consumers: Collection[str],
    now: datetime,
) -> None:
    """Inside of the transaction that changes the credential in use: these are to be told, instead of all before."""
    connection.execute(sa.delete(tellings).where(tellings.c.set_name == active.set_name))
    _replace(
        connection,
        active.set_name,
        [
            Telling(
                set_name=active.set_name,
                consumer=consumer,
                candidate_id=active.id,
                former_id=None if former is None else former.id,
                event=event,
                since=now,
                next_at=now,
            )
            for consumer in sorted(set(consumers))
        ],
    )


def _replace(connection: Connection, name: str, fresh: Sequence[Telling]) -> None:
    named = tellings.c.consumer.in_([each.consumer for each in fresh])
    connection.execute(sa.delete(tellings).where(tellings.c.set_name == name, named))
    if fresh:
        connection.execute(sa.insert(tellings), [asdict(each) for each in fresh])
