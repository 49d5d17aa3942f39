"""Renewals: who takes part, which message each got, and how one ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2d.ledger import (
    ExchangeMessage,
    Kind,
    Ledger,
    NewRenewal,
    Partner,
    RenewalPartner,
    RenewalState,
    Reply,
    TransferState,
    UnknownError,
)

NEW = "ab" * 32


def test_a_renewal_is_kept_with_its_partners_until_it_ends(
    ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime
) -> None:
    new = NewRenewal(fingerprint=NEW, previous="cd" * 32, station="O0055US", until=now + timedelta(days=7))
    by_hand = RenewalPartner(partner_id=other.id, by_hand=True, text="the certificate exchange is off")
    begun = ledger.renewals.begin(new, [RenewalPartner(partner_id=partner.id), by_hand], now)
    assert (begun.state, begun.started_at, begun.ended_at) == (RenewalState.RUNNING, now, None)
    assert (begun.until, begun.previous) == (new.until, new.previous)
    assert begun.partners == (RenewalPartner(partner_id=partner.id), by_hand)
    offer = Reply(
        file=files.outgoing(partner, "ODETTE_CERTIFICATE_DELIVER", Kind.EXCHANGE),
        message=ExchangeMessage.DELIVER,
        fingerprint=NEW,
        renewal_id=begun.id,
    )
    _, record = ledger.exchanges.queue(offer, now)
    ledger.renewals.attach(begun.id, partner.id, record.id)
    (running,) = ledger.renewals.running()
    assert (running.partners[0].exchange_id, record.renewal_id) == (record.id, begun.id)
    later = now + timedelta(days=1)
    ended = ledger.renewals.end(begun.id, RenewalState.FINISHED, "all have it", later)
    assert (ended.state, ended.text, ended.ended_at) == (RenewalState.FINISHED, "all have it", later)
    assert ledger.renewals.end(begun.id, RenewalState.CANCELLED, "too late", later) == ended, "it has ended once"
    assert ledger.renewals.running() == []


def test_renewals_are_listed_youngest_first_in_pages(ledger: Ledger, now: datetime) -> None:
    begun = [ledger.renewals.begin(NewRenewal(fingerprint=NEW, station="O0055US"), [], now) for _ in range(3)]
    ids = [each.id for each in begun]
    assert [each.id for each in ledger.renewals.list(2)] == [ids[2], ids[1]]
    assert [each.id for each in ledger.renewals.list(2, before=ids[1])] == [ids[0]]
    assert ledger.renewals.get(ids[0]).partners == ()


def test_a_renewal_or_a_partner_of_it_that_is_not_there_is_said(
    ledger: Ledger, partner: Partner, now: datetime
) -> None:
    with pytest.raises(UnknownError, match="renewal"):
        ledger.renewals.get(7)
    with pytest.raises(UnknownError, match="renewal"):
        ledger.renewals.end(7, RenewalState.FINISHED, "", now)
    begun = ledger.renewals.begin(NewRenewal(fingerprint=NEW, station="O0055US"), [], now)
    with pytest.raises(UnknownError, match="partner of the renewal"):
        ledger.renewals.attach(begun.id, partner.id, 1)


def test_what_partners_have_done_follows_from_confirmations_and_messages(
    ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime
) -> None:
    def offer(minute: int) -> int:
        reply = Reply(
            file=files.outgoing(partner, "ODETTE_CERTIFICATE_DELIVER", Kind.EXCHANGE),
            message=ExchangeMessage.DELIVER,
            fingerprint=NEW,
        )
        return ledger.exchanges.queue(reply, now + timedelta(minutes=minute))[1].id

    refused = offer(0)
    record = ledger.exchanges.list()[0]
    ledger.transfers.cancel(record.transfer_id, now)
    begun = ledger.renewals.begin(
        NewRenewal(fingerprint=NEW, station="O0055US"),
        [RenewalPartner(partner_id=partner.id)],
        now + timedelta(minutes=1),
    )
    (alone,) = ledger.renewals.parts(begun)
    assert alone.partner == partner
    assert alone.message is not None, "it was not answered, and may still be"
    assert (alone.message.id, alone.transfer, alone.confirmation) == (refused, TransferState.CANCELLED, None)
    offered = offer(2)
    ledger.renewals.join(begun.id, RenewalPartner(partner_id=other.id))
    ledger.certificates.confirm(other.id, NEW, now, "manual")
    parts = {part.partner.id: part for part in ledger.renewals.parts(ledger.renewals.get(begun.id))}
    message, confirmation = parts[partner.id].message, parts[other.id].confirmation
    assert message is not None
    assert (message.id, parts[partner.id].transfer) == (offered, TransferState.QUEUED)
    assert confirmation is not None
    assert (confirmation.how, parts[other.id].message) == ("manual", None)
    assert ledger.renewals.outstanding(begun) == 1
    assert ledger.certificates.confirmed_by(NEW) == {other.id}


def test_partners_that_are_switched_off_or_removed_are_not_waited_for(
    ledger: Ledger, partner: Partner, other: Partner, now: datetime
) -> None:
    taking_part = [RenewalPartner(partner_id=each.id) for each in (partner, other)]
    begun = ledger.renewals.begin(NewRenewal(fingerprint=NEW, station="O0055US"), taking_part, now)
    assert ledger.renewals.outstanding(begun) == 2
    ledger.partners.change(other.id, active=False)
    assert (ledger.renewals.outstanding(begun), len(ledger.renewals.parts(begun))) == (1, 2)
    ledger.partners.remove(partner.id, now)
    assert ledger.renewals.outstanding(begun) == 0
    assert [part.partner.id for part in ledger.renewals.parts(begun)] == [other.id]


def test_a_certificate_is_pending_until_its_last_renewal_is_finished(ledger: Ledger, now: datetime) -> None:
    first = ledger.renewals.begin(NewRenewal(fingerprint=NEW, station="O0055US"), [], now)
    assert ledger.renewals.pending() == {NEW}
    ledger.renewals.end(first.id, RenewalState.CANCELLED, "", now)
    assert ledger.renewals.pending() == {NEW}
    second = ledger.renewals.begin(NewRenewal(fingerprint=NEW, station="O0055US"), [], now)
    ledger.renewals.end(second.id, RenewalState.FINISHED, "", now)
    assert ledger.renewals.pending() == frozenset()
