"""Files that are being secured while something else becomes of them."""

from __future__ import annotations

from threading import Event

import pytest
import pytest_twisted
from asn1crypto.cms import ContentInfo
from twisted.internet.threads import deferToThread

from oftp2.values import SecurityLevel
from oftp2d.ledger import LedgerUnavailableError, Transfer, TransferState
from oftp2d.ledger.transfers import Transfers
from oftp2d.spool import Staged, Writing
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


@pytest_twisted.ensureDeferred
async def test_what_was_cancelled_while_it_was_being_secured_is_secured_anew_as_is_agreed_by_then(
    a: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is nearly done is not taken for what was asked for behind it."""
    a.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host=None)
    await a.start()
    seal, sealing, go_on = Writing.seal, Event(), Event()

    def slow(self: Writing) -> Staged:
        sealing.set()
        assert go_on.wait(20)
        return seal(self)

    queued = await a.queue(CODE_B, CONTENT, compression=1, envelope=1)
    monkeypatch.setattr(Writing, "seal", slow)
    a.running.securing.nudge()
    await deferToThread(sealing.wait, 20)
    await a.set(CODE_B, sign_files=True)
    assert await a.run("transfer", "cancel", queued.id) == (0, f"{queued.id} is cancelled\n")
    assert (await a.run("transfer", "retry", queued.id, "--as-agreed"))[0] == 0
    go_on.set()

    async def is_queued() -> Transfer | None:
        (transfer,) = await a.transfers()
        return transfer if transfer.state is TransferState.QUEUED else None

    transfer = await eventually("the file to be queued", is_queued)
    assert transfer is not None
    assert (transfer.security, transfer.compression) == (SecurityLevel.SIGNED, 0)
    content = (a.home / "spool" / "outgoing" / transfer.spool_name).read_bytes()
    assert ContentInfo.load(content)["content_type"].native == "signed_data"
    assert {path.name for path in (a.home / "spool" / "outgoing").iterdir()} == {
        transfer.spool_name,
        transfer.plain_name,
    }
