"""What must stay fast with a long history: the plans of the queries a session makes for each file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from oftp2d.ledger import Direction, FileIdentity, Ledger, Partner, TransferState

LEASE = timedelta(seconds=60)
NOW = datetime(2026, 3, 4, tzinfo=UTC)
KEY = FileIdentity(originator="A", destination="B", dataset="C", date="20260304", time="1230150001")

QUESTIONS: dict[str, Any] = {
    "claim a file": lambda ledger: ledger.transfers.claim_next(1, "session-1", NOW, LEASE),
    "find a duplicate": lambda ledger: ledger.transfers.find(Direction.IN, KEY),
    "acknowledge": lambda ledger: ledger.transfers.acknowledged(KEY, NOW),
    "read what is owed": lambda ledger: ledger.receipts.owed(1),
    "claim what is owed": lambda ledger: ledger.receipts.claim(1, "session-1", NOW, LEASE),
    "prolong claims": lambda ledger: (
        ledger.transfers.renew_all("session-1", NOW, LEASE),
        ledger.receipts.renew_all("session-1", NOW, LEASE),
    ),
    "give claims back": lambda ledger: ledger.transfers.unclaim(["0123456789AB"], "session-1", NOW),
    "whom to call": lambda ledger: ledger.transfers.partners_waiting(NOW),
    "whom to answer": lambda ledger: ledger.receipts.partners_owed(NOW),
    "list a state": lambda ledger: ledger.transfers.list(state=TransferState.FAILED),
    "release": lambda ledger: ledger.transfers.release("session-1", NOW),
    "recover": lambda ledger: ledger.transfers.recover(bool, NOW),
    "what to secure": lambda ledger: ledger.transfers.to_secure(),
    "raw content to forget": lambda ledger: ledger.transfers.raw_expired(NOW),
    "refused certificates to forget": lambda ledger: ledger.exchanges.forget_refused(NOW),
    "where the exchange with a partner stands": lambda ledger: (
        ledger.exchanges.held(1),
        ledger.exchanges.unanswered(1),
        ledger.exchanges.last_offers(1, {"ab"}),
    ),
    "what waits in the exchange": lambda ledger: (
        ledger.exchanges.held(),
        ledger.exchanges.unanswered(),
        ledger.exchanges.waiting(),
    ),
    "undelivered": lambda ledger: ledger.transfers.undelivered(),
}
_WHOLE = ("SCAN transfers", "SCAN receipts", "SCAN exchanges")


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(ledger: Ledger, partner: Partner, now: datetime, question: str) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE")):
            statements.append((statement, parameters))

    engine = ledger._database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    QUESTIONS[question](ledger)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert statements
    with ledger._database.reading() as connection:
        for statement, parameters in tuple(statements):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            scans = [row.detail for row in plan if row.detail.startswith(_WHOLE)]
            assert not scans, statement


def test_a_stamp_is_found_in_the_index_of_the_duplicate_key(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.transfers.queue(files.outgoing(partner), now)
    with ledger._database.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT max(time) FROM transfers WHERE direction = 'out' AND originator = 'A'"
            " AND destination = 'B' AND dataset = 'C' AND date = '20260304' AND time BETWEEN '1' AND '2'"
        ).all()
    assert "COVERING INDEX" in plan[0].detail
