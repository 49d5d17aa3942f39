"""Renewals in the ledger: who takes part, what ends them, and what becomes of the certificates before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oftp2.certs.usages import Usage
from oftp2d import config
from oftp2d.client import RefusedError
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import AcxMode, NewPartner, Partner, Renewal, RenewalState, StoredCertificate
from oftp2d.renewals import Account, Renewals, concern
from oftp2d.uptake import Stage
from tests import pki
from tests.oftp2d.desk import OURS, Office, open_office

CLOCK: IReactorTime = reactor  # type: ignore[assignment]  # the module stands for the reactor
DAY = timedelta(days=1)
ALL = frozenset(Usage)


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    async with open_office(tmp_path) as opened:
        yield opened


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def own(
    office: Office, alias: str, *, begins: float = -1, ends: float = 365, usages: frozenset[Usage] = ALL, **more: Any
) -> StoredCertificate:
    """One more certificate of ours."""
    issued = pki.make(subject=f"CN={alias}", issuer=pki.issuing("A"), days=(begins, ends), **more)
    context = office.renewals._context
    return context.certificates.adopt(
        issued.key, issued.certificate, alias=alias, now=context.now(), station=OURS, usages=usages
    )


def know(office: Office, name: str, **settings: Any) -> Partner:
    """A partner that nothing can be offered to by the exchange."""
    wanted = {"code": f"O0013000009{name}", "name": name, "station": OURS, "acx": AcxMode.OFF} | settings
    return office.ledger.partners.add(NewPartner(**wanted), datetime.now(UTC))


def confirm(office: Office, partner: Partner, certificate: StoredCertificate) -> None:
    office.ledger.certificates.confirm(partner.id, certificate.fingerprint, datetime.now(UTC), "manual")


async def looked(office: Office) -> None:
    """Let it look at all renewals, and wait for that."""
    office.renewals.look()
    while office.renewals._busy:
        await deferLater(CLOCK, 0.005, lambda: None)


async def begin(office: Office, certificate: StoredCertificate, *more: Any) -> Account:
    begun = await office.renewals.begin(certificate, *more)
    await looked(office)
    return await office.renewals.account(begun.renewal.id)


async def ended(office: Office, account: Account) -> Renewal:
    await looked(office)
    return office.ledger.renewals.get(account.renewal.id)


def slice_end(office: Office, certificate: StoredCertificate) -> datetime | None:
    found = office.ledger.certificates.get(certificate.fingerprint)
    assert found is not None
    return found.slice_until


@pytest_twisted.ensureDeferred
async def test_without_partners_the_former_one_ends_at_once(office: Office) -> None:
    old, new = own(office, "old", begins=-300), own(office, "new")
    account = await begin(office, new)
    assert (account.renewal.state, account.renewal.previous) == (RenewalState.FINISHED, old.fingerprint)
    assert account.renewal.ended_at == slice_end(office, old)
    assert office.house.changes == 2, "callers see the former one again, and the new one at the end"


@pytest_twisted.ensureDeferred
async def test_the_first_certificate_of_all_follows_none(office: Office) -> None:
    account = await begin(office, own(office, "new"))
    assert (account.renewal.previous, account.renewal.text) == (None, "there was none before it")


@pytest_twisted.ensureDeferred
async def test_one_that_takes_over_some_usages_leaves_the_former_one_in_use_for_the_others(office: Office) -> None:
    old = own(office, "old", begins=-300)
    account = await begin(office, own(office, "new", usages=frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE})))
    assert account.renewal.state is RenewalState.FINISHED
    assert account.renewal.text == "old stays in use for encryption, authentication, tls server, tls client"
    assert slice_end(office, old) is None
    rest = own(office, "rest", usages=ALL - {Usage.SIGNATURE, Usage.EERP_SIGNATURE})
    await begin(office, rest, old)
    assert slice_end(office, old) is not None


@pytest_twisted.ensureDeferred
async def test_an_end_that_an_operator_has_set_before_stays(office: Office, now: datetime) -> None:
    old, new = own(office, "old", begins=-300), own(office, "new")
    office.ledger.certificates.set_slice(old.id, None, now - DAY)
    await begin(office, new, old)
    assert slice_end(office, old) == now - DAY
    later = own(office, "later")
    office.ledger.certificates.set_slice(new.id, now + DAY, None)
    await begin(office, later, new)
    assert slice_end(office, new) is None, "it never begins before it ends"


@pytest_twisted.ensureDeferred
async def test_the_former_one_is_used_until_the_time_that_was_planned(office: Office, now: datetime) -> None:
    old, new = own(office, "old", begins=-300), own(office, "new")
    account = await begin(office, new, old, now + DAY)
    assert (account.renewal.state, account.progress.complete) == (RenewalState.RUNNING, True)
    assert slice_end(office, old) is None


@pytest_twisted.ensureDeferred
async def test_a_renewal_waits_for_its_certificate_to_become_valid(office: Office) -> None:
    own(office, "old", begins=-300)
    account = await begin(office, own(office, "new", begins=1))
    assert account.renewal.state is RenewalState.RUNNING


@pytest_twisted.ensureDeferred
async def test_who_becomes_a_partner_later_takes_part_and_who_is_none_any_more_does_not(
    office: Office, now: datetime
) -> None:
    own(office, "old", begins=-300)
    new = own(office, "new")
    gone, idle = know(office, "GONE"), know(office, "IDLE", active=False)
    account = await begin(office, new)
    assert {each.partner.id: each.stage for each in account.progress.uptakes} == {
        gone.id: Stage.BY_HAND,
        idle.id: Stage.INACTIVE,
    }
    later = know(office, "LATER")
    office.ledger.partners.remove(gone.id, now)
    assert (await ended(office, account)).state is RenewalState.RUNNING
    confirm(office, later, new)
    office.renewals.confirmed()
    assert (await ended(office, account)).state is RenewalState.FINISHED


@pytest_twisted.ensureDeferred
async def test_partners_of_other_stations_take_part_only_if_they_have_the_former_one(office: Office) -> None:
    from oftp2d.ledger import Station

    office.ledger.stations.add(Station(code="O0013000001PLANT", name="Plant", main=False))
    old, new = own(office, "old", begins=-300), own(office, "new")
    know(office, "OTHER", station="O0013000001PLANT")
    having = know(office, "HAVING", station="O0013000001PLANT")
    confirm(office, having, old)
    account = await begin(office, new)
    assert [each.partner.id for each in account.progress.uptakes] == [having.id]


@pytest_twisted.ensureDeferred
async def test_a_later_certificate_takes_the_place_of_one_under_renewal_and_ends_all_before_it(office: Office) -> None:
    old, second, third = own(office, "old", begins=-300), own(office, "second", begins=-9), own(office, "third")
    partner = know(office, "SLOW")
    first = await begin(office, second)
    account = await begin(office, third)
    assert account.renewal.previous == second.fingerprint
    superseded = office.ledger.renewals.get(first.renewal.id)
    assert (superseded.state, superseded.text) == (RenewalState.CANCELLED, "renewal 2 takes its place")
    confirm(office, partner, third)
    assert (await ended(office, account)).state is RenewalState.FINISHED
    assert slice_end(office, second) == slice_end(office, old) != slice_end(office, third)


@pytest_twisted.ensureDeferred
async def test_a_cancelled_one_is_still_kept_from_those_who_have_not_confirmed_it(
    office: Office, now: datetime
) -> None:
    own(office, "old", begins=-300)
    new = own(office, "new")
    having, other = know(office, "HAVING"), know(office, "OTHER")
    account = await begin(office, new)
    confirm(office, having, new)
    assert (await office.renewals.cancel(account.renewal.id)).renewal.state is RenewalState.CANCELLED
    assert list(office.renewals.concerns(now)) == []
    store = office.renewals._context.certificates
    used = [
        store.explain_own(Usage.SIGNATURE, station=OURS, now=now, partner_id=each.id).taken for each in (having, other)
    ]
    assert [str(each.facts.subject) for each in used if each] == ["CN=new", "CN=old"]
    with pytest.raises(OperatorError, match="has ended already: cancelled"):
        await office.renewals.cancel(account.renewal.id)
    again = await begin(office, new)
    confirm(office, other, new)
    assert (await ended(office, again)).state is RenewalState.FINISHED
    assert office.ledger.renewals.pending() == frozenset()


@pytest_twisted.ensureDeferred
async def test_a_renewal_ends_with_its_certificate(office: Office) -> None:
    own(office, "old", begins=-300)
    know(office, "SLOW")
    removed, inactive = own(office, "removed"), own(office, "inactive", begins=-2)
    accounts = [await begin(office, removed), await begin(office, inactive)]
    office.ledger.certificates.remove(removed.id)
    office.ledger.certificates.set_active(inactive.id, active=False)
    for account in accounts:
        renewal = await ended(office, account)
        assert (renewal.state, renewal.text) == (RenewalState.CANCELLED, "its certificate is not used any more")
    assert list(office.renewals.concerns(datetime.now(UTC))) == []


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_renewed_is_refused_with_what_to_do(office: Office, now: datetime) -> None:
    old, new = own(office, "old", begins=-300, ends=50), own(office, "new")
    know(office, "SLOW")
    for wrong, told in {
        (new, old, now - DAY): "is over",
        (new, old, now + 60 * DAY): "the former certificate old ends before that",
        (new, new, None): "new cannot follow itself",
        (own(office, "late", begins=-9, ends=-1), None, None): "late expired on",
    }.items():
        with pytest.raises(OperatorError, match=told):
            await office.renewals.begin(*wrong)
    assert office.ledger.renewals.list() == []
    await begin(office, new)
    with pytest.raises(OperatorError, match="renewal 1 offers new already"):
        await office.renewals.begin(new)
    office.ledger.certificates.set_active(old.id, active=False)
    switched_off = office.ledger.certificates.get(old.fingerprint)
    assert switched_off is not None
    with pytest.raises(OperatorError, match="old is switched off"):
        await office.renewals.begin(switched_off)
    with pytest.raises(RefusedError, match="renewal"):
        await office.ask("get", "/v1/renewals/7")


@pytest_twisted.ensureDeferred
async def test_a_successor_is_offered_by_itself_unless_it_vouches_only_for_itself_or_that_is_switched_off(
    office: Office,
) -> None:
    old, new = own(office, "old", begins=-300), own(office, "new")
    selfish = office.renewals._context.certificates.adopt(
        (made := pki.make(subject="CN=self")).key, made.certificate, alias="self", now=datetime.now(UTC), station=OURS
    )
    office.renewals.successor_came(old, selfish)
    off = Renewals(_with(office, offer_successors=False), office.exchange, nudge=lambda _: None, changed=lambda: None)
    off.successor_came(old, new)
    assert office.ledger.renewals.list() == []
    know(office, "SLOW")
    for _ in range(2):
        office.renewals.successor_came(old, new)
    assert [each.fingerprint for each in office.ledger.renewals.running()] == [new.fingerprint]


def _with(office: Office, **acx: Any) -> Context:
    context = office.renewals._context
    return replace(context, config=config.Config(home=office.home, acx=config.Acx(**acx)))


@pytest_twisted.ensureDeferred
async def test_it_is_warned_of_what_needs_a_hand_what_is_late_and_what_will_end(office: Office, now: datetime) -> None:
    old, new = own(office, "old", begins=-300, ends=50), own(office, "new")
    for name in ("A", "B", "C", "D"):
        know(office, name)
    account = await begin(office, new, old, now + DAY)
    (told,) = office.renewals.concerns(now)
    assert told.line == (
        "renewal 1: 4 partners are in need of you: O0013000009A, O0013000009B, O0013000009C and 1 more;"
        " see 'oftp2d exchange renewal 1'"
    )
    for days, why in (
        (2, f"4 partners are without new after {now + DAY:%Y-%m-%d}"),
        (40, "without new, and the former certificate ends on"),
        (60, "the former certificate has ended on"),
    ):
        (told,) = office.renewals.concerns(now + days * DAY)
        assert why in told.text
    confirm(office, office.ledger.partners.list()[0], new)
    assert concern(await office.renewals.account(account.renewal.id), now) != told


@pytest_twisted.ensureDeferred
async def test_a_partner_that_cannot_be_offered_it_keeps_no_other_from_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(office, "old", begins=-300)
    know(office, "ODD", acx=AcxMode.KNOWN)
    asked = []

    async def refuse(partner: Partner, *_: object) -> Any:
        asked.append(partner.code)
        raise OperatorError("no", "never")

    monkeypatch.setattr(office.exchange, "deliver", refuse)
    know(office, "OTHER", acx=AcxMode.KNOWN)
    account = await begin(office, own(office, "new"))
    assert set(asked) == {"O0013000009ODD", "O0013000009OTHER"}
    assert account.progress.counts[Stage.WAITING] == 2


@pytest_twisted.ensureDeferred
async def test_what_is_cancelled_while_it_is_offered_is_offered_to_nobody_else(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(office, "old", begins=-300)
    for name in ("ONE", "TWO", "THREE"):
        know(office, name, acx=AcxMode.KNOWN)
    asked = []

    async def deliver(partner: Partner, *_: object) -> Any:
        asked.append(partner.code)
        (running,) = office.ledger.renewals.running()
        await office.renewals.cancel(running.id)
        raise OperatorError("no", "never")

    monkeypatch.setattr(office.exchange, "deliver", deliver)
    account = await begin(office, own(office, "new"))
    assert len(asked) == 1
    assert account.renewal.state is RenewalState.CANCELLED


@pytest_twisted.ensureDeferred
async def test_what_is_cancelled_in_the_moment_of_its_end_leaves_the_former_one_as_it_is(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = own(office, "old", begins=-300), own(office, "new")
    end = office.renewals._end

    def too_late(account: Account) -> str | None:
        office.renewals._cancel(account.renewal.id)
        return end(account)

    monkeypatch.setattr(office.renewals, "_end", too_late)
    account = await begin(office, new)
    assert account.renewal.state is RenewalState.CANCELLED
    assert slice_end(office, old) is None
