"""When the dialler calls: regularly, for what waits, and not while a back-off lasts."""

from __future__ import annotations

from datetime import timedelta

import pytest_twisted

from tests.exchange.station import CODE_B, Station, eventually, introduce, pause, start


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
