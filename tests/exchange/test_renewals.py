"""One renewal for all partners, over real sessions: offered, followed, and ended when everybody has the new certificate."""

from __future__ import annotations

import json
import ssl
from hashlib import sha256
from typing import Any

import pytest_twisted
from twisted.internet.threads import deferToThread

from oftp2.certs.usages import Usage
from oftp2d.ledger import AcxMode, Authentication, ExchangeState, RenewalState, Slot, StoredCertificate
from tests import pki
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually, introduce, rewire, start

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


@pytest_twisted.ensureDeferred
async def test_a_renewal_goes_to_the_partner_and_ends_when_it_has_the_new_certificate(a: Station, b: Station) -> None:
    know_all(a, b)
    await start(a, b)
    new = await adopt(a)
    code, told = await a.run("exchange", "deliver", "--all", "--cert", "new", "--wait", "--timeout", "30s")
    assert (code, f"{CODE_B}: confirmed, its EERP" in told) == (0, True), told
    found = await reaches(a, RenewalState.FINISHED)
    assert (found["certificate"]["alias"], found["previous"]["alias"], found["missing"]) == ("new", "station", 0)
    held = {each.slot: each.fingerprint for each in await b.certificates(CODE_A)}
    assert held == {Slot.CURRENT: new.fingerprint, Slot.PREVIOUS: a.certificate.fingerprint}
    old = await a.db(a.running.context.certificates.find, "station")
    assert old.slice_until is not None
    assert found["ended_at"] == old.slice_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert await used(a, CODE_B) == "new"
    assert [entry.event for entry in await a.audit() if entry.event.startswith("renewal")] == [
        "renewal begun",
        "renewal finished",
    ]


@pytest_twisted.ensureDeferred
async def test_each_partner_is_served_with_what_it_knows_and_callers_see_the_former_one_until_all_have_the_new(
    a: Station, b: Station
) -> None:
    know_all(a, b)
    a.add_partner(BY_HAND, acx=AcxMode.OFF)
    await start(a, b)
    new = await adopt(a)
    await good(a, "exchange", "deliver", "--all", "--cert", "new")
    await stands(a, CODE_B, "confirmed")
    assert (await used(a, CODE_B), await used(a, BY_HAND)) == ("new", "station")
    assert await shown(a) == a.certificate.fingerprint
    assert (await stands(a, BY_HAND, "by hand"))["advice"].endswith(f"oftp2d cert confirm {BY_HAND} new")
    await good(a, "cert", "confirm", BY_HAND, "new")
    await reaches(a, RenewalState.FINISHED)
    assert await used(a, BY_HAND) == "new"

    async def switched() -> bool:
        return await shown(a) == new.fingerprint

    await eventually("callers to see the new certificate", switched)


@pytest_twisted.ensureDeferred
async def test_a_refusal_says_what_to_do_and_counts_no_longer_when_the_certificate_is_delivered_again(
    a: Station, b: Station, log: Log
) -> None:
    know_all(a, b, b_acx=AcxMode.OFF)
    await start(a, b)
    await adopt(a)
    await good(a, "exchange", "deliver", "--all", "--cert", "new")
    refused = await stands(a, CODE_B, "refused")
    assert "exchange is switched off" in refused["text"]
    assert refused["advice"].endswith(f"oftp2d exchange deliver {CODE_B} --certificate new")
    for _ in range(2):
        await a.running.outlook.look()
    assert len(log.lines("warn", "renewal 1: 1 partner is in need of you", CODE_B)) == 1
    assert any("in need of you" in each for each in (await a.ask("/v1/status"))["warnings"])
    await b.set(CODE_A, acx=AcxMode.KNOWN)
    await good(a, "exchange", "deliver", CODE_B, "--certificate", "new")
    await reaches(a, RenewalState.FINISHED)
    await a.running.outlook.look()
    assert not any("in need of you" in each for each in (await a.ask("/v1/status"))["warnings"])


@pytest_twisted.ensureDeferred
async def test_a_renewal_goes_on_after_a_restart_and_offers_nothing_twice(a: Station, b: Station) -> None:
    know_all(a, b)
    await start(a, b)
    await b.stop()
    await adopt(a)
    await good(a, "exchange", "deliver", "--all", "--cert", "new")
    out_of_reach = await stands(a, CODE_B, "out of reach")
    assert out_of_reach["advice"] == f"oftp2d partner test {CODE_B}"
    await a.restart()
    assert await used(a, CODE_B) == "station"
    await b.start()
    await rewire(a, b)
    await reaches(a, RenewalState.FINISHED)
    assert [each.state for each in await a.exchanges()] == [ExchangeState.ACCEPTED]


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_was_delivered_before_all_were_asked_is_not_offered_again(
    a: Station, b: Station
) -> None:
    know_all(a, b)
    await start(a, b)
    await adopt(a)
    await good(a, "exchange", "deliver", CODE_B, "--certificate", "new")
    await good(a, "exchange", "deliver", "--all", "--cert", "new")
    await reaches(a, RenewalState.FINISHED)
    assert len(await a.exchanges()) == 1
