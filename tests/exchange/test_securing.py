"""Files that are secured while the ledger cannot be told of it."""

from __future__ import annotations

import pytest
import pytest_twisted

from oftp2d.ledger import LedgerUnavailableError, TransferState
from oftp2d.ledger.transfers import Transfers
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

CONTENT = b"content" * 1000


@pytest_twisted.ensureDeferred
async def test_a_file_waits_to_be_secured_while_the_ledger_cannot_be_told_and_leaves_nothing_behind(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host=None)
    await a.start()
    secured, locked = Transfers.secured, True

    def told(self: Transfers, *arguments: object, **more: object) -> object:
        if locked:
            raise LedgerUnavailableError("database is locked")
        return secured(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Transfers, "secured", told)
    queued = await a.queue(CODE_B, CONTENT, compression=1, envelope=1)
    outgoing = a.home / "spool" / "outgoing"
    for times in (1, 2):
        a.running.securing.retry()

        async def waits(times: int = times) -> bool:
            return len(log.lines("waits to be secured", queued.id, "database is locked")) == times

        await eventually("a line that says so", waits)
        assert [path.read_bytes() for path in outgoing.iterdir()] == [CONTENT]
    locked = False
    a.running.securing.retry()

    async def is_queued() -> bool:
        (transfer,) = await a.transfers()
        return transfer.state is TransferState.QUEUED

    await eventually("the file to be queued", is_queued)
    assert len(list(outgoing.iterdir())) == 2
