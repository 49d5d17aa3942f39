"""The test PKI, built from ``fixtures/pki.toml`` when it is first asked for.

``pki.certificate("CA01")`` is one of the declared certificates; ``pki.make(...)`` is any other: expired, of
the root, self-signed, with other usages. Declared ones have keys of their own. Other
keys come from a pool, because making RSA keys is slow: certificates made one after the other have different keys, distant
ones may share one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DECLARATION: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent.parent / "fixtures" / "pki.toml").read_text(encoding="utf-8")
)
NOW = datetime.now(UTC).replace(microsecond=0)
"""The moment of the test run, from which all periods count."""

BOTH = ("digitalSignature", "keyEncipherment")
TLS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

_POOL_SIZE = 24
_turn = count()
_serials = count(0x4F465450_0001)


@cache
def _pooled(index: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def new_key() -> rsa.RSAPrivateKey:
    """A 2048-bit key, other than those of the calls just before."""
    return _pooled(next(_turn) % _POOL_SIZE)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key and the authorities above it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    issuer: Issued | None = None
    station: str | None = None
    """The Odette code of its owner."""

    @cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @cached_property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @cached_property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS#8 without a passphrase."""
        return self.encrypted_key_pem(None)

    @property
    def chain(self) -> tuple[Issued, ...]:
        """The authorities above it, its issuer first, the root last."""
        return () if self.issuer is None else (self.issuer, *self.issuer.chain)

    def encrypted_key_pem(self, passphrase: bytes | None) -> bytes:
        protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)

    def pkcs12(self, passphrase: bytes) -> bytes:
        above = [item.certificate for item in self.chain]
        return pkcs12.serialize_key_and_certificates(
            b"test", self.key, self.certificate, above, BestAvailableEncryption(passphrase)
        )


def root(hierarchy: str) -> Issued:
    """The root of hierarchy ``A``, ``B`` or ``outside``."""
    return _authority(hierarchy, "root")


def issuing(hierarchy: str) -> Issued:
    """The issuing authority of a hierarchy: the one that is an anchor."""
    return _authority(hierarchy, "issuing")


@cache
def _authority(hierarchy: str, level: str) -> Issued:
    above = None if level == "root" else root(hierarchy)
    return make(
        subject=DECLARATION["hierarchy"][hierarchy][level],
        issuer=above,
        ca=True,
        key_usage=("keyCertSign", "cRLSign"),
        extended=None,
        hosts=(),
        days=(-1000, 3650),
        key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )


@cache
def certificate(name: str) -> Issued:
    """A certificate of the declaration, such as ``CA01``; the same one whenever it is asked for."""
    declared = DECLARATION["certificate"][name]
    station = DECLARATION["station"][declared["station"]]
    if "like" in declared:
        certificate(declared["like"])  # made first, so that the renewal has another key
    return make(
        subject=DECLARATION["certificate"][declared.get("like", name)]["subject"],
        station=station["code"],
        issuer=_authority(declared["hierarchy"], declared.get("issuer", "issuing")),
        key_usage=tuple(declared.get("key_usage", BOTH)),
        extended=None if declared.get("extended") == "none" else TLS,
        hosts=(station["host"],),
        days=tuple(declared["days"]),
        # Of its own: in the order of some run one from the pool could be that of another declared one.
        key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )


def key(name: str) -> rsa.RSAPrivateKey:
    """The private key of a declared certificate."""
    return certificate(name).key


def pem(name: str) -> bytes:
    """A declared certificate in PEM."""
    return certificate(name).pem


def issuer(name: str) -> Issued:
    """The authority that issued a declared certificate."""
    above = certificate(name).issuer
    assert above is not None
    return above


def make(
    *,
    subject: str | x509.Name = "CN=leaf.test,O=Test,C=DE",
    issuer: Issued | None = None,
    station: str | None = None,
    key: rsa.RSAPrivateKey | Any = None,
    key_usage: Sequence[str] | None = BOTH,
    extended: Sequence[x509.ObjectIdentifier] | None = TLS,
    hosts: Sequence[str] = ("leaf.test",),
    days: Sequence[float] = (-1, 365),
    ca: bool | None = False,
    serial: int | None = None,
    authority_key: bytes | None = None,
) -> Issued:
    """Any certificate; self-signed without ``issuer``. ``None`` for an extension leaves it out.

    ``key`` may be a key of any kind; ``days`` are notBefore and notAfter, counted from the test run.
    """
    key = key or new_key()
    name = _with_serial_number(_name(subject), station)
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial or next(_serials))
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    above = (
        x509.AuthorityKeyIdentifier(authority_key, None, None)
        if authority_key
        else x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    )
    builder = builder.add_extension(above, critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(_key_usage(key_usage), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    if issuer is not None:
        builder = builder.add_extension(_crl_points(), critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key, issuer, station)


def sign_request(
    request_pem: bytes, *, issuer: Issued, days: Sequence[float] = (-1, 365), subject: str | None = None
) -> x509.Certificate:
    """What a certification authority answers to a PKCS#10 request: subject, key and extensions, signed."""
    request = x509.load_pem_x509_csr(request_pem)
    assert request.is_signature_valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject) if subject else request.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(request.public_key())
        .serial_number(next(_serials))
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
    )
    return builder.sign(issuer.key, hashes.SHA256())


def _name(subject: str | x509.Name) -> x509.Name:
    return subject if isinstance(subject, x509.Name) else x509.Name.from_rfc4514_string(subject)


def _with_serial_number(name: x509.Name, station: str | None) -> x509.Name:
    if station is None:
        return name
    return x509.Name([*name.rdns, x509.RelativeDistinguishedName([_serial_number(station)])])


def _serial_number(station: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.SERIAL_NUMBER, station)


def _key_usage(names: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digitalSignature" in names,
        content_commitment="nonRepudiation" in names,
        key_encipherment="keyEncipherment" in names,
        data_encipherment="dataEncipherment" in names,
        key_agreement="keyAgreement" in names,
        key_cert_sign="keyCertSign" in names,
        crl_sign="cRLSign" in names,
        encipher_only="encipherOnly" in names,
        decipher_only="decipherOnly" in names,
    )


def _crl_points() -> x509.CRLDistributionPoints:
    location = x509.UniformResourceIdentifier("http://crl.test/list.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([location], None, None, None)])
