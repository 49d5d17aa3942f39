"""Why a secured file cannot be opened, one class for each reason that NERP has for it (RFC 5024 section 5.3.14).

``str(error)`` is one sentence for our own people. It may quote what was decrypted: what travels as the text of a NERP is said
by :meth:`oftp2.cms.package.Unpacking.told`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from oftp2.reasons import NegativeResponseReason

UNDECODABLE: Final = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)
"""What asn1crypto raises for octets from anyone."""


class CmsError(Exception):
    """A cryptographic message that is not as it has to be; ``reason`` is what NERP answers for a file."""

    reason: ClassVar[NegativeResponseReason] = NegativeResponseReason.PROCESSING_FAILED


class SignatureError(CmsError):
    """The signed data cannot be read, or no signature in it is valid and by whom it has to be."""

    reason = NegativeResponseReason.INVALID_SIGNATURE


class DecompressionError(CmsError):
    """The compressed data cannot be read, are damaged or incomplete, or grow beyond what is allowed."""

    reason = NegativeResponseReason.DECOMPRESSION_FAILED


class DecryptionError(CmsError):
    """The enveloped data cannot be read, are weaker than agreed, or no key of ours opens them."""

    reason = NegativeResponseReason.DECRYPTION_FAILED


class PackageError(CmsError):
    """Anything else: other layers than announced, octets behind the last one."""
