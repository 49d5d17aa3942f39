"""Stations for the tests of the exchange; each test gets its own, and none may log anything critical.

What imports the reactor is imported late: pytest reads this file before the reactor of the tests is installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from tests.exchange.station import Log, Station


@pytest.fixture
def log() -> Iterator[Log]:
    from tests.exchange.station import watching

    with watching() as watched:
        yield watched


@pytest_twisted.async_yield_fixture
async def a(tmp_path: Path, log: Log) -> AsyncIterator[Station]:
    """Station A with certificate CA01; not started."""
    from tests.exchange.station import station_a

    station = station_a(tmp_path)
    yield station
    await station.stop()


@pytest_twisted.async_yield_fixture
async def b(tmp_path: Path, log: Log) -> AsyncIterator[Station]:
    """Station B with certificate CB01; not started."""
    from tests.exchange.station import station_b

    station = station_b(tmp_path)
    yield station
    await station.stop()
