"""Two stations that know nothing of each other but identification data, over TLS."""

from __future__ import annotations

import pytest_twisted

from oftp2d.ledger import Authentication, ExchangeState, Slot
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, introduce, start


@pytest_twisted.ensureDeferred
async def test_a_request_brings_both_certificates_and_closes_the_latch_of_both(a: Station, b: Station) -> None:
    introduce(a, b, authentication=Authentication.PREPARED)
    await start(a, b)
    await a.running.exchange.request(await a.partner(CODE_B), None, None)
    a.running.dialler.nudge(1)

    async def latched() -> bool:
        return all(
            [
                (await station.partner(code)).authentication is Authentication.ON
                for station, code in ((a, CODE_B), (b, CODE_A))
            ]
        )

    await eventually("both latches", latched)
    for station, other in ((a, b), (b, a)):
        (held,) = await station.certificates(other.code)
        assert held.fingerprint == other.certificate.fingerprint
        assert held.slot is Slot.CURRENT
        assert held.usages
        assert [entry.state for entry in await station.exchanges()] == [ExchangeState.ACCEPTED] * 2
        assert len(await station.audit("authentication latched")) == 1
