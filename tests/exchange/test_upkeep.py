"""What a station looks after now and then while it runs, here every few milliseconds."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from oftp2 import buffers
from oftp2 import commands as c
from oftp2d import daemon
from oftp2d.context import Context
from oftp2d.ledger import ExchangeState, Kind, NewIncoming, Transfer, TransferState, Transport
from tests import pki
from tests.exchange.peer import session
from tests.exchange.station import CLOCK, CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "UPKEEP", timedelta(milliseconds=50))


@pytest_twisted.ensureDeferred
async def test_what_nobody_goes_on_with_is_given_up_while_the_station_runs(a: Station, log: Log) -> None:
    a.settings = "[spool]\nkeep_parts_hours = 2\nfree_octets_reserved = 0\n"
    a.add_partner(CODE_B, transport=Transport.TCP, password_ours=PASSWORD_A, password_theirs=PASSWORD_B)
    await a.start()
    content = os.urandom(100_000)
    async with session(a, restart=True) as peer:
        sfid = peer.offer("ORDERS", content)
        peer.send(sfid)
        await peer.expect(c.Sfpa)
        peer.write(bytes(buffers.encode(content, peer.ssid.buffer_size, last=True).between(0, 2)))
        peer.hang_up()
        await peer.gone()
    await a.idle()
    assert [each.state for each in await a.transfers()] == [TransferState.INTERRUPTED]
    assert list((a.home / "spool").glob("*/*")) != []
    with closing(sqlite3.connect(a.home / "ledger.sqlite")) as database, database:
        database.execute("update transfers set updated_at = updated_at - 3 * 3600 * 1000000")

    async def given_up() -> bool:
        return [each.state for each in await a.transfers()] == [TransferState.CANCELLED]

    await eventually("the end of what was not gone on with", given_up)
    assert list((a.home / "spool").glob("*/*")) == []
    assert len(log.lines("ORDERS broke off long ago and is given up")) == 1
    async with session(a, restart=True) as peer:
        assert isinstance(await peer.send_file(sfid, content), c.Efpa)
        await peer.turn()
    assert a.inbox() == [content]


@pytest_twisted.ensureDeferred
async def test_what_was_refused_is_kept_as_it_came_for_its_time_only(a: Station, log: Log) -> None:
    a.settings = "[spool]\nkeep_refused_hours = 2\n"
    partner = a.add_partner(CODE_B)
    await a.start()
    context = a.running.context

    def refuse(hours: int, dataset: str) -> Transfer:
        """A file that came so long ago, and could not be opened."""
        ended = context.now() - timedelta(hours=hours)
        new = NewIncoming(
            kind=Kind.FILE,
            partner_id=partner.id,
            dataset=dataset,
            date="20260102",
            time="0304050001",
            originator=CODE_B,
            destination=partner.station,
            security=1,
        )
        opened = a.ledger.transfers.open_incoming(new, ended, "session", timedelta(minutes=5))
        assert isinstance(opened, Transfer)
        with context.spool.part(opened.id) as part:
            part.write(b"no envelope")
            staged = part.seal()
        a.ledger.transfers.received(opened.id, staged.octets, staged.sha256, staged.name, ended)
        refused = a.ledger.transfers.refuse(opened.id, "NERP 33", "", ended, None, raw_name=staged.name)
        context.spool.refuse(staged.name)
        return refused

    young = await a.db(refuse, 1, "YOUNG")
    old = await a.db(refuse, 3, "OLD")

    async def forgotten() -> bool:
        return (await a.db(a.ledger.transfers.get, old.id)).raw_name is None

    await eventually("the end of what was kept long enough", forgotten)
    assert (await a.db(a.ledger.transfers.get, young.id)).raw_name == young.raw_name
    assert [path.name for path in (a.home / "spool").glob("*/*")] == [young.id]
    assert len(log.lines("the content of OLD", "is kept no longer")) == 1
    await a.restart()
    assert [path.name for path in (a.home / "spool").glob("*/*")] == [young.id]


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_was_refused_is_kept_for_its_time_only(a: Station, log: Log) -> None:
    a.settings = "[acx]\nkeep_refused_days = 3\n"
    a.add_partner(CODE_B, transport=Transport.TCP, password_ours=PASSWORD_A, password_theirs=PASSWORD_B)
    await a.start()
    async with session(a) as peer:
        for name in ("CB01", "CB04"):
            await peer.deliver(pki.certificate(name).der)
        await peer.turn()
    await a.idle()
    with closing(sqlite3.connect(a.home / "ledger.sqlite")) as database, database:
        database.execute("update exchanges set answered_at = answered_at - 73 * 3600 * 1000000 where id = 1")

    async def kept() -> list[bool]:
        return [(await a.db(a.ledger.exchanges.get, number)).der is not None for number in (1, 2)]

    async def forgotten() -> bool:
        return await kept() == [False, True]

    await eventually("the end of what was kept long enough", forgotten)
    assert [each.state for each in await a.exchanges()] == [ExchangeState.REFUSED] * 2
    assert len(log.lines("1 certificates that were refused are kept no longer")) == 1


@pytest_twisted.ensureDeferred
async def test_a_station_that_stops_lets_the_upkeep_come_to_its_end(
    a: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Deferred[None] = Deferred()
    go_on: Deferred[None] = Deferred()
    done: list[str] = []

    async def slow(context: Context) -> None:
        begun.callback(None)
        await go_on
        await context.workers.database(context.ledger.transfers.counts)
        done.append("upkeep")

    monkeypatch.setattr(daemon, "give_up_overdue", slow)
    await a.start()
    await begun
    CLOCK.callLater(0.3, go_on.callback, None)
    await a.stop()
    assert done == ["upkeep"]


@pytest_twisted.ensureDeferred
async def test_what_ends_soon_is_told_in_the_log_the_status_and_to_monitoring(a: Station, log: Log) -> None:
    a.add_partner(CODE_B)
    with a._closed() as (_, store):
        soon = pki.make(subject="CN=b.test", issuer=pki.issuing("B"), days=(-100, 6.5))
        partner = store._ledger.partners.by_code(CODE_B)
        assert partner is not None
        store.import_partner(soon.der, partner_id=partner.id, station=CODE_B, now=datetime.now(UTC), alias="theirs")
    await a.start()
    told = f"the partner certificate theirs of {CODE_B} ends on "
    assert len(log.lines(told)) == 1
    out = (await a.run("status"))[1]
    assert told in out
    assert "ask the partner for its successor" in out
    numbers = (await a.run("status", "--metrics"))[1]
    assert "oftp2d_warnings 1.0" in numbers
    (days,) = re.findall(r'oftp2d_certificate_days_to_expiry\{alias="theirs".* ([0-9.]+)\n', numbers)
    assert 6 < float(days) < 7
