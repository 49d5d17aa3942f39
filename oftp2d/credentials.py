"""Making and reading key pairs, certificates and requests: functions without a store.

The profile of what is made is that of acx.md 10.1: RSA with SHA-256, the Odette code as serialNumber of the
subject, host names as subject alternative names, digitalSignature and keyEncipherment, serverAuth and
clientAuth. Making a key takes seconds; these are plain functions so that a caller can run them in a worker
thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oftp2.certs.content import ContentError, certificates_in
from oftp2.certs.facts import CertificateFacts
from oftp2d.errors import OperatorError

KEY_BITS = 3072
MIN_KEY_BITS = 2048
VALID_DAYS = 1095
MAX_INPUT = 1_048_576
"""Octets of an import; bundles of anchors are larger than a certificate."""

_LONGEST_EXPONENT = 64
"""Bits of the public exponent of an authority's key; real ones have 17, and OpenSSL takes no more of large keys."""
_KEY_ARMOUR = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_HOST_NAME = re.compile(r"([0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?\.)+[A-Za-z][0-9A-Za-z-]*[0-9A-Za-z]")
_MAILBOX = re.compile(r"[!#-'*+\-/-9=?A-Z^-~.]{1,64}@[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)+")
"""An address in plain ASCII, as X.509 takes it."""
_BACKDATED = timedelta(minutes=10)
"""A new certificate is valid a little earlier, for partners whose clock is behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a certificate or a request of ours says."""

    common_name: str
    station: str
    """The Odette code; it becomes the serialNumber of the subject. Empty where it is not to be there."""
    organisation: str | None = None
    country: str | None = None
    """Two letters, ISO 3166."""
    hosts: tuple[str, ...] = ()
    """DNS names or IP addresses; without any, the common name where it is a host name."""
    email: str | None = None
    """Whom partners may ask; it becomes an alternative name."""

    def subject(self) -> x509.Name:
        """The distinguished name; raises :class:`OperatorError` for values X.509 has no room for."""
        values = (
            (NameOID.COUNTRY_NAME, self.country),
            (NameOID.ORGANIZATION_NAME, self.organisation),
            (NameOID.COMMON_NAME, self.common_name),
            (NameOID.SERIAL_NUMBER, self.station or None),
        )
        try:
            return x509.Name([x509.NameAttribute(oid, value) for oid, value in values if value is not None])
        except ValueError as error:
            raise OperatorError(
                f"the subject of the certificate is not possible ({error})",
                "give a common name and an organisation of 1 to 64 characters and a country of two letters",
            ) from None

    def extensions(self) -> Iterable[tuple[x509.ExtensionType, bool]]:
        """The extensions of certificate and request, each with whether it is critical."""
        yield x509.BasicConstraints(ca=False, path_length=None), True
        yield _KEY_USAGE, True
        yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        hosts = self.hosts or ((self.common_name,) if _HOST_NAME.fullmatch(self.common_name) else ())
        names = [*map(_host, hosts), *([_mailbox(self.email)] if self.email else [])]
        if names:
            yield x509.SubjectAlternativeName(names), False


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise OperatorError(f"{host!r} is no host name", "write names with other letters in their xn-- form") from None


def _mailbox(address: str) -> x509.GeneralName:
    if not _MAILBOX.fullmatch(address):
        raise OperatorError(f"{address!r} is no e-mail address", "give one such as oftp@company.example")
    return x509.RFC822Name(address)


def generate_key(bits: int = KEY_BITS) -> rsa.RSAPrivateKey:
    """A new RSA key; slow. ``bits`` is 2048 to 8192."""
    if not MIN_KEY_BITS <= bits <= 8192:
        raise OperatorError(f"a key of {bits} bits is not possible", "choose 2048, 3072 or 4096")
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def self_signed(key: rsa.RSAPrivateKey, profile: Profile, now: datetime, days: int = VALID_DAYS) -> x509.Certificate:
    """A certificate that vouches for itself, valid for ``days`` from ``now``."""
    subject = profile.subject()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = _leaf(key, profile, now - _BACKDATED, now + timedelta(days=days)).issuer_name(subject)
    return builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def signed_by(
    authority: x509.Certificate,
    authority_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    key: rsa.RSAPrivateKey,
    profile: Profile,
    now: datetime,
    days: int = VALID_DAYS,
) -> x509.Certificate:
    """A certificate that an authority of ours vouches for, valid for ``days`` from ``now``, and no longer than that itself."""
    until = min(now + timedelta(days=days), authority.not_valid_after_utc)
    since = max(now - _BACKDATED, authority.not_valid_before_utc)
    builder = _leaf(key, profile, since, until).issuer_name(authority.subject)
    return builder.add_extension(_identifier_of(authority), critical=False).sign(authority_key, hashes.SHA256())


