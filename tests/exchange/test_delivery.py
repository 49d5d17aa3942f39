"""Received files that are delivered while something else becomes of them, or of the disk."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from oftp2.cms.package import pack
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES
from oftp2d import daemon, pipeline, securing
from oftp2d.certificates import Certificates
from oftp2d.delivery import Delivery
from oftp2d.ledger import Holder, Kind, LedgerUnavailableError, NewIncoming, Partner, Transfer, TransferState
from oftp2d.spool import Spool, SpoolError
from oftp2d.workers import SECURITY_THREADS, SMALL
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

LONG_AGO = timedelta(hours=1)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "UPKEEP", timedelta(milliseconds=50))


async def begun(a: Station) -> Partner:
    a.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host=None)
    await a.start()
    return await a.partner(CODE_B)


def compressed(content: bytes) -> bytes:
    stages = pack(suite=SUITES[4], compress=True, octets=len(content), at=datetime(2026, 1, 2, tzinfo=UTC))
    return b"".join(chain(stages, [content]))


def received(a: Station, partner: Partner, raw: bytes, dataset: str = "ORDERS", **fields: Any) -> Transfer:
    """In the database worker: a file that came long ago, and whose session ended before it was delivered."""
    context = a.running.context
    came = context.now() - LONG_AGO
    new = NewIncoming(
        kind=Kind.FILE,
        partner_id=partner.id,
        dataset=dataset,
        date="20260102",
        time="0304050001",
        originator=CODE_B,
        destination=partner.station,
        **fields,
    )
    opened = a.ledger.transfers.open_incoming(new, came, "session", timedelta(minutes=5))
    assert isinstance(opened, Transfer)
    with context.spool.part(opened.id) as part:
        part.write(raw)
        staged = part.seal()
    a.ledger.transfers.received(opened.id, staged.octets, staged.sha256, staged.name, came)
    return a.ledger.transfers.get(opened.id)


async def reaches(a: Station, transfer: Transfer, state: TransferState) -> None:
    async def reached() -> bool:
        return (await a.db(a.ledger.transfers.get, transfer.id)).state is state

    await eventually(f"{transfer.dataset} {state.value}", reached)


async def lies_in_the_inbox(a: Station, content: bytes) -> None:
    """It gets there behind the ledger's word that it is delivered."""

    async def there() -> bool:
        return bool(a.inbox())

    await eventually("the file in the inbox", there)
    assert a.inbox() == [content]


