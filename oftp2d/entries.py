"""Entries of the certificate store: made of what a certificate says, and read as what the selection rules ask for."""

from __future__ import annotations

from datetime import datetime

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Entry
from oftp2.certs.usages import Usage, listed
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, NewCertificate, Origin, StoredCertificate

PARTY = "*"
"""A certificate without a station serves all of its holder's: the party alias of certificate-selection.md."""


def checked_usages(facts: CertificateFacts, usages: frozenset[Usage] | None) -> frozenset[Usage]:
    """The usages asked for that its key usage allows; all of those without a wish. None at all is an error."""
    wanted = facts.allowed if usages is None else usages & facts.allowed
    if not wanted:
        raise OperatorError(
            f"the key usage of {facts.subject} does not allow {listed(usages or frozenset(Usage))}",
            f"it allows {listed(facts.allowed)}",
        )
    return wanted


def new_anchor(
    facts: CertificateFacts, *, alias: str | None, trusted: bool, partner_id: int | None = None
) -> NewCertificate:
    """The entry of an authority; without trust it is of a chain only."""
    return new_entry(
        facts,
        holder=Holder.ANCHOR if trusted else Holder.INTERMEDIATE,
        partner_id=partner_id,
        alias=alias or facts.fingerprint[:16],
        station=None,
        usages=frozenset(),
        origin=Origin.IMPORTED,
    )


def new_entry(
    facts: CertificateFacts,
    *,
    holder: Holder,
    alias: str,
    station: str | None,
    usages: frozenset[Usage],
    origin: Origin,
    partner_id: int | None = None,
    private_key: bytes | None = None,
) -> NewCertificate:
    """An entry for a certificate; what it says of itself is taken from the facts."""
    return NewCertificate(
        fingerprint=facts.fingerprint,
        der=facts.der,
        holder=holder,
        partner_id=partner_id,
        station=station,
        alias=alias,
        usages=usages,
        valid_from=facts.not_before,
        valid_until=facts.not_after,
        private_key=private_key,
        origin=origin,
    )


def issued_first(entries: list[Entry], now: datetime) -> list[Entry]:
    """For TLS: what an authority issued, where anything valid was; every partner sees it, before we know which one calls.

    So a self-signed certificate made for one partner never pushes aside the one that all others trust.
    """
    issued = [entry for entry in entries if not entry.facts.self_signed]
    valid = any(
        entry.active and not entry.barred and entry.facts.not_before <= now <= entry.facts.not_after for entry in issued
    )
    return issued if valid else entries


def selectable(stored: StoredCertificate, barred: str | None = None) -> Entry:
    """A stored entry as the selection rules see it; ``barred`` says why it is used for nothing."""
    return Entry(
        facts=CertificateFacts.of(stored.der),
        usages=stored.usages,
        alias=stored.station or PARTY,
        active=stored.active,
        slice_from=stored.slice_from,
        slice_until=stored.slice_until,
        barred=barred,
        withdrawn_at=stored.withdrawn_at,
    )
