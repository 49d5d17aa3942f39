"""What a session tells its User Monitor: the indications and confirmations of RFC 5024 section 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from oftp2.buffers import NO_ENDS
from oftp2.commands import EndResponse, Sfid, Ssid
from oftp2.negotiation import Terms
from oftp2.reasons import AnswerReason, EndSessionReason


class Origin(Enum):
    """Who ended a session."""

    LOCAL = "us"
    PEER = "the peer"
    NETWORK = "the network"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOffered:
    """F_CONNECT_IND: as Responder, who calls. Answer with ``AcceptSession``, or ``EndSession`` with the reason."""

    peer: Ssid


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEstablished:
    """F_CONNECT_CF: the session stands; the Initiator has the turn."""

    peer: Ssid
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeWanted:
    """Secure authentication: make a challenge for the peer and answer with ``SendChallenge``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeReceived:
    """Secure authentication: open the envelope with our private key and answer with ``AnswerChallenge``."""

    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOffered:
    """F_START_FILE_IND: answer with ``AcceptFile`` or ``RefuseFile``."""

    command: Sfid


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccepted:
    """F_START_FILE_CF(+): send the file from ``restart`` on."""

    restart: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRefused:
    """F_START_FILE_CF(-): the Listener does not take the file; we keep the turn."""

    reason: AnswerReason
    retry: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditReceived:
    """F_DATA_CF: more data may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataReceived:
    """F_DATA_IND: octets of the file, of many buffers at once. Say ``Consumed`` when they are dealt with."""

    octets: bytes | memoryview = field(repr=False)
    ends: NDArray[np.int64] = field(default_factory=lambda: NO_ENDS)
    """Positions in ``octets`` behind which a record ends, ascending; two that are equal are an empty record."""

    def __eq__(self, other: object) -> bool:
        """Whether both bring the same octets and records."""
        if not isinstance(other, DataReceived):
            return NotImplemented
        return self.octets == other.octets and np.array_equal(self.ends, other.ends)

    def __hash__(self) -> int:
        """Equal for equal octets."""
        return hash(bytes(self.octets))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEnded:
    """F_CLOSE_FILE_IND: the Speaker's counts. Answer with ``ConfirmFile`` or ``RejectFile``."""

    records: int
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfirmed:
    """F_CLOSE_FILE_CF(+): the Listener has the file. ``has_turn`` is False when it asked for the turn and got it."""

    has_turn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRejected:
    """F_CLOSE_FILE_CF(-): the Listener could not keep the file; we keep the turn."""

    reason: AnswerReason
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndResponseReceived:
    """F_EERP_IND or F_NERP_IND: note it safely, then answer with ``SendReady``."""

    command: EndResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyReceived:
    """F_RTR_CF: the peer has noted our end response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReceived:
    """F_CD_IND: we are Speaker now, and may leave instead of speaking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReleased:
    """F_RELEASE_IND: the peer has ended the session normally."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAborted:
    """F_ABORT_IND: the session ended before its time, and why. For the network there is no wire reason: UNSPECIFIED."""

    origin: Origin
    reason: EndSessionReason
    text: str

    def __str__(self) -> str:
        told = f": {self.text}" if self.text else ""
        return (
            f"ended by {self.origin.value}, ESID {self.reason}{told}"
            if self.origin is not Origin.NETWORK
            else self.text
        )


Event = (
    SessionOffered
    | SessionEstablished
    | ChallengeWanted
    | ChallengeReceived
    | FileOffered
    | FileAccepted
    | FileRefused
    | CreditReceived
    | DataReceived
    | FileEnded
    | FileConfirmed
    | FileRejected
    | EndResponseReceived
    | ReadyReceived
    | TurnReceived
    | SessionReleased
    | SessionAborted
)
