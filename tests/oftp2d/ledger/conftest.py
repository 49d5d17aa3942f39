"""A real ledger on a real file, with one station and two partners."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oftp2.certs.usages import Usage
from oftp2d.ledger import (
    Holder,
    Kind,
    Ledger,
    NewCertificate,
    NewIncoming,
    NewOutgoing,
    NewPartner,
    Partner,
    Station,
)

NOW = datetime(2026, 3, 4, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger.open(url)
    ledger.stations.add(Station(code="O0055US", name="ours", main=True))
    yield ledger
    ledger.close()


@pytest.fixture
def partner(ledger: Ledger) -> Partner:
    new = NewPartner(code="O0055THEM", name="theirs", station="O0055US", sub_stations=("O0055SUB",))
    return ledger.partners.add(new, NOW)


@pytest.fixture
def other(ledger: Ledger) -> Partner:
    return ledger.partners.add(NewPartner(code="O0055ELSE", name="others", station="O0055US"), NOW)


class Files:
    """Files and certificates, with everything that does not matter filled in."""

    @staticmethod
    def outgoing(partner: Partner, dataset: str = "INVOICE", kind: Kind = Kind.FILE) -> NewOutgoing:
        return NewOutgoing(
            kind=kind,
            partner_id=partner.id,
            dataset=dataset,
            originator="O0055US",
            destination=partner.code,
            octets=5,
            spool_name=f"{dataset.lower()}1",
        )

    @staticmethod
    def incoming(partner: Partner, dataset: str = "ORDER", kind: Kind = Kind.FILE) -> NewIncoming:
        return NewIncoming(
            kind=kind,
            partner_id=partner.id,
            dataset=dataset,
            date="20260304",
            time="1230150001",
            originator=partner.code,
            destination="O0055US",
            octets=1024,
        )

    @staticmethod
    def certificate(mark: str = "01", **changes: Any) -> NewCertificate:
        values: dict[str, Any] = {
            "fingerprint": mark * 32,
            "der": b"DER",
            "holder": Holder.OWN,
            "alias": mark,
            "usages": frozenset({Usage.SIGNATURE, Usage.ENCRYPTION}),
            "valid_from": NOW,
            "valid_until": NOW + timedelta(days=365),
        }
        return NewCertificate(**(values | changes))


@pytest.fixture
def files() -> type[Files]:
    return Files
