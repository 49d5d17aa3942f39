"""The stand-in's certification authorities: one for users, whose generations may change, and one for its server.

User certificates are as nmvs.md section 5 describes one: RSA 2048, SHA-256, clientAuth alone, digitalSignature and
keyEncipherment critical. The server's certificate is valid for as long as the virtual clock goes, because clients see it by
their own clock.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NewKey = Callable[[], rsa.RSAPrivateKey]

BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
END = datetime(2049, 12, 31, tzinfo=UTC)


def generated() -> rsa.RSAPrivateKey:
    """A new key of 2048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


class Authorities:
    """Issues, and says what is good at a time."""

    def __init__(self, new_key: NewKey = generated) -> None:
        self.new_key = new_key
        self.revoked: set[int] = set()
        self.roots = [self._root("Stand-in NMVS Authentication CA - G1")]
        self.server_root = self._root("Stand-in NMVS Server CA")
        self.server = self._server()

    def roll_over(self) -> None:
        """A new generation of the authority issues from now on; what the former ones issued stays good."""
        self.roots.append(self._root(f"Stand-in NMVS Authentication CA - G{len(self.roots) + 1}"))

    def issue(self, login: str, user: str, begins: datetime, ends: datetime) -> tuple[Pair, Pair]:
        """A user's certificate with a new key, and the root that issued it."""
        root, key = self.roots[-1], self.new_key()
        builder = (
            _builder(_name(f"{user}", login), key, begins, ends)
            .issuer_name(root.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usages(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(_issued_by(root), critical=False)
        )
        return Pair(builder.sign(root.key, hashes.SHA256()), key), root

    def lists(self, now: datetime) -> list[x509.CertificateRevocationList]:
        """The revocation list of each generation, as it is then."""
        found = []
        for root in self.roots:
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(root.certificate.subject)
                .last_update(now)
                .next_update(now + timedelta(days=1))
            )
            for serial in self.revoked:
                entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
                builder = builder.add_revoked_certificate(entry)
            found.append(builder.sign(root.key, hashes.SHA256()))
        return found

    def objection(self, certificate: x509.Certificate | None, now: datetime) -> str:
        """Why a client's certificate is refused; empty where it is good."""
        if certificate is None:
            return "no certificate"
        if not any(_signed_by(certificate, root) for root in self.roots):
            return "wrong authority"
        if certificate.serial_number in self.revoked:
            return "revoked"
        if now < certificate.not_valid_before_utc:
            return "not yet valid"
        return "expired" if now > certificate.not_valid_after_utc else ""

    def _root(self, name: str) -> Pair:
        key = self.new_key()
        builder = (
            _builder(_name(name, "Stand-in"), key, BEGIN, END)
            .issuer_name(_name(name, "Stand-in"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usages(key_cert_sign=True, crl_sign=True), critical=True)
        )
        return Pair(builder.sign(key, hashes.SHA256()), key)

    def _server(self) -> Pair:
        key = self.new_key()
        hosts = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        builder = (
            _builder(_name("localhost", "Stand-in"), key, BEGIN, END)
            .issuer_name(self.server_root.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usages(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(_issued_by(self.server_root), critical=False)
        )
        return Pair(builder.sign(self.server_root.key, hashes.SHA256()), key)


def _builder(name: x509.Name, key: rsa.RSAPrivateKey, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Stand-in"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _issued_by(root: Pair) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())


def _usages(**named: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return x509.KeyUsage(**(none | named))


def _signed_by(certificate: x509.Certificate, root: Pair) -> bool:
    if certificate.issuer != root.certificate.subject or certificate.signature_hash_algorithm is None:
        return False
    try:
        root.key.public_key().verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            padding.PKCS1v15(),
            certificate.signature_hash_algorithm,
        )
    except InvalidSignature:
        return False
    return True
