"""Bringing certificates into the store and taking them out: made here, imported, exported, removed (acx.md 10.1).

What takes long is done before, in the crypto worker: ``credentials.generate_key`` and :func:`read` make what
``generate``, ``request`` and the imports are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2d import credentials
from oftp2d.credentials import Material, Profile
from oftp2d.entries import checked_usages, new_anchor, new_entry
from oftp2d.errors import OperatorError
from oftp2d.holdings import Holdings
from oftp2d.ledger import (
    Holder,
    NewCertificate,
    NewPendingKey,
    Origin,
    PendingKey,
    Retirement,
    Slot,
    StoredCertificate,
)
from oftp2d.planning import predecessor


def read(octets: bytes, *, private_key: bytes | None = None, passphrase: bytes | None = None) -> Material:
    """What a file to import holds, with the key in ``private_key`` before one in the file; slow for PKCS#12.

    Raises :class:`OperatorError`.
    """
    material = credentials.read_material(octets, passphrase)
    return replace(material, key=credentials.read_key(private_key, passphrase)) if private_key else material


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """A certificate with its chain up to the root as far as it is known, and its key if it may go along."""

    name: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: RSAPrivateKey | None = field(default=None, repr=False)


class Importing(Holdings):
    """The store as it is filled and emptied."""

    # --- own certificates: making, importing ---------------------------------------------------------------

    def generate(
        self,
        profile: Profile,
        *,
        alias: str,
        now: datetime,
        key: RSAPrivateKey | None = None,
        key_bits: int = credentials.KEY_BITS,
        days: int = credentials.VALID_DAYS,
        usages: frozenset[Usage] = frozenset(Usage),
    ) -> StoredCertificate:
        """Make a self-signed certificate for the station of the profile; without ``key`` a key pair too, slowly."""
        key = key or credentials.generate_key(key_bits)
        made = credentials.self_signed(key, profile, now, days)
        return self.adopt(key, made, alias=alias, station=profile.station, now=now, usages=usages)

    def adopt(
        self,
        key: RSAPrivateKey,
        certificate: x509.Certificate,
        *,
        alias: str,
        now: datetime,
        station: str | None = None,
        usages: frozenset[Usage] | None = None,
        origin: Origin = Origin.GENERATED,
    ) -> StoredCertificate:
        """Store a key pair of ours that is in hand. Without ``station`` it is read from the subject, if it is there."""
        facts = CertificateFacts.of(certificate)
        new = self._own(
            facts,
            key,
            alias=alias,
            station=station or self._station_in(facts),
            usages=usages,
            origin=origin,
        )
        return self._ledger.certificates.add(new, now)

    def request(
        self,
        profile: Profile,
        *,
        alias: str,
        now: datetime,
        key: RSAPrivateKey | None = None,
        key_bits: int = credentials.KEY_BITS,
    ) -> PendingKey:
        """Make the request for a certification authority and keep its key until the answer comes.

        Without ``key`` a key pair is made too, slowly.
        """
        key = key or credentials.generate_key(key_bits)
        request = credentials.signing_request(key, profile)
        public = x509.load_pem_x509_csr(request).public_key()
        new = NewPendingKey(
            alias=alias,
            station=profile.station,
            private_key=credentials.sealed_key(key, self._vault.passphrase()),
            csr_pem=request,
            spki_fingerprint=credentials.key_fingerprint(public),
        )
        return self._ledger.certificates.add_pending(new, now)

    def import_own(
        self,
        content: bytes | Material,
        *,
        now: datetime,
        alias: str | None = None,
        station: str | None = None,
        usages: frozenset[Usage] | None = None,
        private_key: bytes | None = None,
        passphrase: bytes | None = None,
        origin: Origin = Origin.IMPORTED,
    ) -> StoredCertificate:
        """Store a certificate of ours; its key is in the file, in ``private_key``, pending, or held already.

        Other certificates in the file become chain material. ``private_key`` and ``passphrase`` are for content
        that was not ``read`` yet. Raises :class:`OperatorError` when no key belongs to it.
        """
        material = _material(content, private_key=private_key, passphrase=passphrase)
        key = material.key
        pending = None
        facts, others = credentials.leaf(material.certificates, key)
        if key is None:
            pending = self._ledger.certificates.find_pending(facts.key_fingerprint)
            key = self._opened(pending.private_key) if pending else self._held_key(facts)
        elif credentials.key_fingerprint(key.public_key()) != facts.key_fingerprint:
            raise OperatorError("the private key does not belong to the certificate", "give the matching pair")
        self._check(facts, now)
        new = self._own(
            facts,
            key,
            alias=alias or (pending.alias if pending else facts.subject.common_name or facts.fingerprint[:16]),
            station=station or (pending.station if pending else self._station_in(facts)),
            usages=usages,
            origin=origin,
        )
        self._keep_chain(others, now)
        return self._ledger.certificates.add(new, now, pending_key_id=pending.id if pending else None)

    def _own(
        self,
        facts: CertificateFacts,
        key: RSAPrivateKey,
        *,
        alias: str,
        station: str | None,
        usages: frozenset[Usage] | None,
        origin: Origin,
    ) -> NewCertificate:
        self._keys[facts.fingerprint] = key
        return new_entry(
            facts,
            holder=Holder.OWN,
            alias=alias,
            station=station,
            usages=checked_usages(facts, usages),
            origin=origin,
            private_key=credentials.sealed_key(key, self._vault.passphrase()),
        )

    def _station_in(self, facts: CertificateFacts) -> str | None:
        """The station whose code the subject's serialNumber is; authorities write other numbers there too."""
        code = facts.subject.serial_number
        return code if code and self._ledger.stations.get(code) else None

    def _held_key(self, facts: CertificateFacts) -> RSAPrivateKey:
        for stored in self._entries(Holder.OWN):
            if CertificateFacts.of(stored.der).key_fingerprint == facts.key_fingerprint:
                return self._key(stored)
        raise OperatorError(
            "no private key belongs to the certificate",
            "give the key with it, or make the request with 'oftp2d cert generate --csr' first",
        )

    # --- partner certificates and anchors ------------------------------------------------------------------

    def import_partner(
        self,
        content: bytes | Material,
        *,
        partner_id: int,
        station: str,
        now: datetime,
        alias: str | None = None,
        usages: frozenset[Usage] | None = None,
    ) -> StoredCertificate:
        """Store a certificate of a partner by an operator's hand; those it displaces become previous ones."""
        material = _material(content)
        facts, others = credentials.leaf(material.certificates, None)
        self._check(facts, now, least_bits=self._ledger.partners.get(partner_id).least_rsa_bits)
        wanted = checked_usages(facts, usages)
        new = new_entry(
            facts,
            holder=Holder.PARTNER,
            partner_id=partner_id,
            alias=alias or facts.subject.common_name or facts.fingerprint[:16],
            station=station,
            usages=wanted,
            origin=Origin.IMPORTED,
        )
        displaced = tuple(
            Retirement(certificate_id=entry.id, slot=Slot.PREVIOUS, usages=entry.usages & wanted)
            for entry in self._entries(Holder.PARTNER, partner_id, station)
            if entry.slot is Slot.CURRENT and entry.usages & wanted and entry.fingerprint != facts.fingerprint
        )
        self._keep_chain(others, now)
        return self._ledger.certificates.accept(partner_id, new, displaced, now)

    def import_anchors(
        self, content: bytes | Material, *, now: datetime, alias: str | None = None, partner_id: int | None = None
    ) -> tuple[StoredCertificate, ...]:
        """Store trust anchors, of every partner or of one.

        In one file, one that issued another of the same file is chain material only. That is the rule of the Odette trust
        list (acx.md 10.2): a root that came along to verify its issuing authority is not trusted itself. To trust a root,
        import it alone.
        """
        found = _material(content).certificates
        if not found:
            raise OperatorError("there is no certificate in the file, only a key", "give that of the authority")
        for facts in found:
            self._check(facts, now, authority=True)
            if not (facts.is_ca or facts.self_signed):
                raise OperatorError(
                    f"{facts.subject} is not the certificate of an authority",
                    "take the file of the authority that issued it, or import it with --partner",
                )
        stored = []
        for facts in found:
            verifies_only = any(credentials.issued(facts, other) for other in found if other is not facts)
            name = alias if alias and not verifies_only and len(found) == 1 else None
            name = name or facts.subject.common_name
            new = new_anchor(facts, alias=name, trusted=not verifies_only, partner_id=partner_id)
            stored.append(self._ledger.certificates.add(new, now))
            if new.holder is Holder.ANCHOR and partner_id is None:
                self._forget_intermediate(facts)
        return tuple(stored)

    def _keep_chain(self, others: Iterable[CertificateFacts], now: datetime) -> None:
        """Keep what may build a chain, without trusting it; what is there already stays as it is."""
        for facts in others:
            known = (
                self._ledger.certificates.get(facts.fingerprint, holder=holder)
                for holder in (Holder.ANCHOR, Holder.INTERMEDIATE)
            )
            if facts.is_ca and not any(known):
                new = new_anchor(facts, alias=facts.subject.common_name, trusted=False)
                self._ledger.certificates.add(new, now)

    def _forget_intermediate(self, facts: CertificateFacts) -> None:
        """One that is trusted now builds chains as well: it needs no second entry for that."""
        known = self._ledger.certificates.get(facts.fingerprint, holder=Holder.INTERMEDIATE)
        if known is not None:
            self._ledger.certificates.remove(known.id)

    def import_intermediates(
        self, content: bytes | Material, *, now: datetime, alias: str | None = None
    ) -> tuple[StoredCertificate, ...]:
        """Store authorities that build chains and have no trust of their own."""
        found = _material(content).certificates
        if not found:
            raise OperatorError("there is no certificate in the file, only a key", "give that of the authority")
        for facts in found:
            self._check(facts, now, authority=True)
            if not facts.is_ca:
                raise OperatorError(
                    f"{facts.subject} is not the certificate of an authority", "import it with --own or --partner"
                )
        name = alias if len(found) == 1 else None
        entries = (new_anchor(facts, alias=name or facts.subject.common_name, trusted=False) for facts in found)
        return tuple(self._ledger.certificates.add(new, now) for new in entries)

    def predecessor(self, new: StoredCertificate) -> StoredCertificate | None:
        """The certificate of ours that this one of ours follows, where there is one."""
        return predecessor(new, self._entries(Holder.OWN))

    # --- exporting -----------------------------------------------------------------------------------------

    def to_export(self, stored: StoredCertificate, *, key: bool) -> Exportable:
        """What a file of it is made of; the making may be slow. The key only where it is asked for."""
        facts = CertificateFacts.of(stored.der)
        return Exportable(
            name=stored.alias,
            certificate=facts.certificate,
            chain=self.chain(facts, root=True),
            key=self._key(stored) if key and stored.private_key is not None else None,
        )

    # --- removing ------------------------------------------------------------------------------------------

    def remove(self, certificate: StoredCertificate) -> None:
        """Forget a certificate with all its entries, and the private key of one of ours, here in memory too."""
        for entry in self._entries(certificate.holder, certificate.partner_id):
            # An anchor of everybody may be one partner's as well, and stays that.
            if (entry.fingerprint, entry.partner_id) == (certificate.fingerprint, certificate.partner_id):
                self._ledger.certificates.remove(entry.id)
        if certificate.holder is Holder.OWN:
            self._keys.pop(certificate.fingerprint, None)

    def _check(
        self, facts: CertificateFacts, now: datetime, *, authority: bool = False, least_bits: int | None = None
    ) -> None:
        """Raises OperatorError for what cannot be used; ``least_bits`` of a partner may allow less than the rule."""
        if now > facts.not_after:
            raise OperatorError(f"{facts.subject} expired on {facts.not_after:%Y-%m-%d}", "get its successor")
        if authority:
            return
        if facts.is_ca:
            raise OperatorError(
                f"{facts.subject} is the certificate of a certification authority", "import it as an anchor"
            )
        floor = min(self._limits.min_rsa_bits, least_bits or self._limits.min_rsa_bits)
        if facts.key_type != "RSA" or (facts.key_bits or 0) < floor:
            exception = "" if least_bits is None else "; 'oftp2d partner change --least-rsa-bits' makes an exception"
            raise OperatorError(
                f"{facts.subject} has a key of {facts.key_bits} bits ({facts.key_type})",
                f"OFTP2 needs RSA with at least {floor} bits{exception}",
            )


def _material(
    content: bytes | Material, *, private_key: bytes | None = None, passphrase: bytes | None = None
) -> Material:
    if isinstance(content, Material):
        return content
    return read(content, private_key=private_key, passphrase=passphrase)
