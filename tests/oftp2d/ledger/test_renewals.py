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
