"""Our own stations: which is the main one, and which may go."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Ledger,
    NewPartner,
    NewPendingKey,
    NewReceipt,
    Partner,
    ReceiptKind,
    Station,
    Transfer,
    UnknownError,
)

PLANT = "O0055PLANT"


@pytest.fixture
def plant(ledger: Ledger) -> Station:
    return ledger.stations.add(Station(code=PLANT, name="the plant", main=False))


def test_another_station_becomes_the_main_one_and_there_is_always_one(ledger: Ledger, plant: Station) -> None:
    assert ledger.stations.set_main(PLANT).main
    assert [(each.code, each.main) for each in ledger.stations.list()] == [(PLANT, True), ("O0055US", False)]
    assert ledger.stations.set_main(PLANT).main
    with pytest.raises(UnknownError):
        ledger.stations.set_main("O0055NOBODY")
    assert ledger.stations.main() == ledger.stations.get(PLANT)


def test_a_station_that_nothing_needs_can_be_removed(ledger: Ledger, plant: Station) -> None:
    assert ledger.stations.remove(PLANT) == plant
    assert ledger.stations.get(PLANT) is None
    with pytest.raises(UnknownError):
        ledger.stations.remove(PLANT)


def test_the_main_station_stays_until_another_one_is_that(ledger: Ledger, plant: Station) -> None:
    with pytest.raises(OperatorError, match="O0055US is the main station") as refused:
        ledger.stations.remove("O0055US")
    assert "oftp2d station main" in refused.value.advice
    ledger.stations.set_main(PLANT)
    ledger.stations.remove("O0055US")
    assert [each.code for each in ledger.stations.list()] == [PLANT]


def test_a_station_that_partners_know_us_by_stays(ledger: Ledger, plant: Station, now: datetime) -> None:
    added = [ledger.partners.add(NewPartner(code=code, name=code, station=PLANT), now) for code in ("O0055B", "O0055A")]
    with pytest.raises(OperatorError, match="in use: it is our code towards O0055A and 1 more:"):
        ledger.stations.remove(PLANT)
    ledger.partners.remove(added[0].id, now)
    ledger.partners.change(added[1].id, station="O0055US")
    ledger.stations.remove(PLANT)
    assert ledger.partners.get(added[0].id).station == "O0055US", "one that is gone keeps its place in the history"


def test_a_station_with_a_certificate_or_a_request_for_one_stays(
    ledger: Ledger, plant: Station, files: Any, now: datetime
) -> None:
    ledger.certificates.add(files.certificate(station=PLANT, alias="plant-2027"), now)
    key = NewPendingKey(
        alias="plant-2028", station=PLANT, private_key=b"sealed", csr_pem=b"PEM", spki_fingerprint="01" * 32
    )
    ledger.certificates.add_pending(key, now)
    with pytest.raises(OperatorError, match="in use: certificate plant-2027; the request for certificate plant-2028:"):
        ledger.stations.remove(PLANT)


def test_a_station_with_files_on_their_way_stays(
    ledger: Ledger, plant: Station, partner: Partner, files: Any, now: datetime
) -> None:
    from dataclasses import replace

    sent = ledger.transfers.queue(replace(files.outgoing(partner), originator=PLANT), now)
    coming = ledger.transfers.open_incoming(
        replace(files.incoming(partner), destination=PLANT), now, "session-1", timedelta(minutes=1)
    )
    assert isinstance(coming, Transfer)
    first, _ = sorted((sent.id, coming.id))
    with pytest.raises(OperatorError, match=f"in use: unfinished transfer {first} and 1 more:"):
        ledger.stations.remove(PLANT)
    ledger.transfers.cancel(sent.id, now)
    ledger.transfers.received_and_delivered(
        coming.id, 1, "00" * 32, "name", now, receipt=NewReceipt(kind=ReceiptKind.EERP)
    )
    with pytest.raises(OperatorError, match=f"in use: the end response that is owed for transfer {coming.id}:"):
        ledger.stations.remove(PLANT)
    receipt = ledger.receipts.get(coming.id)
    assert receipt is not None
    ledger.receipts.sent([receipt.id], now)
    ledger.stations.remove(PLANT)
