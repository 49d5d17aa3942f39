"""Our copies of trust lists and revocation lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from oftp2d.ledger import Ledger, RevocationListRecord, TrustListRecord

URL = "http://www.odette.org/TSL/TSL_OFTP2.XML"


def test_a_trust_list_is_kept_under_its_url_and_replaced_there(ledger: Ledger, now: datetime) -> None:
    record = TrustListRecord(
        url=URL,
        name="Odette",
        sequence=7,
        issued_at=now,
        next_update=now + timedelta(days=180),
        signer="ab" * 32,
        stamp="2026-03-04",
        content=b"<xml/>",
        read_at=now,
        tried_at=now,
    )
    ledger.trust_lists.save(record)
    assert ledger.trust_lists.get(URL) == record
    newer = replace(record, sequence=8, content=b"<newer/>")
    ledger.trust_lists.save(newer)
    assert ledger.trust_lists.get(URL) == newer
    assert ledger.trust_lists.list() == [replace(newer, content=None)], "a listing leaves the contents out"
    ledger.trust_lists.remove(URL)
    assert ledger.trust_lists.get(URL) is None


def test_a_list_that_cannot_be_read_keeps_what_was_read_before(ledger: Ledger, now: datetime) -> None:
    later = now + timedelta(days=1)
    ledger.revocation_lists.failed(URL, "no answer", now)
    assert ledger.revocation_lists.get(URL) == RevocationListRecord(url=URL, tried_at=now, error="no answer")
    record = RevocationListRecord(
        url=URL, content=b"CRL", issuer="cd" * 32, number=str(2**150), this_update=now, read_at=now, tried_at=now
    )
    ledger.revocation_lists.save(record)
    ledger.revocation_lists.failed(URL, "404", later)
    assert ledger.revocation_lists.get(URL) == replace(record, tried_at=later, error="404")
    assert ledger.trust_lists.list() == []
