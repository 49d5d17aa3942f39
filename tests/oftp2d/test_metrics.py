"""Numbers for monitoring, and what an administrator should look after."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.logger import globalLogPublisher

from oftp2.certs.usages import Usage
from oftp2d.gauges import of_ledger
from oftp2d.ledger import (
    ExchangeMessage,
    Holder,
    Kind,
    Ledger,
    NewCertificate,
    NewOutgoing,
    NewPartner,
    NewRenewal,
    Reply,
    RevocationListRecord,
    Station,
)
from oftp2d.metrics import Gauge, Metrics
from oftp2d.outlook import Outlook, of_certificates
from oftp2d.planning import Concern
from oftp2d.workers import Workers
from tests import pki

OURS, THEIRS = "O0013000002TESTB", 'O0013000001"A'
NOW = pki.NOW


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every number by its name and the values of its labels, in the order of their names."""
    found = [each for family in text_string_to_metric_families(text.decode()) for each in family.samples]
    return {(each.name, *(each.labels[label] for label in sorted(each.labels))): each.value for each in found}


def furnished(url: str) -> Ledger:
    ledger = Ledger.open(url)
    ledger.stations.add(Station(code=OURS, name="us", main=True))
    partner = ledger.partners.add(NewPartner(code="O0013000001TESTA0", name="them", station=OURS), NOW)
    new = NewCertificate(
        fingerprint="ab" * 32,
        der=b"",
        holder=Holder.OWN,
        station=OURS,
        alias="ours",
        usages=frozenset(Usage),
        valid_from=NOW - timedelta(days=300),
        valid_until=NOW + timedelta(days=45, hours=12),
    )
    ledger.certificates.add(new, NOW)
    file = NewOutgoing(
        kind=Kind.EXCHANGE,
        partner_id=partner.id,
        dataset="ODETTE_CERTIFICATE_DELIVER",
        originator=OURS,
        destination=partner.code,
        octets=1,
        spool_name="x",
    )
    ledger.exchanges.queue(Reply(file=file, message=ExchangeMessage.DELIVER, fingerprint=new.fingerprint), NOW)
    ledger.renewals.begin(NewRenewal(fingerprint=new.fingerprint, station=OURS), [], NOW)
    ledger.revocation_lists.save(RevocationListRecord(url="http://crl.read", read_at=NOW - timedelta(hours=1)))
    ledger.revocation_lists.save(RevocationListRecord(url="http://crl", error="never read"))
    return ledger


def test_the_numbers_of_the_ledger_are_told_to_monitoring(tmp_path: Path) -> None:
    ledger = furnished(f"sqlite:///{tmp_path / 'ledger.db'}")
    metrics = Metrics()
    metrics.add(lambda now: of_ledger(ledger, now))
    found = samples(metrics.text(NOW))
    ledger.close()
    assert found["oftp2d_certificate_days_to_expiry", "ours", "ab" * 8, "own", "", OURS] == 45.5
    assert found["oftp2d_exchange_unanswered", "O0013000001TESTA0"] == 1
    assert found["oftp2d_renewals_running",] == 1
    assert found["oftp2d_revocation_list_age_seconds", "http://crl.read"] == 3600
    assert found["oftp2d_transfers", "queued"] == 1
    assert found["oftp2d_end_responses_owed",] == 0
    assert ("oftp2d_revocation_list_age_seconds", "http://crl") not in found
    assert not [key for key in found if key[0] == "oftp2d_exchange_held"]


def test_numbers_are_read_each_time_and_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.add(lambda now: [Gauge(name="one", help="a\nb", labels=("who",), values={(THEIRS,): now.year})])
    assert samples(metrics.text(datetime(2026, 1, 1, tzinfo=NOW.tzinfo))) == {("one", THEIRS): 2026}
    assert samples(metrics.text(datetime(2027, 1, 1, tzinfo=NOW.tzinfo))) == {("one", THEIRS): 2027}


@pytest_twisted.ensureDeferred
async def test_what_is_to_be_looked_after_is_logged_once_in_each_step(tmp_path: Path) -> None:
    from twisted.internet import reactor

    logged: list[str] = []
    now = NOW
    workers = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    workers.start()
    ledger = await workers.database(furnished, f"sqlite:///{tmp_path / 'ledger.db'}")
    outlook = Outlook(workers, lambda: now)
    outlook.add(lambda instant: of_certificates(ledger, instant))
    outlook.add(lambda instant: [Concern(key="other", text="another room", advice="look", at=instant)])

    def observe(event: dict[str, object]) -> None:
        if event.get("log_source") is outlook:
            logged.append(str(event["what"]))

    globalLogPublisher.addObserver(observe)
    try:
        for days in (0, 1, 20, 21):
            now = NOW + timedelta(days=days)
            await outlook.look()
    finally:
        globalLogPublisher.removeObserver(observe)
        await workers.stop()
        ledger.close()
    ends = f"the own certificate ours ends on {NOW + timedelta(days=45, hours=12):%Y-%m-%d}"
    assert logged == [f"{ends} (in 45 days)", "another room", f"{ends} (in 25 days)"]
    assert outlook.lines == (
        f"{ends} (in 24 days); get its successor with 'oftp2d cert generate'",
        "another room; look",
    )
    outlook.tell(lambda: ["a room that logs by itself; look there"])
    assert outlook.lines[2:] == ("a room that logs by itself; look there",)
    (gauge,) = outlook.gauges(now)
    assert gauge.values == {(): 3}, "as many as are told"
