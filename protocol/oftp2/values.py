"""Values that several commands share: identification codes, formats, levels, the identity of a Virtual File.

RFC 5024 sections 1.5.2 (identity of a Virtual File), 5.3 (field formats) and 5.4 (identification code).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Final, Self

MAX_BUFFER_SIZE: Final = 99_999
"""The longest Exchange Buffer that can be negotiated, in octets (RFC 5024 section 5.3.2)."""

MIN_BUFFER_SIZE: Final = 128
MAX_CREDIT: Final = 999
MAX_TEXT: Final = 999
"""The longest reason text or file description, in octets of UTF-8."""

_CODE: Final = re.compile(r"[A-Z0-9/\-.&()](?:[A-Z0-9/\-.&() ]*[A-Z0-9/\-.&()])?")
_DATASET: Final = re.compile(r"[A-Z0-9/\-.&()_](?:[A-Z0-9/\-.&()_ ]*[A-Z0-9/\-.&()_])?")


class Level(IntEnum):
    """SSIDLEV, the protocol release level (RFC 5024 section 5.3.2)."""

    REVISION_1_2 = 1
    REVISION_1_3 = 2
    REVISION_1_4 = 4
    REVISION_2_0 = 5

    @classmethod
    def up_to(cls, number: int) -> Self:
        """The highest level that is not above ``number``, whatever a peer put there; the lowest for 0."""
        return max((level for level in cls if level <= number), default=min(cls))


class Mode(StrEnum):
    """SSIDSR: what a location can do in a session."""

    SENDER = "S"
    RECEIVER = "R"
    BOTH = "B"


class FileFormat(StrEnum):
    """SFIDFMT, the format of a Virtual File."""

    FIXED = "F"
    VARIABLE = "V"
    UNSTRUCTURED = "U"
    TEXT = "T"


class SecurityLevel(IntEnum):
    """SFIDSEC, what has been done to the file."""

    NONE = 0
    ENCRYPTED = 1
    SIGNED = 2
    ENCRYPTED_AND_SIGNED = 3

    @property
    def signed(self) -> bool:
        """Whether the file is signed."""
        return self in {SecurityLevel.SIGNED, SecurityLevel.ENCRYPTED_AND_SIGNED}

    @property
    def encrypted(self) -> bool:
        """Whether the file is encrypted."""
        return self in {SecurityLevel.ENCRYPTED, SecurityLevel.ENCRYPTED_AND_SIGNED}


class Role(Enum):
    """Who took the initiative to connect (RFC 5024 section 4.2.1)."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Turn(Enum):
    """Who may speak (RFC 5024 section 4.3.1)."""

    SPEAKER = "speaker"
    LISTENER = "listener"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What identifies a Virtual File between its originator and its destination (RFC 5024 section 1.5.2).

    ``date`` is CCYYMMDD, ``time`` HHMMSScccc with a counter that tells files of one second apart.
    """

    dataset: str
    date: str
    time: str
    originator: str
    destination: str

    def __str__(self) -> str:
        return f"{self.dataset} {self.date} {self.time} {self.originator}>{self.destination}"


def clip(text: str, octets: int = MAX_TEXT) -> str:
    """Cut to what a text field holds in UTF-8, by default a reason text, and never inside a character."""
    return text.encode(errors="replace")[:octets].decode(errors="ignore")


def check_window(buffer_size: int, credit: int) -> None:
    """Raise ``ValueError`` unless both are in the ranges of SSIDSDEB and SSIDCRED (RFC 5024 section 5.3.2)."""
    if not MIN_BUFFER_SIZE <= buffer_size <= MAX_BUFFER_SIZE:
        raise ValueError(f"buffer_size is {MIN_BUFFER_SIZE} to {MAX_BUFFER_SIZE} octets, not {buffer_size}")
    if not 1 <= credit <= MAX_CREDIT:
        raise ValueError(f"credit is 1 to {MAX_CREDIT} buffers, not {credit}")


def is_identification_code(code: str) -> bool:
    """Whether ``code`` can stand in SSIDCODE, SFIDDEST or SFIDORIG: 1 to 25 characters of X(n), RFC 5024 section 5.4.

    Blanks inside are let pass: SIOORG may contain them, whatever section 5.3 says of strings.
    """
    return len(code) <= 25 and _CODE.fullmatch(code) is not None


def is_dataset_name(name: str) -> bool:
    """Whether ``name`` can stand in SFIDDSN: 1 to 26 characters of X(n), and the underscore.

    The underscore is outside the RFC's set but inside the reserved names of the certificate exchange.
    """
    return len(name) <= 26 and _DATASET.fullmatch(name) is not None
