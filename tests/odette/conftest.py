"""The stations and authorities of Odette's cases; no station may log anything critical.

What imports the reactor is imported late: pytest reads this file before the reactor of the tests is installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from tests.authority import Authority
    from tests.exchange.station import Log
    from tests.odette.pair import Pair, Role


@pytest.fixture
def log() -> Iterator[Log]:
    from tests.exchange.station import watching

    with watching() as watched:
        yield watched


@pytest.fixture
def authority() -> Iterator[Authority]:
    """Where the authorities and the operator of the trust list publish; nothing is revoked yet."""
    from tests import pki
    from tests.authority import serving
    from tests.odette.pair import publish

    with serving() as server:
        for hierarchy in ("A", "B", "outside"):
            server.put(pki.list_path(hierarchy), pki.crl(pki.issuing(hierarchy, server.url)))
            server.put(pki.list_path(hierarchy, "root"), pki.crl(pki.root(hierarchy, server.url)))
        publish(server, pki.listed(server.url))
        yield server


@pytest.fixture(params=["initiator", "responder"])
def role(request: pytest.FixtureRequest) -> Role:
    """The role of the station under test."""
    chosen: Role = request.param
    return chosen


@pytest_twisted.async_yield_fixture
async def make(tmp_path: Path, log: Log, authority: Authority, role: Role) -> AsyncIterator[Callable[..., Pair]]:
    """Makes station A and station B with other certificates than CA01 and CB01; see ``pair.pair``."""
    from tests.odette.pair import pair

    made: list[Pair] = []

    def new(**how: str) -> Pair:
        made.append(pair(tmp_path, role, authority, **how))
        return made[-1]

    yield new
    for both in made:
        for station in (both.a, both.b):
            await station.stop()


@pytest.fixture
def two(make: Callable[..., Pair]) -> Pair:
    """Station A with CA01 and station B with CB01; not started, and not acquainted."""
    return make()
