"""The plugin against small TLS servers on loopback: what it asks, what it makes of answers, and what it does about passwords."""

from __future__ import annotations

import pytest_twisted

from oftp2d.renewal.interface import Answer, Fetched, Refusal, Verdict
from oftp2d.renewal.material import opened
from oftp2d.vault import Secret
from tests.oftp2d.renewal.nmvs.service import (
    NOW,
    Service,
    Site,
    cert,
    client_identity,
    envelope,
    http,
    trusting,
)


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
