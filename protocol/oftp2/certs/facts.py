"""What is written in one X.509 certificate, as plain values (RFC 5280 section 4).

Facts are read once, from DER, and never judged here: whether they are good enough is decided in
:mod:`oftp2.certs.acceptance`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from oftp2.certs.names import DistinguishedName
from oftp2.certs.usages import Usage, allowed_usages

# Bit order of RFC 5280 section 4.2.1.3, with the names of cryptography's attributes.
KEY_USAGE_BITS: dict[str, str] = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
_ONLY_WITH_AGREEMENT = frozenset({"encipherOnly", "decipherOnly"})

# What cryptography raises for octets that are no certificate, or one it cannot read; a Warning where those are
# errors, as in tests.
_UNREADABLE = (
    Warning,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class UnreadableCertificateError(ValueError):
    """The octets are not one X.509 certificate that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """One certificate. Times are in UTC, ``None`` stands for an absent extension."""

    subject: DistinguishedName
    issuer: DistinguishedName
    serial: int
    ski: bytes | None
    aki: bytes | None
    key_usage: frozenset[str] | None
    """Names of RFC 5280, such as ``digitalSignature``."""
    extended: frozenset[str] | None
    """Dotted object identifiers."""
    hosts: tuple[str, ...]
    """DNS names and IP addresses among the subject alternative names."""
    not_before: datetime
    not_after: datetime
    is_ca: bool
    self_signed: bool
    """Issuer and subject are equal, and its own key verifies its signature."""
    key_type: str
    """``RSA``, ``EC``, ``DSA``, or the name of another kind of key."""
    key_bits: int | None
    signature_hash: str | None
    """Hash of the issuer's signature, such as ``sha256``; ``None`` where the algorithm names none."""
    fingerprint: str
    """SHA-256 of the DER octets, lower-case hexadecimal."""
    key_fingerprint: str
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal."""
    der: bytes = field(repr=False)

    @classmethod
    def of(cls, source: bytes | x509.Certificate) -> CertificateFacts:
        """Read DER octets or a loaded certificate; raises :class:`UnreadableCertificateError`."""
        try:
            certificate = x509.load_der_x509_certificate(source) if isinstance(source, bytes) else source
            return cls._read(certificate)
        except _UNREADABLE as error:
            raise UnreadableCertificateError(f"not a readable X.509 certificate ({error})") from error

    @classmethod
    def _read(cls, certificate: x509.Certificate) -> CertificateFacts:
        if certificate.serial_number < 0:
            # Written in hexadecimal it would not be one; zero is seen in old roots and is let through.
            raise ValueError("its serial number is negative")
        extensions = certificate.extensions
        key = certificate.public_key()
        der = certificate.public_bytes(Encoding.DER)
        public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        constraints = _extension(extensions, x509.BasicConstraints)
        subject_key = _extension(extensions, x509.SubjectKeyIdentifier)
        authority_key = _extension(extensions, x509.AuthorityKeyIdentifier)
        return cls(
            subject=DistinguishedName.of(certificate.subject),
            issuer=DistinguishedName.of(certificate.issuer),
            serial=certificate.serial_number,
            ski=subject_key.digest if subject_key else None,
            aki=authority_key.key_identifier if authority_key else None,
            key_usage=_key_usage(_extension(extensions, x509.KeyUsage)),
            extended=_extended(_extension(extensions, x509.ExtendedKeyUsage)),
            hosts=_hosts(_extension(extensions, x509.SubjectAlternativeName)),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            is_ca=constraints is not None and constraints.ca,
            self_signed=_signs_itself(certificate),
            key_type=_key_type(key),
            key_bits=getattr(key, "key_size", None),
            signature_hash=_signature_hash(certificate),
            fingerprint=sha256(der).hexdigest(),
            key_fingerprint=sha256(public).hexdigest(),
            der=der,
        )

    @property
    def allowed(self) -> frozenset[Usage]:
        """The usages that its key usage extensions leave open."""
        return allowed_usages(self.key_usage, self.extended)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate itself, for the primitives that need it."""
        return x509.load_der_x509_certificate(self.der)

    def __str__(self) -> str:
        return f"{self.subject} (serial {self.serial:x}, issuer {self.issuer})"


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(extension: x509.KeyUsage | None) -> frozenset[str] | None:
    if extension is None:
        return None
    # encipherOnly and decipherOnly have no meaning, and no value, without keyAgreement.
    return frozenset(
        bit
        for bit, attribute in KEY_USAGE_BITS.items()
        if (bit not in _ONLY_WITH_AGREEMENT or extension.key_agreement) and getattr(extension, attribute)
    )


def _extended(extension: x509.ExtendedKeyUsage | None) -> frozenset[str] | None:
    return None if extension is None else frozenset(purpose.dotted_string for purpose in extension)


def _hosts(extension: x509.SubjectAlternativeName | None) -> tuple[str, ...]:
    if extension is None:
        return ()
    return tuple(str(name.value) for name in extension if isinstance(name, x509.DNSName | x509.IPAddress))


def _signs_itself(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _key_type(key: object) -> str:
    match key:
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey():
            return "EC"
        case dsa.DSAPublicKey():
            return "DSA"
    return type(key).__name__.removesuffix("PublicKey")


def _signature_hash(certificate: x509.Certificate) -> str | None:
    algorithm = certificate.signature_hash_algorithm
    return None if algorithm is None else algorithm.name
