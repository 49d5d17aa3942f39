"""What tests of renewals share: two stations that know each other, and how one sees what becomes of a new certificate."""

from __future__ import annotations

import json
import ssl
from hashlib import sha256
from typing import Any

from twisted.internet.threads import deferToThread

from oftp2.certs.usages import Usage
from oftp2d.ledger import AcxMode, Authentication, RenewalState, StoredCertificate
from tests import pki
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, introduce

OLD, NEW = "CA01", "CA04"
BY_HAND = "O0013000003HAND"


def know_all(a: Station, b: Station, **settings: Any) -> None:
    """Both hold each other's certificate, and each is confirmed to have the other's; there is no authentication."""
    introduce(a, b, authentication=Authentication.OFF, announce=None, acx=AcxMode.KNOWN, **settings)
    for station, other, held in ((a, CODE_B, "CB01"), (b, CODE_A, OLD)):
        with station._closed() as (ledger, _):
            partner = ledger.partners.by_code(other)
        assert partner is not None
        station.hold(partner, pki.certificate(held))
        station.confirm(partner)


async def adopt(station: Station, name: str = NEW, alias: str = "new") -> StoredCertificate:
    """The station has one more certificate of its own."""
    issued, context = pki.certificate(name), station.running.context
    return await station.db(
        lambda: context.certificates.adopt(
            issued.key, issued.certificate, alias=alias, now=context.now(), station=CODE_A
        )
    )


async def good(station: Station, *arguments: str) -> dict[str, Any]:
    """The document of a command that must succeed."""
    code, told = await station.run(*arguments, "--json")
    assert code == 0, told
    document: dict[str, Any] = json.loads(told)
    return document


async def reaches(station: Station, state: RenewalState, number: int = 1) -> dict[str, Any]:
    """Wait until a renewal is in a state; what the interface says of it then."""

    async def reached() -> dict[str, Any] | None:
        found = await station.ask(f"/v1/renewals/{number}")
        return found if found["state"] == state else None

    found = await eventually(f"renewal {number} to be {state}", reached)
    assert found is not None
    return found


async def stands(station: Station, code: str, stage: str) -> dict[str, Any]:
    """Wait until a partner stands somewhere in the first renewal; its account."""

    async def reached() -> dict[str, Any] | None:
        partners = (await station.ask("/v1/renewals/1"))["partners"]
        return next((each for each in partners if (each["partner"], each["stage"]) == (code, stage)), None)

    found = await eventually(f"{code} to be {stage}", reached)
    assert found is not None
    return found


async def used(station: Station, code: str, usage: Usage = Usage.SIGNATURE) -> str:
    """The alias of the certificate that is used towards a partner."""
    context, partner = station.running.context, await station.partner(code)
    found = await station.db(
        lambda: context.certificates.own(usage, station=station.code, now=context.now(), partner_id=partner.id)
    )
    assert found is not None
    return found.stored.alias


async def shown(station: Station) -> str:
    """The fingerprint of the certificate that a caller sees."""

    def look() -> bytes:
        pem = ssl.get_server_certificate(("127.0.0.1", station.port()))
        return ssl.PEM_cert_to_DER_cert(pem)

    return sha256(await deferToThread(look)).hexdigest()
