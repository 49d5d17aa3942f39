"""The object identifiers around which the layers of a file are written, in DER (RFC 5652, RFC 3274)."""

from __future__ import annotations

from typing import Final

from asn1crypto import core


def _oid(dotted: str) -> bytes:
    encoded: bytes = core.ObjectIdentifier(dotted).dump()
    return encoded


DATA: Final = _oid("1.2.840.113549.1.7.1")
SIGNED_DATA: Final = _oid("1.2.840.113549.1.7.2")
ENVELOPED_DATA: Final = _oid("1.2.840.113549.1.7.3")
COMPRESSED_DATA: Final = _oid("1.2.840.113549.1.9.16.1.9")
ZLIB: Final = _oid("1.2.840.113549.1.9.16.3.8")

NULL: Final = b"\x05\x00"
"""Parameters that say nothing."""

CONTENT: Final = 0xA0
"""The tag [0] EXPLICIT of ContentInfo.content and EncapsulatedContentInfo.eContent."""
