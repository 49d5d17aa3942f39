"""The plugin against small TLS servers on loopback: what it asks, what it makes of answers, and what it does about passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from oftp2d.renewal.interface import Answer, Fetched, Refusal, Verdict
from oftp2d.renewal.material import opened
from oftp2d.vault import Secret
from oftp2d.workers import Workers
from tests import pki
from tests.oftp2d.renewal.nmvs.service import (
    NOW,
    Service,
    Site,
    cert,
    client_identity,
    envelope,
    http,
    material,
    trusting,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    workers = Workers(reactor)
    workers.start()
    yield Site(tmp_path, workers, current=material(client_identity()))
    pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(clients=pki.root("B").certificate)
    yield service
    pytest_twisted.blockon(Deferred.fromCoroutine(service.stop()))


async def asked(site: Site, tan: str | None = None) -> Fetched | Refusal:
    answer = await site.plugin.fetch(site.case, NOW, Secret(tan) if tan else None)
    return await site.plugin.read(site.case, answer, NOW) if isinstance(answer, Answer) else answer


@pytest_twisted.ensureDeferred
async def test_a_new_certificate_comes_with_the_current_one_over_mutual_tls(site: Site, service: Service) -> None:
    new = client_identity()
    service.answers(http(envelope("NMVS_SUCCESS", cert=cert(new.pkcs12(b"geheim&1")))))
    site.profile(trusting(service.url))
    fetched = await asked(site)
    assert isinstance(fetched, Fetched), fetched
    assert opened(fetched.container).certificate == new.certificate
    assert service.shown == [site.current.certificate]
    assert fetched.transaction == "0123456789ABCDEF0123456789ABCDEF"
    assert Verdict.FETCHED
