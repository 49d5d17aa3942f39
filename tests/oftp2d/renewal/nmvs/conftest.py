"""A home folder with a plugin in it, and a service that demands certificates of hierarchy B.

What needs the reactor is imported by the fixtures: pytest reads this before it has installed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from tests.oftp2d.renewal.nmvs.service import Service, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from oftp2d.workers import Workers
    from tests.oftp2d.renewal.nmvs.service import Site, client_identity, material

    workers = Workers(reactor)
    workers.start()
    yield Site(tmp_path, workers, current=material(client_identity()))
    pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


@pytest.fixture
def service() -> Iterator[Service]:
    from twisted.internet.defer import Deferred

    from tests import pki
    from tests.oftp2d.renewal.nmvs.service import Service

    service = Service(clients=pki.root("B").certificate)
    yield service
    pytest_twisted.blockon(Deferred.fromCoroutine(service.stop()))
