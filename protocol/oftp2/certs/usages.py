"""What a certificate is used for in OFTP2, and what its key usages allow (acx.md sections 1 and 4.4).

Odette counts five usages; TLS is split into server and client because the extended key usage is. The policy
lets one certificate serve all of them, so an extended key usage that names serverAuth or clientAuth never
takes the other usages away (the caution in acx.md 4.4 rule B).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

DIGITAL_SIGNATURE = "digitalSignature"
KEY_ENCIPHERMENT = "keyEncipherment"

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
ANY_EXTENDED = "2.5.29.37.0"
PURPOSES: Final[Mapping[str, str]] = {
    SERVER_AUTH: "serverAuth",
    CLIENT_AUTH: "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    ANY_EXTENDED: "anyExtendedKeyUsage",
}
"""What RFC 5280 section 4.2.1.12 calls the extended key usages that are met most."""


class Usage(StrEnum):
    """One purpose a certificate serves towards a partner."""

    SIGNATURE = "signature"
    ENCRYPTION = "encryption"
    EERP_SIGNATURE = "eerp_signature"
    AUTHENTICATION = "authentication"
    TLS_SERVER = "tls_server"
    TLS_CLIENT = "tls_client"


TLS_USAGES = frozenset({Usage.TLS_SERVER, Usage.TLS_CLIENT})
FILE_USAGES = frozenset(Usage) - TLS_USAGES


def allowed_usages(key_usage: Collection[str] | None, extended: Collection[str] | None) -> frozenset[Usage]:
    """The usages that key usage names and extended key usage OIDs allow; ``None`` is an absent extension.

    Signatures need digitalSignature. File encryption and the session challenge need keyEncipherment,
    because both are RSA key transport. TLS needs its extended key usage and one of the two key usages
    (acx.md 4.4; RFC 5280 4.2.1.12).
    """
    signs = key_usage is None or DIGITAL_SIGNATURE in key_usage
    enciphers = key_usage is None or KEY_ENCIPHERMENT in key_usage
    allowed: set[Usage] = set()
    if signs:
        allowed |= {Usage.SIGNATURE, Usage.EERP_SIGNATURE}
    if enciphers:
        allowed |= {Usage.ENCRYPTION, Usage.AUTHENTICATION}
    if (signs or enciphers) and _names(extended, SERVER_AUTH):
        allowed.add(Usage.TLS_SERVER)
    if signs and _names(extended, CLIENT_AUTH):
        allowed.add(Usage.TLS_CLIENT)
    return frozenset(allowed)


def _names(extended: Collection[str] | None, purpose: str) -> bool:
    return extended is None or purpose in extended or ANY_EXTENDED in extended


def listed(usages: Collection[Usage]) -> str:
    """The usages as words for people, in the order of the enumeration."""
    return ", ".join(usage.value.replace("_", " ") for usage in Usage if usage in usages) or "none"
