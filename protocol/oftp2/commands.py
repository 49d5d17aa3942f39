"""The eighteen commands of OFTP2, one frozen dataclass each (RFC 5024 section 5.3).

Fields carry values, not octets: numbers are ``int``, indicators ``bool``, codes enumerations, texts ``str`` without
padding. How they are laid out is the business of ``layouts``. Nothing is validated here; ``codec`` refuses what the wire
cannot carry.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import FileFormat, FileIdentity, Level, Mode, SecurityLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssrm:
    """Start Session Ready Message, section 5.3.1: the first word of the Responder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssid:
    """Start Session, section 5.3.2. ``level`` is kept as a number: an unknown one is negotiated, not undecodable."""

    level: int = Level.REVISION_2_0
    code: str
    password: str = field(repr=False)
    buffer_size: int
    mode: Mode = Mode.BOTH
    compression: bool = False
    restart: bool = False
    special_logic: bool = False
    credit: int
    authentication: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sfid:
    """Start File, section 5.3.3. Sizes in blocks of 1,024 octets; ``restart`` in records (F, V) or such blocks (U, T)."""

    dataset: str
    date: str
    time: str
    user: str = ""
    destination: str
    originator: str
    format: FileFormat = FileFormat.UNSTRUCTURED
    record_length: int = 0
    size: int
    original_size: int
    restart: int = 0
    security: SecurityLevel = SecurityLevel.NONE
    cipher: int = 0
    compression: int = 0
    envelope: int = 0
    signed_response: bool = False
    description: str = ""

    @property
    def identity(self) -> FileIdentity:
        """What tells this Virtual File from all others (section 1.5.2)."""
        return FileIdentity(
            dataset=self.dataset,
            date=self.date,
            time=self.time,
            originator=self.originator,
            destination=self.destination,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sfpa:
    """Start File Positive Answer, section 5.3.4."""

    restart: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sfna:
    """Start File Negative Answer, section 5.3.5."""

    reason: AnswerReason
    retry: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Data Exchange Buffer, sections 5.3.6 and 7; ``payload`` is all behind the command octet."""

    payload: bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdt:
    """Set Credit, section 5.3.7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efid:
    """End File, section 5.3.8: exact count of records (0 for U and T) and of octets, of the whole file."""

    records: int = 0
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Efpa:
    """End File Positive Answer, section 5.3.9."""

    change_direction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Efna:
    """End File Negative Answer, section 5.3.10."""

    reason: AnswerReason
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Esid:
    """End Session, section 5.3.11."""

    reason: EndSessionReason
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cd:
    """Change Direction, section 5.3.12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eerp:
    """End to End Response, section 5.3.13.

    It travels back: its ``destination`` is the originator of the file, its ``originator`` the file's destination.
    """

    dataset: str
    date: str
    time: str
    user: str = ""
    destination: str
    originator: str
    hash: bytes = b""
    signature: bytes = b""

    @property
    def identity(self) -> FileIdentity:
        """The Virtual File that is acknowledged, seen from its originator."""
        return _answered(self)

    @property
    def station(self) -> str:
        """Whose word it is."""
        return self.originator


@dataclass(frozen=True, slots=True, kw_only=True)
class Nerp:
    """Negative End Response, section 5.3.14; addressed like ``Eerp``, made by ``creator``."""

    dataset: str
    date: str
    time: str
    destination: str
    originator: str
    creator: str
    reason: NegativeResponseReason
    text: str = ""
    hash: bytes = b""
    signature: bytes = b""

    @property
    def identity(self) -> FileIdentity:
        """The Virtual File that could not be delivered, seen from its originator."""
        return _answered(self)

    @property
    def station(self) -> str:
        """Whose word it is; some leave NERPCREA blank, and then it is that of whoever the file was for."""
        return self.creator or self.originator


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtr:
    """Ready To Receive, section 5.3.15: the flow control of end responses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secd:
    """Security Change Direction, section 5.3.16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auch:
    """Authentication Challenge, section 5.3.17: a CMS envelope around 20 random octets."""

    challenge: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Aurp:
    """Authentication Response, section 5.3.18: the 20 octets, deciphered."""

    response: bytes = field(repr=False)


EndResponse = Eerp | Nerp
Command = (
    Ssrm
    | Ssid
    | Sfid
    | Sfpa
    | Sfna
    | Data
    | Cdt
    | Efid
    | Efpa
    | Efna
    | Esid
    | Cd
    | Eerp
    | Nerp
    | Rtr
    | Secd
    | Auch
    | Aurp
)


def _answered(response: EndResponse) -> FileIdentity:
    return FileIdentity(
        dataset=response.dataset,
        date=response.date,
        time=response.time,
        originator=response.destination,
        destination=response.originator,
    )