def _identifier_of(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """How certificates name the key of their authority: as its own certificate does, where it does."""
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        public = authority.public_key()
        assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)  # noqa: S101 - as its private key is
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _leaf(key: rsa.RSAPrivateKey, profile: Profile, since: datetime, until: datetime) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(profile.subject())
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in profile.extensions():
        builder = builder.add_extension(extension, critical=critical)
    return builder


def signing_request(key: rsa.RSAPrivateKey, profile: Profile) -> bytes:
    """A PKCS#10 request in PEM for a certification authority."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(profile.subject())
    for extension, critical in profile.extensions():
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def sealed_key(key: rsa.RSAPrivateKey, passphrase: bytes) -> bytes:
    """The key as encrypted PKCS#8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def key_fingerprint(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a file to import held."""

    certificates: tuple[CertificateFacts, ...] = ()
    key: rsa.RSAPrivateKey | None = field(default=None, repr=False)


def read_material(octets: bytes, passphrase: bytes | None = None) -> Material:
    """Certificates and at most one RSA key out of PEM, DER, certs-only CMS or PKCS#12.

    Raises :class:`OperatorError`, which never shows the passphrase or the content.
    """
    if len(octets) > MAX_INPUT:
        raise OperatorError("the file is too large for certificates", "give certificates and keys only")
    if b"-----BEGIN " in octets:
        key = read_key(octets, passphrase) if b"PRIVATE KEY-----" in octets else None
        return Material(certificates=_certificates(octets, optional=key is not None), key=key)
    try:
        return Material(certificates=_certificates(octets, optional=False))
    except OperatorError:
        bundle = _bundle(octets, passphrase)
        if bundle is None:
            raise
        return bundle


def read_key(octets: bytes, passphrase: bytes | None = None) -> rsa.RSAPrivateKey:
    """An RSA private key out of PEM, which may hold certificates beside it, or DER."""
    load = load_pem_private_key if b"-----BEGIN " in octets else load_der_private_key
    armour = _KEY_ARMOUR.search(octets)
    try:
        key = load(octets[armour.start() :] if armour else octets, passphrase or None)
    except TypeError:
        # cryptography says by this type that a passphrase is missing, or was given for a key without one.
        if passphrase:
            return read_key(octets)
        raise OperatorError("the private key is encrypted", "give its passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise OperatorError(
            "the private key does not open", "check the passphrase, and that the file is PEM or DER"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise OperatorError("the private key is not an RSA key", "OFTP2 needs RSA: make a new key pair")
    return key


def _certificates(octets: bytes, *, optional: bool) -> tuple[CertificateFacts, ...]:
    try:
        return certificates_in(octets, keys=True)
    except ContentError as error:
        if optional:
            return ()
        # What stands in brackets are the innards of a parser.
        why = str(error).partition(" (")[0]
        raise OperatorError(f"no certificate can be read ({why})", "give PEM, DER, PKCS#7 or PKCS#12") from None


def _bundle(octets: bytes, passphrase: bytes | None) -> Material | None:
    """PKCS#12; ``None`` when it is none, an error when only the passphrase is wrong."""
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(octets, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise OperatorError("the PKCS#12 file does not open", "check its passphrase") from None
        return None
    if key is not None and not isinstance(key, rsa.RSAPrivateKey):
        raise OperatorError("the private key is not an RSA key", "OFTP2 needs RSA: make a new key pair")
    found = ([certificate] if certificate else []) + others
    return Material(certificates=tuple(CertificateFacts.of(item) for item in found), key=key)


def leaf(
    found: Sequence[CertificateFacts], key: rsa.RSAPrivateKey | None
) -> tuple[CertificateFacts, tuple[CertificateFacts, ...]]:
    """The certificate that a file is about: that of its key, else the only end entity."""
    belonging = [facts for facts in found if facts.key_fingerprint == key_fingerprint(key.public_key())] if key else []
    entities = belonging or [facts for facts in found if len(found) == 1 or not facts.is_ca]
    if len(entities) != 1:
        raise OperatorError(
            f"the file holds {len(entities)} certificates of stations",
            "give one certificate, with its chain if need be",
        )
    return entities[0], tuple(facts for facts in found if facts is not entities[0])


def _is_costly(issuer: CertificateFacts) -> bool:
    """Whether its key is made to keep who verifies with it busy: a chain of a stranger has hundreds of verifications in it."""
    key = issuer.certificate.public_key()
    return isinstance(key, rsa.RSAPublicKey) and key.public_numbers().e.bit_length() > _LONGEST_EXPONENT


def issued(issuer: CertificateFacts, below: CertificateFacts) -> bool:
    """Whether ``issuer`` signed ``below``; a certificate is not counted as its own issuer."""
    if issuer.subject != below.issuer or issuer.fingerprint == below.fingerprint:
        return False
    try:
        if _is_costly(issuer):
            return False
        below.certificate.verify_directly_issued_by(issuer.certificate)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
