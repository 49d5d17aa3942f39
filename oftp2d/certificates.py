"""The certificate store: the ledger's entries, opened with the vault, chosen by ``oftp2.certs`` (acx.md 3 and 4).

Our own certificates stand side by side. A new one decrypts and answers challenges at once; towards a
partner it signs from the moment the partner confirmed it. A partner's certificates stand in slots: current,
and previous for files under way. Anchors are trusted, for every partner or for the one they are entered for;
intermediates, and roots that came in one file with an authority they issued, only build chains.

Everything here blocks and belongs in the database worker, where the ledger is used. What takes long is done before,
in the crypto worker: ``credentials.generate_key`` and :func:`read` make what ``generate``, ``request`` and the imports
are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.certs import selection
from oftp2.certs.acceptance import Announced, Limits, Verdict
from oftp2.certs.acceptance import Retirement as Displaced
from oftp2.certs.clid import Identification
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Held, Place
from oftp2.certs.names import DistinguishedName
from oftp2.certs.selection import Entry, Selection, Situation
from oftp2.certs.usages import TLS_USAGES, Usage
from oftp2d import credentials
from oftp2d.credentials import Material, Profile
from oftp2d.entries import PARTY, checked_usages, issued_first, new_anchor, new_entry, selectable
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Announcement,
    Holder,
    Ledger,
    NewAnnouncement,
    NewCertificate,
    NewPendingKey,
    Origin,
    PendingKey,
    Retirement,
    Slot,
    StoredCertificate,
)
from oftp2d.trust import Trust
from oftp2d.vault import Vault

_SITUATIONS: dict[Usage, Situation] = {
    Usage.SIGNATURE: selection.SIGNING,
    Usage.ENCRYPTION: selection.ENCRYPTION,
    Usage.EERP_SIGNATURE: selection.EERP_SIGNING,
    Usage.AUTHENTICATION: selection.CHALLENGE,
    Usage.TLS_SERVER: selection.TLS_SERVER,
    Usage.TLS_CLIENT: selection.TLS_CLIENT,
}
_PLACES = {Slot.CURRENT: Place.CURRENT, Slot.PREVIOUS: Place.PREVIOUS, Slot.WITHDRAWN: Place.WITHDRAWN}
_SLOTS = {place: slot for slot, place in _PLACES.items()}
_MIN_PREFIX = 4

SIGNERS: Final = 2
"""The most certificates of ours that sign one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One of our certificates with its private key and the intermediates a peer may need, without the root."""

    stored: StoredCertificate
    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its intermediates, in the order TLS sends them."""
        return b"".join(item.public_bytes(Encoding.PEM) for item in (self.certificate, *self.chain))


def read(octets: bytes, *, private_key: bytes | None = None, passphrase: bytes | None = None) -> Material:
    """What a file to import holds, with the key in ``private_key`` before one in the file; slow for PKCS#12.

    Raises :class:`OperatorError`.
    """
    material = credentials.read_material(octets, passphrase)
    return replace(material, key=credentials.read_key(private_key, passphrase)) if private_key else material


