"""What the User Monitor may ask of a session: the requests and responses of RFC 5024 section 3.

Every one is refused with ``LocalProtocolError``, and nothing changes, when the state does not allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oftp2.commands import EndResponse, Sfid
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.values import MAX_BUFFER_SIZE, MAX_CREDIT, Level, Mode, check_window

MAX_DATA: Final = 1 << 21
"""Octets that one ``SendData`` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptSession:
    """F_CONNECT_RS: as Responder, go on with the Initiator that ``SessionOffered`` announced, and say who we are."""

    code: str
    password: str = field(repr=False)
    authentication: bool = False
    """Whether we require secure authentication; unless it equals the Initiator's, the session ends with ESID 12."""

    level: Level = Level.REVISION_2_0
    """The highest release level to speak with this Initiator, where that is less than our capabilities."""

    lowest_level: Level = Level.REVISION_1_2
    """The lowest release level with this Initiator: unless it has that, the session ends with ESID 10."""

    mode: Mode = Mode.BOTH
    """What we do with this Initiator, where that is less than our capabilities: send, receive, or both."""

    compression: bool = True
    """Whether buffers may be compressed with this Initiator, where our capabilities allow it."""

    restart: bool = True
    """Whether files may be restarted with this Initiator, where our capabilities allow it."""

    buffer_size: int = MAX_BUFFER_SIZE
    """The longest Data Exchange Buffer this Initiator shall use, where that is less than our capabilities (octets)."""

    credit: int = MAX_CREDIT
    """The longest run of Data Exchange Buffers with this Initiator, where that is less than our capabilities."""

    def __post_init__(self) -> None:
        check_window(self.buffer_size, self.credit)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFile:
    """F_START_FILE_RQ: as Speaker, begin a file. ``FileAccepted`` or ``FileRefused`` will answer."""

    command: Sfid


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptFile:
    """F_START_FILE_RS(+): as Listener, take the file from ``restart`` on (not beyond the offered position)."""

    restart: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseFile:
    """F_START_FILE_RS(-): as Listener, do not take the file."""

    reason: AnswerReason
    retry: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SendData:
    """F_DATA_RQ: octets of the file, up to ``MAX_DATA``; ``last`` with the end of the file.

    What the credit does not cover goes when it comes: ``CreditReceived`` tells when all is on its way and more may follow.
    """

    octets: bytes | bytearray | memoryview = field(repr=False)
    ends: Sequence[int] | NDArray[np.int64] = field(default=(), repr=False)
    """Positions in ``octets`` behind which a record ends, ascending; two that are equal are an empty record."""
    last: bool = False
    compress: bool = False
    """Whether to compress runs of one octet, where that was agreed and is worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseFile:
    """F_CLOSE_FILE_RQ: the file is complete, with these counts. Not while waiting for credit."""

    records: int = 0
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmFile:
    """F_CLOSE_FILE_RS(+): the file is safe with us. ``wants_turn`` asks for the turn (EFPA with CD)."""

    wants_turn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectFile:
    """F_CLOSE_FILE_RS(-): the file came whole but cannot be kept."""

    reason: AnswerReason
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendEndResponse:
    """F_EERP_RQ or F_NERP_RQ: an end response, signed already if it is to be. ``ReadyReceived`` will answer."""

    command: EndResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReady:
    """F_RTR_RS: the end response has been noted, the next may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDirection:
    """F_CD_RQ: as Speaker, pass the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """F_RELEASE_RQ: leave. With reason NORMAL only right after the turn came; with any other at any time."""

    reason: EndSessionReason = EndSessionReason.NORMAL
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """F_ABORT_RQ: give up the connection without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    """This many octets of ``DataReceived`` are dealt with; when all are and credit is used up, the peer gets more."""

    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendChallenge:
    """The answer to ``ChallengeWanted``: the envelope for the peer, and the 20 octets it must send back."""

    envelope: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerChallenge:
    """The answer to ``ChallengeReceived``: the 20 octets that were in the envelope."""

    secret: bytes = field(repr=False)


Request = (
    AcceptSession
    | StartFile
    | AcceptFile
    | RefuseFile
    | SendData
    | CloseFile
    | ConfirmFile
    | RejectFile
    | SendEndResponse
    | SendReady
    | ChangeDirection
    | EndSession
    | Abort
    | Consumed
    | SendChallenge
    | AnswerChallenge
)
