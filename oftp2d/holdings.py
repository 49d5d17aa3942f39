"""The entries of the certificate store with their keys: how one is found, opened, and given its chain.

Everything here blocks and belongs in the database worker, where the ledger is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.certs.acceptance import Limits
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Entry
from oftp2.cms.keys import Owner, Signer, SoftwareKey
from oftp2d import credentials
from oftp2d.authorities import Authorities
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Holder,
    Ledger,
    StoredCertificate,
)
from oftp2d.vault import Vault

_MIN_PREFIX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One of our certificates with its private key and the intermediates a peer may need, without the root.

    TLS takes the key itself; files, end responses and challenges only ask its ``signer`` and its ``owner``, behind which it
    may as well be in hardware.
    """

    stored: StoredCertificate
    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def signer(self) -> Signer:
        """Signs for the certificate."""
        return Signer(self.certificate, SoftwareKey(self.key))

    @property
    def owner(self) -> Owner:
        """Opens what was encrypted for the certificate."""
        return Owner(self.certificate, SoftwareKey(self.key))

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its intermediates, in the order TLS sends them."""
        return b"".join(item.public_bytes(Encoding.PEM) for item in (self.certificate, *self.chain))


class Holdings:
    """What the ledger holds of certificates, opened with the vault."""

    def __init__(self, ledger: Ledger, vault: Vault, limits: Limits | None = None) -> None:
        self._ledger = ledger
        self._vault = vault
        self._limits = limits or Limits()
        self._keys: dict[str, RSAPrivateKey] = {}
        self.authorities = Authorities(ledger, self._limits.clock_tolerance)

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
            known = " or ".join(fingerprint[:16] for fingerprint in found)
            raise OperatorError(what, f"name the one you mean by its fingerprint, {known}")
        return next(iter(found.values()))

    def _entries(
        self, holder: Holder | None, partner_id: int | None = None, station: str | None = None
    ) -> Sequence[StoredCertificate]:
        return self._ledger.certificates.every(holder, partner_id, station)

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

    def chain(self, leaf: CertificateFacts, *, root: bool = False) -> tuple[x509.Certificate, ...]:
        """The authorities above a certificate as far as we know them, its issuer first; with the ``root`` if it is asked for."""
        trust = self.authorities.trust()
        pool = [*(anchor.facts for anchor in trust.anchors), *trust.intermediates]
        chain: list[CertificateFacts] = []
        below = leaf
        while not below.self_signed:
            above = next((facts for facts in pool if facts not in chain and credentials.issued(facts, below)), None)
            if above is None or (above.self_signed and not root):
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
