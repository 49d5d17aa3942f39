"""The reason codes of the wire, as enumerations with their meaning.

RFC 5024 sections 5.3.5 (SFNA), 5.3.10 (EFNA), 5.3.11 (ESID) and 5.3.14 (NERP). A code that the RFC does not list is
read as ``UNSPECIFIED``: a peer with a newer list must not break a session. ``meaning`` is the text for people.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Reason(IntEnum):
    """A two-digit reason code and its meaning."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make the member of ``code`` (0..99) with its ``meaning``."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value < 99:
            return None
        return next(member for member in cls if member.value == 99)

    def __str__(self) -> str:
        return f"{self.value:02} ({self.meaning})"


class EndSessionReason(Reason):
    """ESIDREAS, RFC 5024 section 5.3.11."""

    NORMAL = 0, "normal session termination"
    COMMAND_NOT_RECOGNISED = 1, "command not recognised"
    PROTOCOL_VIOLATION = 2, "protocol violation"
    USER_CODE_NOT_KNOWN = 3, "user code not known"
    INVALID_PASSWORD = 4, "invalid password"
    EMERGENCY_CLOSE_DOWN = 5, "local site emergency close down"
    INVALID_DATA = 6, "command contained invalid data"
    BUFFER_SIZE_ERROR = 7, "exchange buffer size error"
    RESOURCES_NOT_AVAILABLE = 8, "resources not available"
    TIME_OUT = 9, "time out"
    INCOMPATIBLE = 10, "mode or capabilities incompatible"
    INVALID_CHALLENGE_RESPONSE = 11, "invalid challenge response"
    AUTHENTICATION_INCOMPATIBLE = 12, "secure authentication requirements incompatible"
    UNSPECIFIED = 99, "unspecified abort code"


class AnswerReason(Reason):
    """SFNAREAS and EFNAREAS, RFC 5024 sections 5.3.5 and 5.3.10. Codes 21 to 23 belong to EFNA only."""

    INVALID_FILE_NAME = 1, "invalid file name"
    INVALID_DESTINATION = 2, "invalid destination"
    INVALID_ORIGIN = 3, "invalid origin"
    RECORD_FORMAT_NOT_SUPPORTED = 4, "storage record format not supported"
    RECORD_LENGTH_NOT_SUPPORTED = 5, "maximum record length not supported"
    FILE_TOO_BIG = 6, "file size is too big"
    INVALID_RECORD_COUNT = 10, "invalid record count"
    INVALID_BYTE_COUNT = 11, "invalid byte count"
    ACCESS_METHOD_FAILURE = 12, "access method failure"
    DUPLICATE_FILE = 13, "duplicate file"
    DIRECTION_REFUSED = 14, "file direction refused"
    CIPHER_SUITE_NOT_SUPPORTED = 15, "cipher suite not supported"
    ENCRYPTED_NOT_ALLOWED = 16, "encrypted file not allowed"
    UNENCRYPTED_NOT_ALLOWED = 17, "unencrypted file not allowed"
    COMPRESSION_NOT_ALLOWED = 18, "compression not allowed"
    SIGNED_NOT_ALLOWED = 19, "signed file not allowed"
    UNSIGNED_NOT_ALLOWED = 20, "unsigned file not allowed"
    INVALID_SIGNATURE = 21, "invalid file signature"
    DECRYPTION_FAILED = 22, "file decryption failure"
    DECOMPRESSION_FAILED = 23, "file decompression failure"
    UNSPECIFIED = 99, "unspecified reason"


class NegativeResponseReason(Reason):
    """NERPREAS, RFC 5024 section 5.3.14."""

    USER_CODE_NOT_KNOWN = 3, "next location: user code not known"
    INVALID_PASSWORD = 4, "next location: invalid password"
    SESSION_UNSPECIFIED = 9, "next location: session ended for an unspecified reason"
    INVALID_FILE_NAME = 11, "invalid file name"
    INVALID_DESTINATION = 12, "invalid destination"
    INVALID_ORIGIN = 13, "invalid origin"
    RECORD_FORMAT_NOT_SUPPORTED = 14, "storage record format not supported"
    RECORD_LENGTH_NOT_SUPPORTED = 15, "maximum record length not supported"
    FILE_TOO_BIG = 16, "file size too big"
    INVALID_RECORD_COUNT = 20, "invalid record count"
    INVALID_BYTE_COUNT = 21, "invalid byte count"
    ACCESS_METHOD_FAILURE = 22, "access method failure"
    DUPLICATE_FILE = 23, "duplicate file"
    DIRECTION_REFUSED = 24, "file direction refused"
    CIPHER_SUITE_NOT_SUPPORTED = 25, "cipher suite not supported"
    ENCRYPTED_NOT_ALLOWED = 26, "encrypted file not allowed"
    UNENCRYPTED_NOT_ALLOWED = 27, "unencrypted file not allowed"
    COMPRESSION_NOT_ALLOWED = 28, "compression not allowed"
    SIGNED_NOT_ALLOWED = 29, "signed file not allowed"
    UNSIGNED_NOT_ALLOWED = 30, "unsigned file not allowed"
    INVALID_SIGNATURE = 31, "file signature not valid"
    DECOMPRESSION_FAILED = 32, "file decompression failed"
    DECRYPTION_FAILED = 33, "file decryption failed"
    PROCESSING_FAILED = 34, "file processing failed"
    NOT_DELIVERED = 35, "not delivered to recipient"
    NOT_ACKNOWLEDGED = 36, "not acknowledged by recipient"
    STOPPED_BY_OPERATOR = 50, "transmission stopped by the operator"
    SIZE_INCOMPATIBLE = 90, "file size incompatible with the recipient's protocol version"
    UNSPECIFIED = 99, "unspecified reason"
