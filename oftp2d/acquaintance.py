"""Whether a certificate that TLS shows is a partner's: trusted, bound to it, and not taken back by its authority.

Trusted is a certificate under an anchor, and one that is held of the partner. Bound to it is the held one, one that fits its
identification data, one whose subject has the partner's code as serialNumber, and one for the host it is called at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from oftp2.certs.clid import Identification
from oftp2.certs.facts import CertificateFacts
from oftp2d.certificates import Certificates
from oftp2d.ledger import Partner, Slot
from oftp2d.trust import Path, Trust


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a certificate, and what to do about it."""

    what: str
    advice: str
    of_time: bool = False
    """Whether it is only that its period has not begun or is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquaintance:
    """All that tells whether a TLS certificate is a partner's: read from the ledger once, then pure."""

    partner: Partner
    trust: Trust
    held: Mapping[str, str | None]
    """Certificates of the partner that are held and not withdrawn, by fingerprint, with what bars each; they need no issuer."""
    identifications: tuple[Identification, ...]
    now: datetime

    @classmethod
    def of(cls, certificates: Certificates, partner: Partner, now: datetime) -> Acquaintance:
        """What the store knows of ``partner`` at this moment."""
        entries = [
            entry
            for entry in certificates.partner_certificates(partner_id=partner.id)
            if entry.active and entry.slot is not Slot.WITHDRAWN
        ]
        barred = certificates.barred(entries, now)
        return cls(
            partner=partner,
            trust=certificates.trust(partner.id),
            held={entry.fingerprint: str(barred[entry.id]) if entry.id in barred else None for entry in entries},
            identifications=certificates.identifications(partner_id=partner.id),
            now=now,
        )

    def objection(self, certificate: bytes, chain: Sequence[bytes], purpose: str | None = None) -> Objection | None:
        """Why the certificate (DER) is not acceptable as the partner's, or None when it is.

        ``chain``: what came with it. ``purpose``: an extended key usage that it must have, if it has any.
        """
        read = _read(certificate, chain)
        if isinstance(read, Objection):
            return read
        facts, others = read
        named = f"its certificate {facts.subject}"
        if purpose is not None and facts.extended is not None and purpose not in facts.extended:
            advice = f"{self.partner.code} needs one with serverAuth and clientAuth"
            return Objection(f"{named} is not made for this end of TLS", advice)
        if not facts.not_before <= self.now + self.trust.clock_tolerance or facts.not_after < self.now:
            period = f"from {facts.not_before:%F %T}Z to {facts.not_after:%F %T}Z"
            what = f"{named} is outside its period, which is {period}"
            return Objection(what, f"{self.partner.code} has to use another one", of_time=True)
        if facts.fingerprint in self.held:
            return self._bar(facts, others)
        return self._strange(facts, others)

    def _strange(self, facts: CertificateFacts, others: Sequence[CertificateFacts]) -> Objection | None:
        """What speaks against one that is not held."""
        named, code = f"its certificate {facts.subject}", self.partner.code
        verdict = self.trust.judge(facts, others, self.now)
        if not verdict.trusted:
            return Objection(
                f"{named} is not trusted: {verdict.text}",
                f"if it is right, import its authority ('oftp2d cert import FILE --anchor') or the certificate itself"
                f" ('oftp2d cert import FILE --partner {code}')",
            )
        if not self._bound(facts):
            return Objection(
                f"{named} is trusted, but nothing says that it is {code}'s",
                f"if it is, name its host ('oftp2d partner change {code} --server-name NAME') or announce it"
                f" ('oftp2d cert announce {code}')",
            )
        return None

    def bar(self, certificate: bytes, chain: Sequence[bytes]) -> Objection | None:
        """Why the certificate counts for nothing although its chain is valid: it was revoked, or nobody can say; else None."""
        read = _read(certificate, chain)
        return None if isinstance(read, Objection) else self._bar(*read)

    def _bar(self, facts: CertificateFacts, others: Sequence[CertificateFacts]) -> Objection | None:
        if facts.fingerprint in self.held:
            why = self.held[facts.fingerprint]
        else:
            path = self.trust.path(facts, others, self.now)
            why = self.trust.barred(path, self.now) if isinstance(path, Path) else None
        if why is None:
            return None
        return Objection(
            f"its certificate {facts.subject} does not count any more: {why}",
            f"{self.partner.code} has to use another one",
        )

    def _bound(self, facts: CertificateFacts) -> bool:
        names = {name for name in (self.partner.host, self.partner.server_name) if name}
        return (
            facts.subject.serial_number == self.partner.code
            or any(identification.matches(facts).matches for identification in self.identifications)
            or any(is_host(facts, name) for name in names)
        )


def is_host(facts: CertificateFacts, name: str) -> bool:
    """Whether the certificate is for this host: RFC 6125 by service_identity, the common name where it has no SAN."""
    if not facts.hosts:
        return (facts.subject.common_name or "").casefold() == name.casefold()
    try:
        if _is_address(name):
            verify_certificate_ip_address(facts.certificate, name)
        else:
            verify_certificate_hostname(facts.certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _read(
    certificate: bytes, chain: Sequence[bytes]
) -> tuple[CertificateFacts, tuple[CertificateFacts, ...]] | Objection:
    try:
        facts = CertificateFacts.of(certificate)
        return facts, tuple(CertificateFacts.of(other) for other in chain if other != certificate)
    except ValueError as error:
        return Objection(f"its certificate cannot be read: {error}", "the partner has to use another one")
