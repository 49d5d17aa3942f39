"""Finding what a request names, and whole listings page by page. All of it blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oftp2d.ledger import Ledger, Partner, StoredCertificate, Transfer, UnknownError

from .routing import MissingError

_PAGE = 1000


def partner_of(ledger: Ledger, code: str) -> Partner:
    """The partner with this SSID code; raises MissingError."""
    found = ledger.partners.by_code(code.upper())
    if found is None:
        raise MissingError(f"there is no partner {code}", "see 'oftp2d partner list'")
    return found


def all_partners(ledger: Ledger) -> list[Partner]:
    """All partners by code."""
    found: list[Partner] = []
    while page := ledger.partners.list(limit=_PAGE, after=found[-1].code if found else ""):
        found += page
        if len(page) < _PAGE:
            break
    return found


def codes(ledger: Ledger) -> dict[int, str]:
    """The codes of all partners by their ids."""
    return {partner.id: partner.code for partner in all_partners(ledger)}


def codes_for(ledger: Ledger, partner_ids: Sequence[int]) -> dict[int, str]:
    """The codes of some partners by their ids, those removed since too."""
    return {number: partner.code for number, partner in partners_for(ledger, partner_ids).items()}


def partners_for(ledger: Ledger, partner_ids: Sequence[int]) -> dict[int, Partner]:
    """Some partners by their ids, those removed since too."""
    return {partner_id: ledger.partners.get(partner_id) for partner_id in set(partner_ids)}


def transfer_of(ledger: Ledger, transfer_id: str, listing: str = "oftp2d transfer list") -> Transfer:
    """The transfer with this id, however it is typed; raises MissingError."""
    try:
        return ledger.transfers.get(transfer_id.strip().upper())
    except UnknownError:
        raise MissingError(f"there is no transfer {transfer_id}", f"see '{listing}'") from None


def entries_of(ledger: Ledger, certificate: StoredCertificate) -> list[StoredCertificate]:
    """All entries of a certificate with its holder, in whatever places it stands; one partner's are not another's."""
    entries = ledger.certificates.every(certificate.holder, certificate.partner_id)
    whose = certificate.fingerprint, certificate.partner_id
    return [each for each in entries if (each.fingerprint, each.partner_id) == whose]


def aliases(ledger: Ledger, fingerprints: Iterable[str]) -> dict[str, str]:
    """What those of some certificates are called that are still in the store, by their fingerprints."""
    return {each.fingerprint: each.alias for each in certificates_of(ledger, set(fingerprints))}


def certificates_of(ledger: Ledger, fingerprints: Iterable[str]) -> list[StoredCertificate]:
    """Those of some certificates that are still in the store."""
    found = map(ledger.certificates.get, fingerprints)
    return [each for each in found if each is not None]
