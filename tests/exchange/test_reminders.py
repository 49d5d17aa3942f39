"""Certificates of ours that a partner gets and does not answer: offered again, and then a person is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.reasons import NegativeResponseReason
from oftp2d.ledger import AcxMode, ExchangeState, TransferState, Transport
from tests import pki
from tests.exchange.peer import files, session
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually, introduce

HOUR = 3600 * 1_000_000
"""Of the ledger's clock, which counts microseconds."""


@pytest.fixture
def offering(a: Station, b: Station) -> Station:
    """Station A, which gives B its certificate over TCP; B does not run and cannot be called."""
    a.settings = "[acx]\nremind_after_hours = 10\nreminders = 2\n"
    introduce(a, b, transport=Transport.TCP, a_host=None)
    return a


async def fetched(station: Station) -> list[c.Sfid]:
    """A partner that calls, takes what there is, and says nothing to it."""
    async with session(station) as peer:
        taken = [sfid for sfid, _ in files(await peer.turn())]
    await station.idle()
    return taken


async def later(station: Station, hours: int) -> None:
    """So much time passes, and the station looks what is to be done."""
    with closing(sqlite3.connect(station.home / "ledger.sqlite")) as database, database:
        database.execute("update transfers set sent_at = sent_at - ?", (hours * HOUR,))
    await station.running._reminders.look()
    await station.running.outlook.look()


async def states(station: Station) -> list[tuple[ExchangeState, int]]:
    return [(each.state, each.reminders) for each in await station.exchanges()]


@pytest_twisted.ensureDeferred
async def test_an_offer_without_answer_is_repeated_with_a_new_stamp_and_at_last_a_person_is_told(
    offering: Station, log: Log
) -> None:
    await offering.start()
    await offering.run("exchange", "deliver", CODE_B)
    (first,) = await fetched(offering)
    await later(offering, 9)
    assert await states(offering) == [(ExchangeState.SENT, 0)]
    await later(offering, 2)
    (second,) = await fetched(offering)
    await later(offering, 10)
    (third,) = await fetched(offering)
    assert len({sfid.identity for sfid in (first, second, third)}) == 3
    assert {sfid.dataset for sfid in (first, second, third)} == {"ODETTE_CERTIFICATE_DELIVER"}
    assert await states(offering) == [(ExchangeState.SENT, 0), (ExchangeState.SENT, 1), (ExchangeState.SENT, 2)]
    assert offering.running.warnings() == ()
    for _ in range(2):
        await later(offering, 10)
    assert await fetched(offering) == []
    assert len(log.lines("error", "no end response for our certificate, offered 3 times", "exchange status")) == 1
    (warning,) = offering.running.warnings()
    assert warning.startswith(f"{CODE_B}: no end response for our certificate, offered 3 times")
    assert len(await offering.audit("certificate of ours not answered")) == 1


@pytest_twisted.ensureDeferred
async def test_the_answer_to_any_of_the_offers_is_that_for_all_and_what_waits_is_not_sent_any_more(
    offering: Station,
) -> None:
    await offering.start()
    await offering.run("exchange", "deliver", CODE_B)
    (first,) = await fetched(offering)
    await later(offering, 10)
    assert await states(offering) == [(ExchangeState.SENT, 0), (ExchangeState.QUEUED, 1)]
    async with session(offering) as peer:
        peer.acknowledge(first)
        await peer.expect(c.Rtr)
        assert files(await peer.turn()) == []
    assert await states(offering) == [(ExchangeState.ACCEPTED, 0), (ExchangeState.ACCEPTED, 1)]
    assert (await offering.exchanges())[1].text == "by the answer to message 1"
    assert [each.state for each in await offering.transfers()] == [TransferState.ACKNOWLEDGED, TransferState.CANCELLED]

    async def empty() -> bool:
        return list((offering.home / "spool" / "outgoing").iterdir()) == []

    await eventually("an empty spool", empty)
    await later(offering, 20)
    assert len(await offering.exchanges()) == 2


@pytest_twisted.ensureDeferred
async def test_nobody_is_reminded_whose_exchange_is_off_or_of_what_was_refused(offering: Station) -> None:
    await offering.start()
    await offering.run("exchange", "deliver", CODE_B)
    (sent,) = await fetched(offering)
    await offering.set(CODE_B, acx=AcxMode.OFF)
    await later(offering, 10)
    assert await states(offering) == [(ExchangeState.SENT, 0)]
    await offering.set(CODE_B, acx=AcxMode.KNOWN)
    async with session(offering) as peer:
        nerp = c.Nerp(
            dataset=sent.dataset,
            date=sent.date,
            time=sent.time,
            destination=CODE_A,
            originator=CODE_B,
            creator=CODE_B,
            reason=NegativeResponseReason.UNSPECIFIED,
            text="no",
        )
        peer.send(nerp)
        await peer.expect(c.Rtr)
        await peer.leave()
    await later(offering, 10)
    assert await states(offering) == [(ExchangeState.REFUSED, 0)]


@pytest_twisted.ensureDeferred
async def test_a_person_is_told_early_where_the_certificate_that_the_partner_knows_is_about_to_end(
    a: Station, b: Station
) -> None:
    introduce(a, b, transport=Transport.TCP, a_host=None)
    ending = pki.make(subject="CN=a0.test,O=Station A", station=CODE_A, issuer=pki.issuing("A"), days=(-300, 10))
    await a.start()

    def furnish() -> None:
        context = a.running.context
        old = context.certificates.adopt(ending.key, ending.certificate, alias="old", now=context.now(), station=CODE_A)
        a.ledger.certificates.confirm(1, old.fingerprint, context.now(), "manual")

    await a.db(furnish)
    await a.running.outlook.look()
    assert not [line for line in a.running.warnings() if "has not accepted" in line]
    await a.run("exchange", "deliver", CODE_B, "--certificate", "station")
    await a.running.outlook.look()
    (line,) = [line for line in a.running.warnings() if "has not accepted" in line]
    assert line.startswith(f"{CODE_B}: it has not accepted our new certificate yet, and the one it knows ends on ")
