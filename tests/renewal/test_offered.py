"""What a source gives to one station reaches its partner: two whole daemons, over TLS.

A set of the plugin local-ca has the certificate store for a consumer. What it brings is offered by the certificate exchange,
confirmed by the partner's EERP, and takes the place of the one before, which is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted

from oftp2d.ledger import CandidateState, Holder, Origin, RenewalState, Slot, StoredCertificate, Telling, TellingState
from tests import pki
from tests.exchange.renewing import know_all, reaches, shown, used
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, pause, start, station_a, station_b, watching

SET = f"""
[[set]]
name = "partners"
plugin = "local-ca"
contact = "edi@company.example"

[set.local-ca]
authority = "authority/ca.pem"
key = "file:authority/ca.key"
common_name = "a0.test"
organisation = "Station A"
country = "DE"
station = "{CODE_A}"
key_bits = 2048

[set.store]
stations = ["{CODE_A}"]
alias = "renewed"

[set.export]
folder = "exported"
"""


@pytest_twisted.async_yield_fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Station, Station]]:
    """Stations A and B, who know each other; A has an authority and a credential set."""
    with watching():
        a, b = station_a(tmp_path), station_b(tmp_path)
        know_all(a, b)
        furnish(a)
        await start(a, b)
        yield a, b
        await a.stop()
        await b.stop()


def furnish(station: Station) -> None:
    folder = station.home / "authority"
    folder.mkdir()
    authority = pki.issuing("A")
    (folder / "ca.pem").write_bytes(authority.pem + b"".join(each.pem for each in authority.chain))
    (folder / "ca.key").write_bytes(authority.key_pem)
    (folder / "ca.key").chmod(0o600)
    (station.home / "renewal").mkdir()
    # By hand, when the test wants it.
    definition = SET.replace("contact =", "auto_renew = false\ncontact =")
    (station.home / "renewal" / "partners.toml").write_text(definition)


async def newest(station: Station) -> StoredCertificate:
    """The certificate of ours that came last, when all consumers have been told of it."""

    async def told() -> bool:
        tellings: list[Telling] = list(await station.db(station.ledger.tellings.list, "partners"))
        return bool(tellings) and all(each.state is TellingState.DONE for each in tellings)

    await eventually("all consumers to know", told)
    own = await station.db(station.ledger.certificates.every, Holder.OWN)
    return max(own, key=lambda each: each.id)


async def ask(station: Station) -> None:
    """Ask the source. Validity counts in whole seconds: what is made within one second ends no later than what was there."""
    await pause(1.0)
    await station.running.renewer.run("partners")


async def confirmed(a: Station, b: Station, number: int) -> StoredCertificate:
    """Ask the source, and wait until the partner has confirmed what it gave."""
    await ask(a)
    new = await newest(a)
    found = await reaches(a, RenewalState.FINISHED, number)
    assert (found["certificate"]["fingerprint"], found["missing"]) == (new.fingerprint, 0)
    return new


@pytest_twisted.ensureDeferred
async def test_what_the_source_gives_is_offered_to_the_partner_confirmed_and_used_and_the_former_one_is_kept(
    pair: tuple[Station, Station],
) -> None:
    a, b = pair
    first = await confirmed(a, b, 1)
    assert (first.origin, first.station, first.alias.startswith("renewed-")) == (Origin.RENEWED, CODE_A, True)
    assert await used(a, CODE_B) == first.alias

    async def seen() -> bool:
        return await shown(a) == first.fingerprint

    await eventually("callers to see it, without a restart,", seen)
    second = await confirmed(a, b, 2)
    assert second.fingerprint != first.fingerprint
    assert await used(a, CODE_B) == second.alias
    # The partner has it by the certificate exchange, and keeps the former ones for files under way.
    held = await b.slots(CODE_A)
    assert held == {Slot.CURRENT: {second.fingerprint}, Slot.PREVIOUS: {first.fingerprint, a.certificate.fingerprint}}
    # And so does the station: they decrypt what was sent before.
    kept = {each.fingerprint: each for each in await a.db(a.ledger.certificates.every, Holder.OWN)}
    assert set(kept) == {a.certificate.fingerprint, first.fingerprint, second.fingerprint}
    assert all(each.active and each.private_key for each in kept.values())
    candidates = await a.running.renewer.candidates("partners")
    assert [each.state for each in candidates] == [CandidateState.ACTIVE, CandidateState.FORMER]
    assert len(list((a.home / "exported").iterdir())) == 3, "two generations and the link"
    # What the two stations say to each other goes under the new one.
    ok = await a.test(CODE_B)
    assert all(good for good, _ in ok.values()), ok


@pytest_twisted.ensureDeferred
async def test_a_rollback_brings_the_former_one_back_and_takes_the_offer_from_who_has_not_confirmed(
    pair: tuple[Station, Station],
) -> None:
    a, b = pair
    first = await confirmed(a, b, 1)
    await b.stop()
    await ask(a)
    second = await newest(a)
    await reaches(a, RenewalState.RUNNING, 2)
    assert await used(a, CODE_B) == first.alias, "the partner does not know the new one"
    await a.running.renewer.rollback("partners")
    await newest(a)
    await reaches(a, RenewalState.CANCELLED, 2)
    entries = {each.fingerprint: each.active for each in await a.db(a.ledger.certificates.every, Holder.OWN)}
    assert (entries[first.fingerprint], entries[second.fingerprint]) == (True, False)
    assert await used(a, CODE_B) == first.alias


@pytest_twisted.ensureDeferred
async def test_what_the_store_cannot_take_is_kept_and_not_activated(pair: tuple[Station, Station]) -> None:
    a, _ = pair
    path = a.home / "renewal" / "partners.toml"
    path.write_text(path.read_text().replace(f'stations = ["{CODE_A}"]', f'stations = ["{CODE_B}"]'))
    await a.running.renewer.reload()
    await ask(a)
    (candidate,) = await a.running.renewer.candidates("partners")
    assert candidate.state is CandidateState.REFUSED
    assert [each.key for each in candidate.problems] == [f"store: station {CODE_B}"]
    own = await a.db(a.ledger.certificates.every, Holder.OWN)
    assert [each.fingerprint for each in own] == [a.certificate.fingerprint]
    assert not (a.home / "exported").exists()
