"""The certificate store as a consumer: what is imported, offered, and taken back; told once, told again, told after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oftp2.certs.usages import Usage
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AcxMode,
    Holder,
    NewPartner,
    Origin,
    Renewal,
    RenewalState,
    Station,
    StoredCertificate,
)
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.definitions import CredentialSet, Store
from tests import pki
from tests.oftp2d.desk import OURS, Office, open_office
from tests.oftp2d.renewal.tellings import activation, defined, issued, material, rollback
from tests.pki import Issued

CLOCK: IReactorTime = reactor  # type: ignore[assignment]  # the module stands for the reactor
PLANT = "O0013000001PLANT"
STORE = defined(store=Store(stations=(OURS,)))


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


@pytest.fixture
def consumers(office: Office) -> Consumers:
    return Consumers(office.renewals._context, office.renewals, changed=office.house.certificates_changed)


@pytest.fixture
def old(office: Office) -> Issued:
    """The certificate of the station until now."""
    found = issued(begins=-300, ends=60)
    context = office.renewals._context
    context.certificates.adopt(found.key, found.certificate, alias="old", now=context.now(), station=OURS)
    return found


def owned(office: Office, found: Issued) -> list[StoredCertificate]:
    return [each for each in office.ledger.certificates.every(Holder.OWN) if each.fingerprint == found.fingerprint]


def know(office: Office, name: str, station: str = OURS) -> None:
    """A partner that is told of certificates by hand, so that a renewal goes on for as long as the test wants."""
    wanted = NewPartner(code=f"O0013000009{name}", name=name, station=station, acx=AcxMode.OFF)
    office.ledger.partners.add(wanted, datetime.now(UTC))


async def settled(office: Office) -> list[Renewal]:
    """The renewals, oldest first, when all that follows by itself was done."""
    # What the database worker asks of the reactor is done in its next round.
    await deferLater(CLOCK, 0)
    office.renewals.look()
    while office.renewals._busy:
        await deferLater(CLOCK, 0.005)
    return list(reversed(office.ledger.renewals.list()))


async def problems(consumers: Consumers, definition: CredentialSet, new: Any) -> dict[str, str]:
    return {each.key: each.text for each in await consumers.problems(definition, material(new))}


@pytest_twisted.ensureDeferred
async def test_a_new_credential_is_imported_with_its_chain_and_offered_in_the_place_of_the_one_before(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    know(office, "ONE")
    new = issued()
    told = await consumers.tell("store", activation(STORE, new, old))
    (entry,) = owned(office, new)
    day = f"{new.certificate.not_valid_before_utc:%Y-%m-%d}"
    assert told == f"in the certificate store as site-{day}, following old"
    assert (entry.alias, entry.station, entry.origin, entry.active) == (f"site-{day}", OURS, Origin.RENEWED, True)
    assert entry.usages == frozenset(Usage)
    kept = {each.fingerprint for each in office.ledger.certificates.every(Holder.INTERMEDIATE)}
    assert kept == {each.fingerprint for each in new.chain}, "they build chains, and are not trusted by that"
    (begun,) = await settled(office)
    assert (begun.state, begun.fingerprint, begun.previous) == (RenewalState.RUNNING, new.fingerprint, old.fingerprint)
    assert office.house.changes >= 1
    (former,) = owned(office, old)
    assert (former.active, former.slice_until) == (True, None), "it is served to who knows no other"
    imported = [each for each in office.ledger.audit.list() if each.event == "certificate imported"]
    assert [each.detail["set"] for each in imported] == ["site"]


@pytest_twisted.ensureDeferred
async def test_who_is_told_again_imports_and_offers_nothing_again(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    know(office, "ONE")
    new = issued()
    first = await consumers.tell("store", activation(STORE, new, old))
    await settled(office)
    before = office.ledger.certificates.every()
    assert await consumers.tell("store", activation(STORE, new, old)) == first
    assert office.ledger.certificates.every() == before
    assert len(await settled(office)) == 1


@pytest_twisted.ensureDeferred
async def test_what_a_crash_has_left_between_import_and_offer_is_done(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    know(office, "ONE")
    new, context = issued(), office.renewals._context
    context.certificates.adopt(new.key, new.certificate, alias="by hand", now=context.now(), station=OURS)
    told = await consumers.tell("store", activation(STORE, new, old))
    assert told == "in the certificate store as by hand, following old"
    assert len(owned(office, new)) == 1
    (begun,) = await settled(office)
    assert begun.fingerprint == new.fingerprint


@pytest_twisted.ensureDeferred
async def test_the_first_credential_follows_none_and_finds_its_station_in_its_subject(
    office: Office, consumers: Consumers
) -> None:
    mine, anybodys = issued(station=OURS), issued()
    assert "following" not in await consumers.tell("store", activation(defined(store=Store()), mine))
    await consumers.tell("store", activation(defined(store=Store(alias="all")), anybodys))
    assert [each.station for each in owned(office, mine)] == [OURS]
    (entry,) = owned(office, anybodys)
    assert (entry.station, entry.alias.startswith("all-")) == (None, True)
    assert await settled(office) == []


@pytest_twisted.ensureDeferred
async def test_it_serves_the_usages_that_are_wanted_and_allowed(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    wanted = frozenset({Usage.SIGNATURE, Usage.ENCRYPTION})
    new = issued(key_usage=("digitalSignature",))
    definition = defined(store=Store(stations=(OURS,), usages=wanted))
    await consumers.tell("store", activation(definition, new, old))
    (entry,) = owned(office, new)
    assert entry.usages == {Usage.SIGNATURE}


@pytest_twisted.ensureDeferred
async def test_each_of_several_stations_has_it_and_offers_it_to_its_partners(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    office.ledger.stations.add(Station(code=PLANT, name="Plant", main=False))
    context = office.renewals._context
    context.certificates.adopt(old.key, old.certificate, alias="old", now=context.now(), station=PLANT)
    know(office, "ONE")
    know(office, "TWO", PLANT)
    new = issued()
    both = defined(store=Store(stations=(OURS, PLANT)))
    await consumers.tell("store", activation(both, new, old))
    assert {each.station for each in owned(office, new)} == {OURS, PLANT}
    begun = await settled(office)
    assert {each.station: len(each.partners) for each in begun} == {OURS: 1, PLANT: 1}
    one = office.ledger.partners.by_code("O0013000009ONE")
    assert one is not None
    office.ledger.certificates.confirm(one.id, new.fingerprint, datetime.now(UTC), "manual")
    states = {each.station: each.state for each in await settled(office)}
    assert states == {OURS: RenewalState.FINISHED, PLANT: RenewalState.RUNNING}
    assert office.ledger.renewals.pending() == {new.fingerprint}, "the partner of the plant does not know it"
    until = {each.station: each.slice_until is None for each in owned(office, old)}
    assert until == {OURS: False, PLANT: True}


@pytest_twisted.ensureDeferred
async def test_a_rollback_switches_it_off_and_offers_it_to_nobody_else(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    know(office, "ONE")
    new = issued()
    await consumers.tell("store", activation(STORE, new, old))
    await settled(office)
    (entry,) = owned(office, new)
    for _ in range(2):
        told = await consumers.tell("store", rollback(STORE, old, new))
        assert told.startswith(f"old is used again, {entry.alias} is switched off")
    assert not owned(office, new)[0].active
    (ended,) = await settled(office)
    assert (ended.state, ended.text) == (RenewalState.CANCELLED, "old is used again")
    context = office.renewals._context
    used = context.certificates.own(Usage.SIGNATURE, station=OURS, now=context.now())
    assert used is not None
    assert used.stored.alias == "old"
    # And forth once more: it is offered again.
    await consumers.tell("store", activation(STORE, new, old))
    assert [each.state for each in await settled(office)] == [RenewalState.CANCELLED, RenewalState.RUNNING]
    assert owned(office, new)[0].active


@pytest_twisted.ensureDeferred
async def test_a_rollback_behind_the_end_of_the_renewal_lets_the_former_one_be_used_again(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    new = issued()
    await consumers.tell("store", activation(STORE, new, old))
    (finished,) = await settled(office)
    assert finished.state is RenewalState.FINISHED, "there are no partners"
    assert owned(office, old)[0].slice_until is not None
    await consumers.tell("store", rollback(STORE, old, new))
    context = office.renewals._context
    used = context.certificates.own(Usage.SIGNATURE, station=OURS, now=context.now())
    assert used is not None
    assert used.stored.fingerprint == old.fingerprint


@pytest_twisted.ensureDeferred
async def test_a_rollback_brings_back_a_former_one_that_was_removed_meanwhile(
    office: Office, consumers: Consumers, old: Issued
) -> None:
    new = issued()
    await consumers.tell("store", activation(STORE, new, old))
    await settled(office)
    office.renewals._context.certificates.remove(owned(office, old)[0])
    await consumers.tell("store", rollback(STORE, old, new))
    (entry,) = owned(office, old)
    assert (entry.active, entry.station, entry.slice_until) == (True, OURS, None)


@pytest_twisted.ensureDeferred
async def test_no_two_certificates_of_ours_get_one_name(office: Office, consumers: Consumers) -> None:
    first, second = issued(), issued()
    await consumers.tell("store", activation(STORE, first))
    await consumers.tell("store", activation(STORE, second, first))
    names = {owned(office, each)[0].alias for each in (first, second)}
    assert f"site-{second.fingerprint[:16]}" in names
    assert len(names) == 2


@pytest_twisted.ensureDeferred
async def test_what_oftp2_cannot_use_is_a_problem_before_it_is_activated(consumers: Consumers) -> None:
    curve = pki.make(key=ec.generate_private_key(ec.SECP256R1()))
    short = pki.make(key=rsa.generate_private_key(65537, 1024))  # noqa: S505 - too short
    authority = pki.make(ca=True)
    signs = issued(key_usage=("digitalSignature",))
    encrypts = defined(store=Store(stations=(OURS,), usages=frozenset({Usage.ENCRYPTION})))
    nowhere = defined(store=Store(stations=("O0013000009NONE",)))
    assert (await problems(consumers, STORE, curve))["store: key"].startswith("its key is EC, and OFTP2 needs RSA")
    assert (await problems(consumers, STORE, short))["store: key"] == "its key has 1024 bits, and OFTP2 needs 2048"
    assert "store: authority" in await problems(consumers, STORE, authority)
    assert "wants encryption" in (await problems(consumers, encrypts, signs))["store: usage"]
    assert "store: station O0013000009NONE" in await problems(consumers, nowhere, signs)
    assert await problems(consumers, STORE, signs) == {}
    assert await problems(consumers, defined(), curve) == {}, "who tells no store takes any key"
    found = await consumers.problems(STORE, material(curve))
    assert not any(each.may_be_overruled for each in found)


@pytest_twisted.ensureDeferred
async def test_a_station_that_was_removed_meanwhile_is_told_and_nothing_is_imported(
    office: Office, consumers: Consumers
) -> None:
    new = issued()
    with pytest.raises(OperatorError, match="O0013000009NONE is no station of yours"):
        await consumers.tell("store", activation(defined(store=Store(stations=(OURS, "O0013000009NONE"))), new))
    assert owned(office, new) == []


@pytest_twisted.ensureDeferred
async def test_one_that_has_ended_meanwhile_is_told(consumers: Consumers) -> None:
    with pytest.raises(OperatorError, match="expired on"):
        await consumers.tell("store", activation(STORE, issued(begins=-10, ends=-1)))
