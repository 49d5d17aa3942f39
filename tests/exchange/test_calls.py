"""When the dialler calls: regularly, for what waits, and not while a back-off lasts."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_twisted
from twisted.internet import reactor

from oftp2d.daemon import Daemon
from oftp2d.ledger import LedgerUnavailableError
from oftp2d.outlook import Outlook
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, introduce, pause, start


@pytest_twisted.ensureDeferred
async def test_a_file_does_not_wait_for_the_next_regular_call(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    partner = await a.partner(CODE_B)
    later = a.running.context.now() + timedelta(hours=1)
    await a.db(a.ledger.partners.change, partner.id, call_every=3600, next_call_at=later)
    await a.queue(CODE_B, b"content")

    async def arrived() -> bool:
        return b.inbox() == [b"content"]

    await eventually("the file", arrived)
    after = await a.partner(CODE_B)
    assert after.next_call_at is not None
    assert after.next_call_at >= later


@pytest_twisted.ensureDeferred
async def test_a_file_waits_for_the_end_of_a_back_off_until_a_connection_test_goes_well(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    partner, now = await a.partner(CODE_B), a.running.context.now()
    await a.db(a.ledger.partners.call_failed, partner.id, now, "nobody there", now + timedelta(hours=1))
    await a.queue(CODE_B, b"content")
    await pause(1.5)
    assert b.inbox() == []
    assert (await a.run("partner", "test", CODE_B))[0] == 0

    async def arrived() -> bool:
        return b.inbox() == [b"content"]

    await eventually("the file", arrived)


@pytest_twisted.ensureDeferred
async def test_a_partner_that_is_waited_for_is_not_called_though_something_waits(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    await a.run("partner", "change", CODE_B, "--call", "wait")
    transfer = await a.queue(CODE_B, b"content")
    a.running.dialler.nudge(1)
    await pause(1.5)
    assert (await a.partner(CODE_B)).last_call_at is None
    assert "we wait to be called" in (await a.run("transfer", "show", transfer.id))[1]
    await b.call(CODE_A)
    assert b.inbox() == [b"content"]
    assert (await a.partner(CODE_B)).last_call_at is None


@pytest_twisted.ensureDeferred
async def test_a_partner_that_is_waited_for_can_be_called_by_hand(a: Station, b: Station) -> None:
    introduce(a, b, a_wait_for_calls=True)
    await start(a, b)
    await a.queue(CODE_B, b"content")
    assert (await a.run("call", CODE_B))[0] == 0

    async def arrived() -> bool:
        return b.inbox() == [b"content"]

    await eventually("the file", arrived)


@pytest.mark.parametrize("policy", [{"wait_for_calls": True}, {"wait_for_calls": False}], ids=["wait", "on demand"])
@pytest_twisted.ensureDeferred
async def test_a_call_by_hand_that_fails_is_not_made_again_while_nothing_asks_for_it(
    a: Station, b: Station, policy: dict[str, bool]
) -> None:
    introduce(a, b)
    await start(a, b)
    await a.set(CODE_B, port=1, **policy)
    failed = await a.call(CODE_B)
    assert failed.call_failures == 1
    await pause(2.5)
    assert (await a.partner(CODE_B)).call_failures == 1


@pytest_twisted.ensureDeferred
async def test_a_start_that_fails_at_its_very_end_leaves_nothing_running(
    a: Station, b: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduce(a, b)
    await b.start()
    daemon = Daemon(reactor, a.config)

    def locked(_outlook: Outlook) -> None:
        raise LedgerUnavailableError("database is locked")

    monkeypatch.setattr(Outlook, "_ask", locked)
    with pytest.raises(LedgerUnavailableError):
        await daemon.start()
    assert not daemon.dialler._loop.running
    assert not daemon._upkeep.running
    assert not daemon.listeners()
    assert not a.config.socket_path.exists()
    # Nothing holds the home any more: the next start goes well.
    monkeypatch.undo()
    await a.start()
