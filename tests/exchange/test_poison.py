"""A message whose judgement breaks in a way nobody thought of must not keep the station from starting."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.logger import LogLevel

from oftp2d.exchange import Exchange
from oftp2d.ledger import Authentication, Kind, TransferState
from tests import pki
from tests.exchange.peer import session
from tests.exchange.station import CODE_B, Log, Station, introduce


@pytest_twisted.ensureDeferred
async def test_the_station_starts_and_serves_beside_a_message_that_cannot_be_judged(
    a: Station, b: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduce(a, b, authentication=Authentication.PREPARED, a_host=None)

    async def breaks(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    await a.start()
    with monkeypatch.context() as broken:
        broken.setattr(Exchange, "judge", breaks)
        async with session(a, tls=True) as peer:
            await peer.deliver(pki.certificate("CB01").der)
            await peer.ended()
        await a.idle()
        await a.restart()
        async with session(a, tls=True) as peer:
            await peer.send_file(peer.offer("ORDERS", b"content"), b"content")
            await peer.leave()
        await a.idle()
        assert a.inbox() == [b"content"]
    (transfer,) = await a.transfers(Kind.EXCHANGE)
    assert transfer.state is TransferState.RECEIVED
    assert len([event for event in log.events if event.get("log_level") is LogLevel.critical]) == 2
    assert "nobody thought of this" in log.text
    # With the fault mended it is judged at the next start.
    await a.restart()
    assert [held.fingerprint for held in await a.certificates(CODE_B)] == [pki.certificate("CB01").fingerprint]
    log.events.clear()
