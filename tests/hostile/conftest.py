"""A station to be mistreated, and what it logged of it; everything else as in the tests of the exchange."""

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
async def victim(tmp_path: Path, log: Log) -> AsyncIterator[Station]:
    """Station A; it knows B (over TCP) and OTHER, both with passwords. Not started; ends with a good session."""
    from tests.hostile.mischief import furnished

    station = furnished(tmp_path)
    yield station
    await station.stop()
