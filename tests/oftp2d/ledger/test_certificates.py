"""The rows of the certificate store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2.certs.usages import Usage
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Holder,
    Ledger,
    NewAnnouncement,
    NewPendingKey,
    Partner,
    Retirement,
    Slot,
    UnknownError,
)

BOTH = frozenset({Usage.SIGNATURE, Usage.ENCRYPTION})
SIGNATURE = frozenset({Usage.SIGNATURE})
ENCRYPTION = frozenset({Usage.ENCRYPTION})


def _places(ledger: Ledger) -> set[tuple[str, Slot, frozenset[Usage]]]:
    return {(entry.fingerprint[:2], entry.slot, entry.usages) for entry in ledger.certificates.list()}


def test_an_entry_comes_back_as_it_was_given(ledger: Ledger, files: Any, now: datetime) -> None:
    new = files.certificate("01", private_key=b"sealed", slice_from=now)
    stored = ledger.certificates.add(new, now)
    assert ledger.certificates.get(new.fingerprint) == stored
    assert ledger.certificates.get(new.fingerprint, holder=Holder.PARTNER) is None
    assert (stored.der, stored.usages, stored.private_key, stored.slice_from) == (b"DER", BOTH, b"sealed", now)
    assert "sealed" not in repr(stored)


def test_the_same_certificate_is_stored_once_with_all_its_usages(ledger: Ledger, files: Any, now: datetime) -> None:
    first = ledger.certificates.add(files.certificate("01", usages=SIGNATURE), now)
    again = ledger.certificates.add(files.certificate("01", usages=ENCRYPTION, private_key=b"sealed"), now)
    assert (again.id, again.usages, again.private_key) == (first.id, BOTH, b"sealed")
    assert len(ledger.certificates.list()) == 1


def test_the_same_certificate_may_belong_to_two_partners(
    ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime
) -> None:
    for one in (partner, other):
        ledger.certificates.add(files.certificate("01", holder=Holder.PARTNER, partner_id=one.id), now)
    assert [entry.partner_id for entry in ledger.certificates.list(Holder.PARTNER)] == [partner.id, other.id]
    assert len(ledger.certificates.list(partner_id=other.id, limit=1)) == 1


def test_what_is_withdrawn_is_so_from_the_moment_that_was_first_said(ledger: Ledger, files: Any, now: datetime) -> None:
    def withdraw(usages: frozenset[Usage], at: datetime | None = None) -> None:
        retirement = Retirement(certificate_id=1, slot=Slot.WITHDRAWN, usages=usages, at=at)
        ledger.certificates.replace_in_slots(files.certificate("02"), [retirement], now)

    ledger.certificates.add(files.certificate("01"), now)
    withdraw(SIGNATURE, now - timedelta(seconds=2))
    withdraw(ENCRYPTION)
    stored = next(entry for entry in ledger.certificates.list() if entry.slot is Slot.WITHDRAWN)
    assert (stored.usages, stored.withdrawn_at) == (BOTH, now - timedelta(seconds=2))
    assert ledger.certificates.set_slot(stored.id, Slot.CURRENT, now).withdrawn_at is None
    assert ledger.certificates.set_slot(stored.id, Slot.WITHDRAWN, now).withdrawn_at == now
    assert ledger.certificates.list()[-1].withdrawn_at is None


def test_of_each_usage_the_oldest_previous_certificate_goes_when_there_are_more_than_five(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    def theirs(number: int, **more: Any) -> Any:
        begins = now + timedelta(days=number)
        return files.certificate(
            f"{number:02}", holder=Holder.PARTNER, partner_id=partner.id, station="THEM", valid_from=begins, **more
        )

    for number in range(6):
        usages = SIGNATURE if number in {1, 5} else BOTH
        ledger.certificates.add(theirs(number, usages=usages, slot=Slot.PREVIOUS), now)
    other_station = theirs(9, slot=Slot.PREVIOUS)
    ledger.certificates.add(replace(other_station, station="ELSEWHERE"), now)
    current = ledger.certificates.add(theirs(6), now)
    retire = Retirement(certificate_id=current.id, slot=Slot.PREVIOUS)
    ledger.certificates.accept(partner.id, theirs(7), [retire], now)
    previous = {each for each in _places(ledger) if each[1] is Slot.PREVIOUS}
    assert {(name, usages) for name, _, usages in previous} == {
        ("00", ENCRYPTION),
        ("02", BOTH),
        ("03", BOTH),
        ("04", BOTH),
        ("05", SIGNATURE),
        ("06", BOTH),
        ("09", BOTH),
    }
    told = {each.fingerprint and each.fingerprint[:2]: each.detail["usages"] for each in ledger.audit.list()}
    assert told == {"00": "signature", "01": "signature"}


def test_a_successor_takes_all_slots_of_its_predecessor(ledger: Ledger, files: Any, now: datetime) -> None:
    old = ledger.certificates.add(files.certificate("01"), now)
    retire = Retirement(certificate_id=old.id, slot=Slot.PREVIOUS)
    ledger.certificates.replace_in_slots(files.certificate("02"), [retire], now)
    assert _places(ledger) == {("01", Slot.PREVIOUS, BOTH), ("02", Slot.CURRENT, BOTH)}
    assert ledger.certificates.list()[0].id == old.id


def test_a_successor_for_some_usages_leaves_the_others_alone(ledger: Ledger, files: Any, now: datetime) -> None:
    old = ledger.certificates.add(files.certificate("01"), now)
    retire = Retirement(certificate_id=old.id, slot=Slot.PREVIOUS, usages=SIGNATURE)
    ledger.certificates.replace_in_slots(files.certificate("02", usages=SIGNATURE), [retire], now)
    assert _places(ledger) == {
        ("01", Slot.CURRENT, ENCRYPTION),
        ("01", Slot.PREVIOUS, SIGNATURE),
        ("02", Slot.CURRENT, SIGNATURE),
    }


def test_a_second_partial_retirement_joins_the_first(ledger: Ledger, files: Any, now: datetime) -> None:
    old = ledger.certificates.add(files.certificate("01"), now)
    for usages in (SIGNATURE, SIGNATURE, ENCRYPTION):
        retire = Retirement(certificate_id=old.id, slot=Slot.PREVIOUS, usages=usages)
        ledger.certificates.replace_in_slots(files.certificate("02", usages=usages), [retire], now)
    assert _places(ledger) == {("01", Slot.PREVIOUS, BOTH), ("02", Slot.CURRENT, BOTH)}


def test_a_withdrawn_certificate_that_is_delivered_again_is_current_again(
    ledger: Ledger, files: Any, now: datetime
) -> None:
    old = ledger.certificates.add(files.certificate("01"), now)
    assert ledger.certificates.set_slot(old.id, Slot.WITHDRAWN, now).slot is Slot.WITHDRAWN
    ledger.certificates.add(files.certificate("01"), now)
    assert _places(ledger) == {("01", Slot.CURRENT, BOTH)}


def test_nothing_is_replaced_when_a_part_of_it_fails(ledger: Ledger, files: Any, now: datetime) -> None:
    old = ledger.certificates.add(files.certificate("01"), now)
    retire = [
        Retirement(certificate_id=old.id, slot=Slot.PREVIOUS),
        Retirement(certificate_id=99, slot=Slot.PREVIOUS),
    ]
    with pytest.raises(UnknownError, match="there is no certificate 99"):
        ledger.certificates.replace_in_slots(files.certificate("02"), retire, now)
    assert _places(ledger) == {("01", Slot.CURRENT, BOTH)}


def test_an_entry_is_switched_off_sliced_and_removed(ledger: Ledger, files: Any, now: datetime) -> None:
    entry = ledger.certificates.add(files.certificate("01"), now)
    assert not ledger.certificates.set_active(entry.id, active=False).active
    assert ledger.certificates.set_slice(entry.id, None, now).slice_until == now
    ledger.certificates.remove(entry.id)
    assert ledger.certificates.list() == []
    for verb in (ledger.certificates.remove, lambda key: ledger.certificates.set_active(key, active=True)):
        with pytest.raises(UnknownError):
            verb(entry.id)


def test_a_pending_key_moves_into_its_certificate(ledger: Ledger, files: Any, now: datetime) -> None:
    new = NewPendingKey(alias="2026", station="O0055US", private_key=b"sealed", csr_pem=b"CSR", spki_fingerprint="aa")
    pending = ledger.certificates.add_pending(new, now)
    assert "sealed" not in repr(pending)
    with pytest.raises(OperatorError, match="waits for its certificate already"):
        ledger.certificates.add_pending(new, now)
    assert ledger.certificates.pending() == [pending]
    assert ledger.certificates.find_pending("aa") == pending
    certificate = files.certificate("01", private_key=pending.private_key)
    ledger.certificates.add(certificate, now, pending_key_id=pending.id)
    assert ledger.certificates.pending() == []
    assert ledger.certificates.find_pending("aa") is ledger.certificates.take_pending("aa") is None


def test_a_pending_key_is_taken_once(ledger: Ledger, now: datetime) -> None:
    new = NewPendingKey(alias="a", station="O0055US", private_key=b"", csr_pem=b"", spki_fingerprint="aa")
    pending = ledger.certificates.add_pending(new, now)
    assert [ledger.certificates.take_pending("aa") for _ in range(2)] == [pending, None]


def test_an_announcement_is_fulfilled_or_withdrawn(
    ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime
) -> None:
    new = NewAnnouncement(
        partner_id=partner.id,
        common_name="oftp.example",
        key_usages=frozenset({"digitalSignature", "keyEncipherment"}),
        usages=BOTH,
    )
    announced = ledger.certificates.announce(new, now)
    assert ledger.certificates.announcements(partner.id) == [announced]
    assert (announced.key_usages, announced.usages, announced.fulfilled_by) == (new.key_usages, BOTH, None)
    assert ledger.certificates.announcements(other.id) == []
    accepted = ledger.certificates.accept(partner.id, files.certificate("01"), [], now, announcement_id=announced.id)
    assert (accepted.holder, accepted.partner_id) == (Holder.PARTNER, partner.id)
    assert ledger.certificates.announcements()[0].fulfilled_by == accepted.fingerprint
    ledger.certificates.withdraw_announcement(announced.id)
    for verb in (ledger.certificates.withdraw_announcement, lambda key: ledger.certificates.fulfil(key, "aa")):
        with pytest.raises(UnknownError, match="there is no announcement"):
            verb(announced.id)


def test_the_first_confirmation_stays(ledger: Ledger, partner: Partner, now: datetime) -> None:
    for how in ("EERP", "manual"):
        ledger.certificates.confirm(partner.id, "aa", now, how)
    assert ledger.certificates.confirmed(partner.id) == {"aa"}
    assert [confirmation.how for confirmation in ledger.certificates.confirmations(partner.id)] == ["EERP"]