@pytest_twisted.ensureDeferred
async def test_how_far_a_file_is_opened_is_shown(a: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await begun(a)
    go_on, keep_free = Event(), Spool.keep_free

    def held(self: Spool, *arguments: int) -> None:
        assert go_on.wait(20)
        keep_free(self, *arguments)

    monkeypatch.setattr(Spool, "keep_free", held)
    content = os.urandom(8 * SMALL)
    transfer = await a.db(received, a, partner, compressed(content), compression=1, envelope=1)

    async def shown() -> bool:
        return bool(a.running.progress(transfer.id))

    await eventually("the first piece", shown)
    for how, words in (("list", r"\d (KiB|MiB) of 8\.0 MiB are opened"), ("show", r"opened \d.* (KiB|MiB) ")):
        code, out = await a.run("transfer", how, *([transfer.id] if how == "show" else []))
        assert code == 0
        assert re.search(words, re.sub(r"\s+", " ", out)), out
    go_on.set()
    await reaches(a, transfer, TransferState.DELIVERED)
    await lies_in_the_inbox(a, content)
    assert "opened" not in (await a.run("transfer", "show", transfer.id))[1]


@pytest_twisted.ensureDeferred
async def test_a_file_is_opened_while_large_ones_are_secured(a: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    partner = await begun(a)
    go_on = Event()

    def held(*arguments: Any, **more: Any) -> Any:
        assert go_on.wait(20)
        return pipeline.make(*arguments, **more)

    monkeypatch.setattr(securing, "make", held)
    large = [await a.queue(CODE_B, bytes(SMALL + 1), compression=1, envelope=1) for _ in range(SECURITY_THREADS)]
    a.running.securing.nudge()
    content = os.urandom(2 * SMALL)
    transfer = await a.db(received, a, partner, compressed(content), compression=1, envelope=1)
    await reaches(a, transfer, TransferState.DELIVERED)
    for each in large:
        await reaches(a, each, TransferState.SECURING)
    go_on.set()
    for each in large:
        await reaches(a, each, TransferState.QUEUED)


@pytest_twisted.ensureDeferred
async def test_a_refused_file_that_cannot_be_put_aside_is_refused_all_the_same_and_its_partner_told(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await begun(a)
    nudged: list[int] = []
    monkeypatch.setattr(a.running.dialler, "nudge", nudged.append)

    def full(_spool: Spool, _name: str) -> None:
        raise SpoolError("no room left", "make room")

    monkeypatch.setattr(Spool, "refuse", full)
    raw = b"no envelope"
    transfer = await a.db(received, a, partner, raw, compression=1, envelope=1)

    async def told() -> list[int]:
        return nudged

    assert set(await eventually("somebody to tell the partner", told)) == {partner.id}
    await reaches(a, transfer, TransferState.REFUSED)
    assert len(log.lines("refused ORDERS with NERP")) == 1
    assert len(log.lines("ORDERS is refused, but cannot be put aside", transfer.id, "no room left; make room")) == 1
    assert not log.lines("cannot be delivered now")
    with a.running.context.spool.open_refused(transfer.spool_name) as kept:
        assert kept.read() == raw


@pytest_twisted.ensureDeferred
async def test_what_was_delivered_since_the_upkeep_began_is_not_begun_again(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await begun(a)
    begin, begun_with = Delivery.begin, list[str]()
    late: list[Transfer] = []
    judge = daemon.Daemon._judge_left_over

    def beginning(self: Delivery, partner: Partner, transfer: Transfer) -> None:
        """Whoever delivers the second file ends while the first one is begun."""
        begun_with.append(transfer.dataset)
        if transfer.dataset == "FIRST":
            a.running.context.spool.make_ready(late[0].spool_name, late[0].id)
            a.ledger.transfers.delivered(late[0].id, f"{late[0].id}.SECOND", a.running.context.now(), None)
        begin(self, partner, transfer)

    async def nothing(_daemon: daemon.Daemon) -> None:
        """Until both are there."""

    monkeypatch.setattr(daemon.Daemon, "_judge_left_over", nothing)
    first = await a.db(received, a, partner, b"first", "FIRST")
    late.append(await a.db(received, a, partner, b"second", "SECOND"))
    monkeypatch.setattr(Delivery, "begin", beginning)
    monkeypatch.setattr(daemon.Daemon, "_judge_left_over", judge)
    await reaches(a, first, TransferState.DELIVERED)
    await lies_in_the_inbox(a, b"first")
    assert begun_with == ["FIRST"]
    assert not log.lines("cannot be delivered")
    assert a.running.context.spool.ready() == [late[0].id]


@pytest_twisted.ensureDeferred
async def test_files_that_cannot_be_delivered_keep_none_from_being_tried(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "LEFT_OVER", 2)
    judge = daemon.Daemon._judge_left_over

    async def nothing(_daemon: daemon.Daemon) -> None:
        """Until all are there, and those that are to be lost are."""

    async def told() -> bool:
        return all(log.lines(f"LOST{number} cannot be delivered now") for number in range(3))

    monkeypatch.setattr(daemon.Daemon, "_judge_left_over", nothing)
    partner = await begun(a)
    lost = [await a.db(received, a, partner, b"lost", f"LOST{number}") for number in range(3)]
    for each in lost:
        await deferToThread(a.running.context.spool.remove_received, each.spool_name)
    transfer = await a.db(received, a, partner, b"there", "THERE")
    monkeypatch.setattr(daemon.Daemon, "_judge_left_over", judge)
    await reaches(a, transfer, TransferState.DELIVERED)
    await eventually("what was lost to be told", told)
    await lies_in_the_inbox(a, b"there")


@pytest_twisted.ensureDeferred
async def test_a_file_whose_end_response_nobody_can_sign_waits_until_somebody_can(a: Station, log: Log) -> None:
    """Unsigned it would not count for its partner, which would send the file again."""
    partner = await begun(a)
    (own,) = await a.db(a.ledger.certificates.list, Holder.OWN)
    await a.db(a.ledger.certificates.set_active, own.id, active=False)
    good, bad = os.urandom(1000), b"no CMS"
    asked = {"signed_response": True, "cipher": 4}
    plain = await a.db(received, a, partner, good, dataset="GOOD", **asked)
    broken = await a.db(received, a, partner, bad, dataset="BAD", compression=1, envelope=1, **asked)

    async def told() -> bool:
        return all(
            log.lines(f"{name} cannot be delivered now", "may sign end responses now") for name in ("GOOD", "BAD")
        )

    await eventually("a line for each", told)
    _, shown = await a.run("transfer", "show", plain.id)
    assert "waits for the next try" in shown
    assert "'oftp2d cert generate'" in shown
    assert a.inbox() == []
    await a.db(a.ledger.certificates.set_active, own.id, active=True)
    await reaches(a, plain, TransferState.DELIVERED)
    await reaches(a, broken, TransferState.REFUSED)
    for each in (plain, broken):
        receipt = await a.db(a.ledger.receipts.get, each.id)
        assert receipt is not None
        assert receipt.signature
    await lies_in_the_inbox(a, good)


@pytest_twisted.ensureDeferred
async def test_a_ledger_that_is_locked_for_a_moment_leaves_no_end_response_unsigned(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await begun(a)
    own, locked = Certificates.own, True

    def asked(self: Certificates, *arguments: Any, **more: Any) -> Any:
        if locked:
            raise LedgerUnavailableError("database is locked")
        return own(self, *arguments, **more)

    monkeypatch.setattr(Certificates, "own", asked)
    transfer = await a.db(received, a, partner, b"content", signed_response=True, cipher=4)

    async def told() -> bool:
        return bool(log.lines("cannot be delivered now", "database is locked"))

    await eventually("a line that says so", told)
    locked = False
    await reaches(a, transfer, TransferState.DELIVERED)
    receipt = await a.db(a.ledger.receipts.get, transfer.id)
    assert receipt is not None
    assert receipt.signature