class Certificates:
    """The store of one station."""

    def __init__(self, ledger: Ledger, vault: Vault, limits: Limits | None = None) -> None:
        self._ledger = ledger
        self._vault = vault
        self._limits = limits or Limits()
        self._keys: dict[str, RSAPrivateKey] = {}

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
            origin=Origin.IMPORTED,
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
        stored = []
        for facts in found:
            verifies_only = any(credentials.issued(facts, other) for other in found if other is not facts)
            name = alias if alias and not verifies_only and len(found) == 1 else None
            name = name or facts.subject.common_name
            new = new_anchor(facts, alias=name, trusted=not verifies_only, partner_id=partner_id)
            stored.append(self._ledger.certificates.add(new, now))
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

    def anchors(self, partner_id: int | None = None) -> tuple[StoredCertificate, ...]:
        """The anchors that are trusted for everyone, or for a partner: its own too, or its own alone."""
        alone = partner_id is not None and self._ledger.partners.get(partner_id).only_own_anchors
        trusted = {partner_id} if alone else {None, partner_id}
        return tuple(entry for entry in self._entries(Holder.ANCHOR) if entry.active and entry.partner_id in trusted)

    def intermediates(self) -> tuple[StoredCertificate, ...]:
        """What builds chains without being trusted itself."""
        return tuple(entry for entry in self._entries(Holder.INTERMEDIATE) if entry.active)

    def trust(self, partner_id: int | None = None) -> Trust:
        """What to judge chains with, of everyone or of a partner; make it anew when the store has changed."""
        return Trust.of(
            [entry.der for entry in self.anchors(partner_id)],
            [entry.der for entry in self.intermediates()],
            clock_tolerance=self._limits.clock_tolerance,
        )

    # --- removing ------------------------------------------------------------------------------------------

    def remove(self, certificate: StoredCertificate) -> None:
        """Forget a certificate with all its entries, and the private key of one of ours, here in memory too."""
        for entry in self._entries(certificate.holder, certificate.partner_id):
            if entry.fingerprint == certificate.fingerprint:
                self._ledger.certificates.remove(entry.id)
        if certificate.holder is Holder.OWN:
            self._keys.pop(certificate.fingerprint, None)

    # --- what is used --------------------------------------------------------------------------------------

    def own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Credential | None:
        """Our certificate for a usage, towards a partner: the newest that it has confirmed, else the newest."""
        taken = self.explain_own(usage, station=station, now=now, partner_id=partner_id).taken
        return None if taken is None else self._credential(self._stored_own(taken))

    def explain_own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Selection:
        """The same choice with the account of every certificate that was looked at."""
        confirmed = None if partner_id is None else self._ledger.certificates.confirmed(partner_id)
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        if usage in TLS_USAGES:
            entries = issued_first(entries, now)
        return selection.select(_SITUATIONS[usage], entries, station=station, party=PARTY, now=now, confirmed=confirmed)

    def signers(self, *, station: str, now: datetime, partner_id: int) -> tuple[tuple[Credential, ...], Selection]:
        """Who signs a file of a station of ours for a partner: one, or in a roll-over the two newest.

        Two where the partner has confirmed none of several: one of them it should know. None where there is none.
        """
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        chosen = selection.select(
            selection.SIGNING,
            entries,
            station=station,
            party=PARTY,
            now=now,
            confirmed=self._ledger.certificates.confirmed(partner_id),
            unsure=SIGNERS,
        )
        return tuple(self._credential(self._stored_own(entry)) for entry in chosen.entries), chosen

    def explain_decryption(self, now: datetime, named: str | None = None) -> Selection:
        """Every certificate of ours whose key opens challenges and files, the ``named`` one first, with the account of all."""
        return selection.select(selection.DECRYPTION, map(selectable, self._owned()), station="", now=now, named=named)

    def decryption_keys(
        self, now: datetime, named: str | None = None
    ) -> tuple[tuple[x509.Certificate, RSAPrivateKey], ...]:
        """Every key of ours that opens challenges and files, the one ``named`` by fingerprint first."""
        chosen = self.explain_decryption(now, named)
        credentials_ = (self._credential(self._stored_own(entry)) for entry in chosen.entries)
        return tuple((item.certificate, item.key) for item in credentials_)

    def to_deliver(self, *, station: str, now: datetime) -> tuple[StoredCertificate, ...]:
        """The certificates that answer a REQUEST to one of our stations, each once (acx.md 4.5)."""
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        chosen = selection.to_deliver(entries, station=station, party=PARTY, now=now)
        return tuple(self._stored_own(entry) for entry in chosen)

    def partner_certificate(
        self, usage: Usage, *, partner_id: int, station: str, now: datetime
    ) -> CertificateFacts | None:
        """The partner's certificate we use towards it: to encrypt a file or to make a challenge."""
        found = self.explain_partner(_SITUATIONS[usage], partner_id=partner_id, station=station, now=now).taken
        return None if found is None else found.facts

    def explain_partner(
        self, situation: Situation, *, partner_id: int, station: str, now: datetime, least_bits: int = 0
    ) -> Selection:
        """The certificates of a partner for a situation, best first, with the account of all that were looked at.

        Outbound, to encrypt or to challenge, only current ones; inbound, to verify, those too that are previous ones by
        now: what they signed may be under way. ``station`` is the partner's.
        """
        slots = {Slot.CURRENT} if situation.one else {Slot.CURRENT, Slot.PREVIOUS}
        entries = [selectable(entry) for entry in self._entries(Holder.PARTNER, partner_id) if entry.slot in slots]
        return selection.select(situation, entries, station=station, party=PARTY, now=now, least_bits=least_bits)

    def partner_certificates(self, *, partner_id: int, station: str | None = None) -> tuple[StoredCertificate, ...]:
        """All entries of a partner, withdrawn ones too."""
        return tuple(self._entries(Holder.PARTNER, partner_id, station))

    def authentication_ready(self, *, partner_id: int, code: str, now: datetime) -> tuple[bool, bool]:
        """The two halves of the latch (acx.md 5.2): their certificate is active here; they confirmed ours."""
        theirs = self.partner_certificate(Usage.AUTHENTICATION, partner_id=partner_id, station=code, now=now)
        confirmed = self._ledger.certificates.confirmed(partner_id)
        ours = any(
            entry.fingerprint in confirmed and Usage.AUTHENTICATION in entry.usages and entry.active
            for entry in self._owned()
            if entry.valid_from <= now <= entry.valid_until
        )
        return theirs is not None, ours

    # --- the exchange: what a verdict needs and what it leads to
    # ---------------------------------------------

    def held(self, *, partner_id: int, station: str) -> tuple[Held, ...]:
        """What is held of a partner for one of its stations, as the acceptance rules see it.

        One that an operator switched off counts as withdrawn: it must not come back by itself.
        """
        return tuple(
            Held(
                key=entry.id,
                facts=CertificateFacts.of(entry.der),
                usages=entry.usages,
                place=_PLACES[entry.slot] if entry.active else Place.WITHDRAWN,
            )
            for entry in self._entries(Holder.PARTNER, partner_id)
            if entry.station in {station, None} and entry.slot in _PLACES
        )

    def announce(
        self,
        *,
        partner_id: int,
        now: datetime,
        station: str | None = None,
        subject: str | None = None,
        common_name: str | None = None,
        issuer: str | None = None,
        key_usages: frozenset[str] = frozenset(),
        usages: frozenset[Usage] = frozenset(Usage),
    ) -> Announcement:
        """Enter identification data; ``issuer`` is an anchor by alias or fingerprint (acx.md 5.1)."""
        anchor = None if issuer is None else self.find(issuer, Holder.ANCHOR)
        try:
            Identification(
                subject=DistinguishedName.parse(subject) if subject else None,
                common_name=common_name,
                key_usages=key_usages,
            )
        except ValueError as error:
            raise OperatorError(
                f"the identification data are not usable ({error})",
                "give a subject like 'CN=host.example,O=Company,C=DE' or a common name",
            ) from None
        new = NewAnnouncement(
            partner_id=partner_id,
            station=station,
            subject=subject,
            common_name=common_name,
            issuer=anchor.fingerprint if anchor else None,
            key_usages=key_usages,
            usages=usages,
        )
        return self._ledger.certificates.announce(new, now)

    def announced(self, *, partner_id: int, station: str) -> tuple[Announced, ...]:
        """The announcements for a partner's station that nothing has fulfilled yet."""
        open_ones = [
            entry
            for entry in self._ledger.certificates.announcements(partner_id)
            if entry.fulfilled_by is None and entry.station in {station, None}
        ]
        return tuple(found for entry in open_ones if (found := self._announced(entry)) is not None)

    def identifications(self, *, partner_id: int) -> tuple[Identification, ...]:
        """All identification data entered for a partner, fulfilled or not: by these its TLS certificate is known too."""
        entries = self._ledger.certificates.announcements(partner_id)
        return tuple(found.identification for entry in entries if (found := self._announced(entry)) is not None)

    def _announced(self, entry: Announcement) -> Announced | None:
        issuer = None
        if entry.issuer is not None:
            anchor = self._ledger.certificates.get(entry.issuer, holder=Holder.ANCHOR)
            if anchor is None:
                # The anchor is gone: without it the announcement would match any issuer, so it matches
                # nothing.
                return None
            issuer = CertificateFacts.of(anchor.der).subject
        return Announced(
            key=entry.id,
            identification=Identification(
                subject=DistinguishedName.parse(entry.subject) if entry.subject else None,
                common_name=entry.common_name,
                issuer=issuer,
                key_usages=entry.key_usages,
            ),
            usages=entry.usages,
        )

    def accepted(
        self, verdict: Verdict, facts: CertificateFacts, *, partner_id: int, station: str
    ) -> NewCertificate | None:
        """The entry an accepting verdict stores, or ``None`` when there is nothing to add."""
        if not verdict.stores:
            return None
        return new_entry(
            facts,
            holder=Holder.PARTNER,
            partner_id=partner_id,
            alias=facts.subject.common_name or facts.fingerprint[:16],
            station=station,
            usages=verdict.usages,
            origin=Origin.DELIVERED,
        )

    def retirements(self, displaced: Iterable[Displaced]) -> tuple[Retirement, ...]:
        """What a verdict displaces, as the ledger takes it."""
        return tuple(
            Retirement(certificate_id=item.key, slot=_SLOTS[item.place], usages=item.usages) for item in displaced
        )

    # --- looking things up
    # -----------------------------------------------------------------------------------

    def find(self, reference: str, holder: Holder | None = None, *, partner_id: int | None = None) -> StoredCertificate:
        """An entry by alias or by the first four or more digits of its fingerprint."""
        entries = self._entries(holder, partner_id)
        digits = reference.replace(":", "").lower()
        by_alias = [entry for entry in entries if entry.alias.lower() == reference.lower()]
        by_digits = [entry for entry in entries if len(digits) >= _MIN_PREFIX and entry.fingerprint.startswith(digits)]
        found = {entry.fingerprint: entry for entry in reversed(by_alias or by_digits)}
        if not found:
            raise OperatorError(f"no certificate is called {reference!r}", "see 'oftp2d cert list'")
        if len(found) > 1:
            what = f"{len(found)} certificates are called {reference!r}"
            raise OperatorError(what, "name the one you mean by its fingerprint")
        return next(iter(found.values()))

    def _entries(
        self, holder: Holder | None, partner_id: int | None = None, station: str | None = None
    ) -> list[StoredCertificate]:
        """All of them, however many pages the ledger makes of it."""
        found: list[StoredCertificate] = []
        while page := self._ledger.certificates.list(holder, partner_id, station, after=found[-1].id if found else 0):
            found += page
        return found

    def own_entries(self) -> Sequence[StoredCertificate]:
        """All entries of our own."""
        return self._owned()

    def _owned(self) -> Sequence[StoredCertificate]:
        return self._entries(Holder.OWN)

    def _stored_own(self, entry: Entry) -> StoredCertificate:
        return next(stored for stored in self._owned() if stored.fingerprint == entry.facts.fingerprint)

    def _credential(self, stored: StoredCertificate) -> Credential:
        return Credential(
            stored=stored,
            certificate=x509.load_der_x509_certificate(stored.der),
            key=self._key(stored),
            chain=self.chain(CertificateFacts.of(stored.der)),
        )

    def chain(self, leaf: CertificateFacts) -> tuple[x509.Certificate, ...]:
        """The authorities above a certificate as far as we know them, its issuer first, without the root."""
        authorities = (*self._entries(Holder.ANCHOR), *self._entries(Holder.INTERMEDIATE))
        pool = [CertificateFacts.of(entry.der) for entry in authorities]
        chain: list[CertificateFacts] = []
        below = leaf
        while not below.self_signed:
            above = next((facts for facts in pool if facts not in chain and credentials.issued(facts, below)), None)
            if above is None or above.self_signed:
                break
            chain.append(above)
            below = above
        return tuple(facts.certificate for facts in chain)

    def _key(self, stored: StoredCertificate) -> RSAPrivateKey:
        key = self._keys.get(stored.fingerprint)
        if key is None:
            if stored.private_key is None:
                raise OperatorError(f"{stored.alias} has no private key in the store", "import it with its key")
            key = self._keys[stored.fingerprint] = self._opened(stored.private_key)
        return key

    def _opened(self, private_key: bytes) -> RSAPrivateKey:
        return credentials.read_key(private_key, self._vault.passphrase())

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
