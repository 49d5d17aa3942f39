"""A stand-in for an NMVS, and a site that has an account there.

What imports the reactor is imported late: pytest reads this file before the reactor of the tests is installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import pkcs12

if TYPE_CHECKING:
    from tests.exchange.station import Log
    from tests.renewal.site import Site
    from tools.nmvs.standin import StandIn


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged; nothing critical and no traceback may be in it."""
    from tests.exchange.station import watching

    with watching() as found:
        yield found


@pytest.fixture(scope="module")
def opened_once() -> Iterator[None]:
    """A container that is opened again brings the same, without checking its key for 30 ms each time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pkcs12, "load_key_and_certificates", lru_cache(1000)(pkcs12.load_key_and_certificates))
        yield


@pytest_twisted.async_yield_fixture
async def standin(tmp_path: Path) -> AsyncIterator[StandIn]:
    from twisted.internet import reactor

    from tests import pki
    from tests.renewal.site import BEGIN
    from tools.nmvs.standin import StandIn

    made = StandIn(reactor, tmp_path / "standin", now=BEGIN, new_key=pki.new_key)
    await made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def site(tmp_path: Path, standin: StandIn, log: Log, opened_once: None) -> AsyncIterator[Site]:
    from tests.renewal.site import Site

    home = tmp_path / "home"
    home.mkdir()
    found = await Site(home, standin).start()
    yield found
    await found.stop()
