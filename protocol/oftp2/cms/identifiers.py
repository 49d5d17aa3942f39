"""How a message names a certificate: by issuer and serial number, or by subject key identifier (RFC 5652 section 5.3).

SignerIdentifier and RecipientIdentifier are written in the same way, and so are read and made by the same functions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_COMPARED: Final = 4096
"""Octets of a name that is compared by what it says; beyond them only by its octets."""


def issuer_and_serial(certificate: x509.Certificate) -> cms.IssuerAndSerialNumber:
    """What names the certificate by its issuer, octet by octet as it stands there, and its serial number."""
    return cms.IssuerAndSerialNumber(
        {"issuer": _issuer(certificate), "serial_number": certificate.serial_number},
    )


def key_identifier(certificate: x509.Certificate) -> bytes:
    """The subject key identifier in the certificate; without one the usual hash of the key, which some senders then take."""
    stated = stated_key_identifier(certificate)
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest if stated is None else stated


def stated_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The subject key identifier in the certificate, by which alone others are sure to know it (RFC 5652 section 6.2.1)."""
    with suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return None


def names(identifier: cms.IssuerAndSerialNumber | core.OctetString, certificate: x509.Certificate) -> bool:
    """Whether the chosen alternative of a signer or recipient identifier names this certificate.

    Names of issuers are compared as RFC 5280 section 7.1 says: products write the same name in other types of strings.
    One that cannot be read names nobody; its certificate is tried as those that are not named.
    """
    if not isinstance(identifier, cms.IssuerAndSerialNumber):
        return bool(identifier.native == key_identifier(certificate))
    try:
        serial, issuer = identifier["serial_number"].native, identifier["issuer"]
        return bool(serial == certificate.serial_number) and _same(issuer, _issuer(certificate))
    except (ValueError, TypeError, AttributeError):  # the inside is read only now
        return False


def _same(name: cms.Name, other: cms.Name) -> bool:
    octets: bytes = name.dump()
    return bool(octets == other.dump() or (len(octets) <= _COMPARED and name == other))


def _issuer(certificate: x509.Certificate) -> cms.Name:
    return cms.Certificate.load(certificate.public_bytes(Encoding.DER)).issuer
