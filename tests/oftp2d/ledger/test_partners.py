"""Stations and partners."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AcxMode,
    Authentication,
    Holder,
    Ledger,
    NewAnnouncement,
    NewPartner,
    NewReceipt,
    Partner,
    ReceiptKind,
    Station,
    Transfer,
    Transport,
    UnknownError,
)

LEASE = timedelta(seconds=60)


def test_there_is_always_exactly_one_main_station(url: str) -> None:
    ledger = Ledger.open(url)
    assert ledger.stations.main() is None
    assert ledger.stations.add(Station(code="A", name="", main=False)).main
    ledger.stations.add(Station(code="B", name="", main=False))
    ledger.stations.add(Station(code="C", name="", main=True))
    assert [(station.code, station.main) for station in ledger.stations.list()] == [
        ("C", True),
        ("A", False),
        ("B", False),
    ]
    assert ledger.stations.main() == ledger.stations.get("C")
    assert ledger.stations.get("D") is None
    with pytest.raises(OperatorError, match="there is a station B already"):
        ledger.stations.add(Station(code="B", name="", main=True))
    ledger.close()


def test_a_partner_comes_back_as_it_was_given(ledger: Ledger, now: datetime) -> None:
    new = NewPartner(
        code="O0055THEM",
        name="theirs",
        station="O0055US",
        sub_stations=("S2", "S1"),
        host="oftp.example",
        transport=Transport.TCP,
        password_ours=b"sealed",
        acx=AcxMode.KNOWN,
        authentication=Authentication.PREPARED,
        call_every=600,
    )
    added = ledger.partners.add(new, now)
    assert ledger.partners.get(added.id) == ledger.partners.by_code("O0055THEM") == added
    assert (added.sub_stations, added.password_ours, added.created_at) == (("S1", "S2"), b"sealed", now)
    assert "sealed" not in repr(added)


def test_a_partner_is_found_by_all_its_codes(ledger: Ledger, partner: Partner) -> None:
    assert ledger.partners.by_station("O0055SUB") == ledger.partners.by_station("O0055THEM") == partner
    assert ledger.partners.by_code("O0055SUB") is None
    assert ledger.partners.by_station("O0055NONE") is None


@pytest.mark.parametrize(
    ("code", "sub_stations"), [("O0055THEM", ()), ("O0055SUB", ()), ("NEW", ("O0055SUB",)), ("NEW", ("O0055THEM",))]
)
def test_one_code_leads_to_one_partner(
    ledger: Ledger, partner: Partner, now: datetime, code: str, sub_stations: tuple[str, ...]
) -> None:
    with pytest.raises(OperatorError, match="belongs to a partner already"):
        ledger.partners.add(NewPartner(code=code, name="", station="O0055US", sub_stations=sub_stations), now)
    assert ledger.partners.list() == [partner]


def test_a_partner_needs_a_station_of_ours(ledger: Ledger, partner: Partner, now: datetime) -> None:
    with pytest.raises(OperatorError, match="NOWHERE is none of our stations"):
        ledger.partners.add(NewPartner(code="NEW", name="", station="NOWHERE"), now)
    with pytest.raises(OperatorError, match="NOWHERE is none of our stations"):
        ledger.partners.change(partner.id, station="NOWHERE")


def test_a_partner_is_changed_field_by_field(ledger: Ledger, partner: Partner, other: Partner) -> None:
    changed = ledger.partners.change(partner.id, port=3305, sub_stations=("S9",), host="oftp.example")
    assert (changed.port, changed.sub_stations, changed.host) == (3305, ("S9",), "oftp.example")
    assert ledger.partners.change(partner.id) == ledger.partners.get(partner.id) == changed
    assert ledger.partners.by_station("O0055SUB") is None
    with pytest.raises(OperatorError, match="S9 belongs to a partner"):
        ledger.partners.change(other.id, code="S9")
    with pytest.raises(UnknownError, match="there is no partner 99"):
        ledger.partners.change(99, port=1)


def test_the_latch_closes_once(ledger: Ledger, partner: Partner, now: datetime) -> None:
    assert not ledger.partners.latch(partner.id, now)
    ledger.partners.change(partner.id, authentication=Authentication.PREPARED)
    assert [ledger.partners.latch(partner.id, now) for _ in range(2)] == [True, False]
    assert ledger.partners.get(partner.id).authentication is Authentication.ON


def test_calls_are_remembered_and_scheduled(ledger: Ledger, partner: Partner, now: datetime) -> None:
    for _ in range(2):
        ledger.partners.call_failed(partner.id, now, "connection refused", now + timedelta(seconds=30))
    failed = ledger.partners.get(partner.id)
    assert (failed.call_failures, failed.last_error) == (2, "connection refused")
    assert ledger.partners.due(now) == []
    assert ledger.partners.due(now + timedelta(seconds=30)) == [failed]
    ledger.partners.call_made(partner.id, now)
    made = ledger.partners.get(partner.id)
    assert (made.call_failures, made.last_error, made.next_call_at) == (0, None, None)
    ledger.partners.change(partner.id, call_every=600)
    ledger.partners.call_made(partner.id, now)
    assert ledger.partners.get(partner.id).next_call_at == now + timedelta(seconds=600)


def test_a_partner_with_unfinished_business_stays(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    queued = ledger.transfers.queue(files.outgoing(partner), now)
    with pytest.raises(OperatorError, match="1 unfinished"):
        ledger.partners.remove(partner.id, now)
    ledger.transfers.cancel(queued.id, now)
    received = ledger.transfers.open_incoming(files.incoming(partner), now, "session-1", LEASE)
    assert isinstance(received, Transfer)
    receipt = NewReceipt(kind=ReceiptKind.EERP)
    ledger.transfers.received_and_delivered(received.id, 5, "", "inbox1", now, receipt=receipt)
    with pytest.raises(OperatorError, match="1 unfinished"):
        ledger.partners.remove(partner.id, now)


def test_a_removed_partner_leaves_its_history_and_its_code(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    ledger.partners.change(partner.id, password_ours=b"sealed")
    cancelled = ledger.transfers.cancel(ledger.transfers.queue(files.outgoing(partner), now).id, now)
    ledger.certificates.announce(NewAnnouncement(partner_id=partner.id, usages=frozenset()), now)
    ledger.certificates.add(files.certificate(holder=Holder.PARTNER, partner_id=partner.id), now)
    ledger.partners.remove(partner.id, now)
    assert ledger.partners.list() == []
    assert ledger.partners.by_station("O0055SUB") is ledger.partners.by_code("O0055THEM") is None
    assert ledger.partners.get(cancelled.partner_id).password_ours == b""
    assert ledger.certificates.list(partner_id=partner.id) == ledger.certificates.announcements() == []
    again = ledger.partners.add(NewPartner(code="O0055THEM", name="", station="O0055US"), now)
    assert again.id != partner.id
