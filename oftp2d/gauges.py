"""The numbers of the ledger, for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from oftp2d.ledger import ExchangeState, Ledger, Slot
from oftp2d.metrics import Gauge

DAY = timedelta(days=1)


def of_ledger(ledger: Ledger, now: datetime) -> Iterable[Gauge]:
    """What the ledger knows; blocks."""
    codes = ledger.partners.codes()
    yield _certificates(ledger, codes, now)
    waiting = ledger.exchanges.waiting()
    yield Gauge(
        name="oftp2d_exchange_unanswered",
        help="Messages of the certificate exchange that a partner has not answered yet",
        labels=("partner",),
        values=_by_partner(waiting, codes, ExchangeState.QUEUED, ExchangeState.SENT),
    )
    yield Gauge(
        name="oftp2d_exchange_held",
        help="Certificates that a partner has brought and that wait for an operator",
        labels=("partner",),
        values=_by_partner(waiting, codes, ExchangeState.HELD),
    )
    yield Gauge(
        name="oftp2d_renewals_running",
        help="Renewals for all partners that have not ended yet",
        values={(): len(ledger.renewals.running())},
    )
    yield Gauge(
        name="oftp2d_revocation_list_age_seconds",
        help="Seconds since a revocation list was last read with success",
        labels=("url",),
        values={
            (each.url,): (now - each.read_at).total_seconds()
            for each in ledger.revocation_lists.list()
            if each.read_at is not None
        },
    )
    yield Gauge(
        name="oftp2d_transfers",
        help="Transfers by state",
        labels=("state",),
        values={(state.value,): count for state, count in ledger.transfers.counts().items()},
    )
    yield Gauge(
        name="oftp2d_end_responses_owed",
        help="End responses that partners still have to get from us",
        values={(): ledger.receipts.count_owed()},
    )


def _certificates(ledger: Ledger, codes: dict[int, str], now: datetime) -> Gauge:
    values: dict[tuple[str, ...], float] = {}
    for entry in ledger.certificates.every():
        if entry.active and entry.slot is Slot.CURRENT:
            partner = codes.get(entry.partner_id, "") if entry.partner_id is not None else ""
            labels = (entry.holder.value, partner, entry.station or "", entry.alias, entry.fingerprint[:16])
            values[labels] = round((entry.valid_until - now) / DAY, 3)
    return Gauge(
        name="oftp2d_certificate_days_to_expiry",
        help="Days until a certificate in use ends; negative when it has ended",
        labels=("holder", "partner", "station", "alias", "fingerprint"),
        values=values,
    )


def _by_partner(
    waiting: dict[tuple[int, ExchangeState], int], codes: dict[int, str], *states: ExchangeState
) -> dict[tuple[str, ...], float]:
    found: Counter[tuple[str, ...]] = Counter()
    for (partner_id, state), count in waiting.items():
        if state in states and partner_id in codes:
            found[codes[partner_id],] += count
    return dict(found)
