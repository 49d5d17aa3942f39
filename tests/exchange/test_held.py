"""End responses that were signed and did not count: judged again, however it came about that they can be verified now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.cms import receipts
from oftp2.cms.keys import Signer, SoftwareKey
from oftp2.cms.suites import SUITES
from oftp2d import daemon, held
from oftp2d.ledger import TransferState, Transport
from oftp2d.receipts import Receipts
from tests import pki
from tests.exchange.peer import acknowledgement, files, session
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

S = TransferState
CONTENT = b"the content"
SUITE = 4


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "UPKEEP", timedelta(milliseconds=50))


async def acquainted(a: Station, **settings: Any) -> None:
    """The station runs, and holds the certificate with which its partner signs."""
    common = {"transport": Transport.TCP, "password_ours": PASSWORD_A, "password_theirs": PASSWORD_B, "host": None}
    partner = a.add_partner(CODE_B, **common | settings)
    a.hold(partner, pki.certificate("CB01"))
    await a.start()


def signed(sfid: c.Sfid, *, at: datetime | None = None) -> c.Eerp:
    issued = pki.certificate("CB01")
    signer = Signer(issued.certificate, SoftwareKey(issued.key))
    eerp = replace(acknowledgement(sfid), hash=hashlib.sha256(CONTENT).digest())
    return replace(eerp, signature=receipts.sign(eerp, [signer], SUITES[SUITE], at=at or datetime.now(UTC)))


async def answered(a: Station, datasets: Sequence[str], **how: Any) -> None:
    """Files for which a signed end response is asked go to the partner, which signs one for each."""
    for dataset in datasets:
        await a.queue(CODE_B, CONTENT, dataset, cipher=SUITE, signed_response=True)
    a.running.securing.nudge()

    async def queued() -> bool:
        return S.SECURING not in await states(a)

    await eventually("all files to be ready", queued)
    async with session(a) as peer:
        came = files(await peer.turn())
        assert len(came) == len(datasets)
        for sfid, _ in came:
            peer.send(signed(sfid, **how))
            await peer.expect(c.Rtr)
        await peer.leave()


async def states(a: Station) -> set[TransferState]:
    return {each.state for each in await a.transfers()}


async def held_until(a: Station, log: Log, number: int) -> None:
    """So many were held, and it was looked at them since."""
    assert len(log.lines("does not count, transfer")) == number
    assert await states(a) == {S.SENT}


async def all_count(a: Station) -> None:
    async def acknowledged() -> bool:
        return await states(a) == {S.ACKNOWLEDGED}

    async def given_up() -> bool:
        return not list((a.home / "spool" / "outgoing").iterdir())

    await eventually("all end responses to count", acknowledged)
    await eventually("the room of the files to be free again", given_up)


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_counts_again_makes_count_what_waited_for_it_without_anybody_saying_so(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of more than are read at once."""
    monkeypatch.setattr(held, "AT_ONCE", 2)
    await acquainted(a)
    (certificate,) = await a.certificates(CODE_B)
    await a.db(a.ledger.certificates.set_active, certificate.id, active=False)
    await answered(a, [f"ORDERS{number}" for number in range(5)])
    await held_until(a, log, 5)
    await a.db(a.ledger.certificates.set_active, certificate.id, active=True)
    await all_count(a)

    async def told() -> bool:
        return len(log.lines("that did not count before counts now")) == 5

    await eventually("a line for each", told)


@pytest_twisted.ensureDeferred
async def test_a_setting_that_lets_a_certificate_do_makes_count_what_it_signed_before(a: Station, log: Log) -> None:
    await acquainted(a, least_rsa_bits=3072)
    await answered(a, ["ORDERS"])
    await held_until(a, log, 1)
    await a.set(CODE_B, least_rsa_bits=2048)
    await all_count(a)


@pytest_twisted.ensureDeferred
async def test_a_station_that_fell_before_it_could_look_does_so_when_it_runs_again(a: Station, log: Log) -> None:
    await acquainted(a)
    (certificate,) = await a.certificates(CODE_B)
    await a.db(a.ledger.certificates.set_active, certificate.id, active=False)
    await answered(a, ["ORDERS"])
    await held_until(a, log, 1)
    await a.stop()
    with a._closed() as (ledger, _):
        ledger.certificates.set_active(certificate.id, active=True)
    await a.start()
    await all_count(a)


@pytest_twisted.ensureDeferred
async def test_what_nobody_can_verify_is_not_judged_over_and_over(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    looked = 0
    proven, look = Receipts.proven, held.HeldResponses.look

    async def counting(self: Receipts, *given: Any) -> object:
        judged.append(given[1].id)
        return await proven(self, *given)

    async def looking(self: held.HeldResponses) -> None:
        nonlocal looked
        await look(self)
        looked += 1

    monkeypatch.setattr(Receipts, "proven", counting)
    monkeypatch.setattr(held.HeldResponses, "look", looking)
    await acquainted(a, least_rsa_bits=3072)
    await answered(a, ["ORDERS"])
    await held_until(a, log, 1)

    async def often_enough() -> bool:
        return looked >= before + 5

    before = looked
    await eventually("some looks", often_enough)
    (transfer,) = await a.transfers()
    # Once when it was new, and once more where it came while it was looked.
    assert set(judged) == {transfer.id}
    assert len(judged) <= 2


@pytest_twisted.ensureDeferred
async def test_a_moment_of_signing_that_cannot_be_is_told_while_the_partner_can_still_be_asked(
    a: Station, log: Log
) -> None:
    await acquainted(a)
    await answered(a, ["LONG-AGO"], at=datetime(2001, 1, 1, tzinfo=UTC))
    await answered(a, ["TO-COME"], at=datetime.now(UTC) + timedelta(days=3))
    await answered(a, ["NOW"])
    await all_count(a)
    assert len(log.lines("which cannot be")) == 2
    (line,) = log.lines("the EERP for LONG-AGO says that it was signed at 2001-01-01 00:00:00Z, which cannot be")
    assert " warn " in line
    assert "set the clock of its system right" in line
