"""Files that are being secured while something else becomes of them."""

from __future__ import annotations

import os
from threading import Event, Semaphore
from typing import Any

import pytest
import pytest_twisted
from asn1crypto.cms import ContentInfo
from twisted.internet.threads import deferToThread

from oftp2.values import SecurityLevel
from oftp2d import pipeline, securing
from oftp2d.errors import OperatorError
from oftp2d.ledger import LedgerUnavailableError, Transfer, TransferState
from oftp2d.ledger.transfers import Transfers
from oftp2d.spool import Staged, Writing
from oftp2d.workers import SMALL
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


@pytest_twisted.ensureDeferred
async def test_what_goes_wrong_with_a_file_that_was_cancelled_is_nothing_to_what_is_asked_for_behind_it(
    a: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host=None)
    await a.start()
    seal, sealing, go_on = Writing.seal, Event(), Event()

    def breaks(self: Writing) -> Staged:
        if go_on.is_set():
            return seal(self)
        sealing.set()
        assert go_on.wait(20)
        raise OperatorError("its certificate is too old", "take another one")

    queued = await a.queue(CODE_B, CONTENT, compression=1, envelope=1)
    monkeypatch.setattr(Writing, "seal", breaks)
    a.running.securing.nudge()
    await deferToThread(sealing.wait, 20)
    for what in ("cancel", "retry"):
        assert (await a.run("transfer", what, queued.id))[0] == 0
    states: list[TransferState] = []

    def unsecurable(self: Transfers, *arguments: object) -> Transfer:
        states.append(TransferState.FAILED)
        return failed(self, *arguments)  # type: ignore[arg-type]

    failed = Transfers.unsecurable
    monkeypatch.setattr(Transfers, "unsecurable", unsecurable)
    go_on.set()

    async def ended() -> Transfer | None:
        (transfer,) = await a.transfers()
        return transfer if transfer.state is not TransferState.SECURING else None

    transfer = await eventually("the end of securing", ended)
    assert transfer is not None
    assert (transfer.state, states) == (TransferState.QUEUED, [])


@pytest_twisted.ensureDeferred
async def test_large_files_keep_no_small_one_waiting_and_partners_take_turns(
    a: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = "O0013000003TESTC"
    for code in (CODE_B, third):
        a.add_partner(code, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host=None)
    await a.start()
    begun: list[int] = []
    go_on = Semaphore(0)

    def held(source: Any, *arguments: Any, **more: Any) -> Any:
        if (octets := os.fstat(source.fileno()).st_size) > SMALL:
            begun.append(octets - SMALL)
            assert go_on.acquire(timeout=20)
        return pipeline.make(source, *arguments, **more)

    monkeypatch.setattr(securing, "make", held)
    for number in range(1, 6):
        await a.queue(third if number == 5 else CODE_B, bytes(SMALL + number), compression=1, envelope=1)
    small = [await a.queue(CODE_B, bytes(SMALL), "SMALL", compression=1, envelope=1) for _ in range(20)]
    a.running.securing.nudge()

    async def small_ones_are_queued() -> bool:
        states = {transfer.id: transfer.state for transfer in await a.transfers()}
        return all(states[each.id] is TransferState.QUEUED for each in small)

    await eventually("the small ones to be queued", small_ones_are_queued)
    assert sorted(begun) == [1, 2]
    for number, expected in enumerate((3, 5, 4), 3):
        go_on.release()

        async def is_begun(number: int = number) -> bool:
            return len(begun) == number

        await eventually("the next one", is_begun)
        assert begun[-1] == expected
    for _ in range(2):
        go_on.release()

    async def all_are_queued() -> bool:
        return {transfer.state for transfer in await a.transfers()} == {TransferState.QUEUED}

    await eventually("all to be queued", all_are_queued)
