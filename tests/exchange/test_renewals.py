"""One renewal for all partners, over real sessions: offered, followed, and ended when everybody has the new certificate."""

from __future__ import annotations

import pytest_twisted

from oftp2d.ledger import AcxMode, ExchangeState, RenewalState, Slot
from tests.exchange.renewing import BY_HAND, adopt, good, know_all, reaches, shown, stands, used
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually, rewire, start


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
