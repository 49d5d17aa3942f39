"""The stand-in for an NMVS is as nmvs.md has it: asked with requests written by hand, point by point of section 8.3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted

from tests import pki
from tests.renewal import wire
from tools.nmvs.standin import Enrolled, StandIn

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "Correct-horse-1"


@pytest_twisted.async_yield_fixture
async def standin(tmp_path: Path) -> AsyncIterator[StandIn]:
    from twisted.internet import reactor

    made = StandIn(reactor, tmp_path / "standin", now=BEGIN, new_key=pki.new_key)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def user(standin: StandIn) -> Enrolled:
    return standin.enrol("PHARMACY-1", "machine", PASSWORD)


@pytest_twisted.ensureDeferred
async def test_before_day_60_there_is_no_successor_and_then_there_is(standin: StandIn, user: Enrolled) -> None:
    """Point 4."""
    standin.clock.advance(timedelta(days=669))
    early = await wire.post(standin, standin.addresses.renew, wire.g615(), user.issue)
    standin.clock.advance(timedelta(days=1))
    due = await wire.post(standin, standin.addresses.renew, wire.g615(), user.issue)

    assert [early.code, due.code] == ["NMVS_FE_PKI_07", "NMVS_SUCCESS"]
    assert not early.find("Cert")
    assert standin.counters()["authentications"] == 2
    assert "handshakes refused" not in standin.counters()
