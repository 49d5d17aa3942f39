"""The facade: one OFTP2 session without any I/O (RFC 5024).

Octets from the peer go in, events come out; requests of the User Monitor go in, octets for the peer come out. Time is an
argument (seconds of any monotonic clock). What the peer does wrong is never an exception: it ends the session with the
reason of section 5.3.11 and a ``SessionAborted`` event. What the application does wrong is a ``LocalProtocolError``, and
nothing has changed.

    session = Session(Role.RESPONDER, capabilities)
    session.connected(now)
    events = session.receive_data(octets, now)
    events = session.send(AcceptFile(restart=0), now)
    octets = session.data_to_send()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from oftp2 import buffers, codec, framing
from oftp2 import commands as c
from oftp2 import requests as r
from oftp2.errors import BufferSizeError, InvalidDataError, LocalProtocolError, RemoteProtocolError
from oftp2.events import DataReceived, Event
from oftp2.layouts import COMMAND_OCTETS
from oftp2.machine import DataIn, DataOut, Machine, Variables
from oftp2.negotiation import Capabilities, Terms
from oftp2.reasons import EndSessionReason
from oftp2.tables import Input, Row, State
from oftp2.values import Level, Role, Turn

INACTIVITY: Final = 120.0
"""Seconds of silence after which a session is given up, unless the application says otherwise."""

CLOSING: Final = 10.0
"""Seconds that a peer has to close the connection after our ESID."""

MAX_EMPTY_SUBRECORDS: Final = 1_000_000
"""Subrecords without octets that one file may hold: some real senders make thousands, none a million."""

SPEAKER: Final = frozenset(
    {State.IDLESP, State.IDLESPCD, State.WF_RTR, State.OPOP, State.OPO, State.OPOWFC, State.CLOP}
)
LISTENER: Final = frozenset(
    {
        State.IDLELI,
        State.IDLELICD,
        State.OPIP,
        State.OPI,
        State.CLIP,
        State.RTRP,
        State.WF_CD,
        State.ERSTWFCD,
        State.NRSTWFCD,
        State.SFSTWFCD,
        State.CDSTWFCD,
    }
)

MAX_ROWS: Final = 1 << 19
"""Octets of Data Exchange Buffers that are read in one go; compressed ones may expand 32-fold."""

OURS: Final = frozenset(
    {
        State.A_WF_CONRS,
        State.WF_CHALLENGE_RS,
        State.WF_RESPONSE_RS,
        State.OPIP,
        State.CLIP,
        State.RTRP,
    }
)
"""The states in which the peer has asked, and waits for our User Monitor's answer."""

MAX_CREDITS: Final = 1000
"""CDTs that may come between two pieces of data: some peers give credit early, none that often."""

_ESID: Final = b"F"
_DATA: Final = ord("D")

_INPUTS: Final[Mapping[type[Any], Input]] = {
    **{kind: Input(kind.__name__.upper()) for kind in COMMAND_OCTETS.values() if kind is not c.Esid},
    r.AcceptSession: Input.F_CONNECT_RS,
    r.StartFile: Input.F_START_FILE_RQ,
    r.AcceptFile: Input.F_START_FILE_RS,
    r.RefuseFile: Input.F_START_FILE_RS,
    r.SendData: Input.F_DATA_RQ,
    r.CloseFile: Input.F_CLOSE_FILE_RQ,
    r.ConfirmFile: Input.F_CLOSE_FILE_RS,
    r.RejectFile: Input.F_CLOSE_FILE_RS,
    r.SendReady: Input.F_RTR_RS,
    r.ChangeDirection: Input.F_CD_RQ,
    r.EndSession: Input.F_REL_RQ_OK,
    r.SendEndResponse: Input.F_EERP_RQ,
    r.Abort: Input.F_ABORT_RQ,
    r.Consumed: Input.F_CONSUMED_RQ,
    r.SendChallenge: Input.F_CHALLENGE_RS,
    r.AnswerChallenge: Input.F_RESPONSE_RS,
}


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """Data Exchange Buffers of which some wait for credit."""

    encoded: buffers.Encoded
    sent: int = 0

    def take(self, credit: int) -> DataOut:
        """As many as there is credit for."""
        first, self.sent = self.sent, min(self.sent + credit, len(self.encoded))
        return DataOut(buffers=self.sent - first, stream=self.encoded.between(first, self.sent))

    @property
    def done(self) -> bool:
        return self.sent == len(self.encoded)


def input_of(payload: c.Command | r.Request) -> Input:
    """The input event of section 9.4 that a command or request is."""
    match payload:
        case c.Esid(reason=reason):
            return Input.ESID_NORMAL if reason is EndSessionReason.NORMAL else Input.ESID_ERROR
        case r.EndSession(reason=reason) if reason is not EndSessionReason.NORMAL:
            return Input.F_REL_RQ_ERR
        case r.SendEndResponse(command=c.Nerp()):
            return Input.F_NERP_RQ
    return _INPUTS[type(payload)]


class Session:
    """One side of an OFTP2 session.

    An Initiator gives its identification ``code`` and ``password`` here, a Responder with ``AcceptSession``, when it knows
    who calls. ``inactivity`` and ``closing`` are in seconds. Raises ``LocalProtocolError`` for what SSID cannot carry.
    """

    def __init__(
        self,
        role: Role,
        capabilities: Capabilities,
        *,
        code: str = "",
        password: str = "",
        inactivity: float = INACTIVITY,
        closing: float = CLOSING,
    ) -> None:
        self.role = role
        self._machine = Machine(Variables(role=role, capabilities=capabilities, code=code, password=password))
        self._reader = framing.FrameReader()
        self._out: list[bytes | memoryview] = []
        self._waiting: _Waiting | None = None
        self._inactivity = inactivity
        self._closing = closing
        self._touched: float | None = None
        self._empty = 0
        self._credits = 0
        self._deaf = False
        codec.encode(self._machine.introduction())
        if role is Role.INITIATOR:
            self._apply(Input.F_CONNECT_RQ, None)

    @property
    def state(self) -> State:
        """Where the session is, in the RFC's words (section 9.3)."""
        return self._machine.state

    @property
    def turn(self) -> Turn:
        """Whether we are the Speaker, the Listener, or neither (opening and closing)."""
        if self.state in SPEAKER:
            return Turn.SPEAKER
        return Turn.LISTENER if self.state in LISTENER else Turn.NOBODY

    @property
    def terms(self) -> Terms | None:
        """What was agreed, once both SSIDs are known."""
        return self._machine.variables.terms

    @property
    def peer(self) -> c.Ssid | None:
        """How the peer has introduced itself."""
        return self._machine.variables.peer

    @property
    def credit(self) -> int:
        """Data Exchange Buffers that may be sent now, 0 to the agreed window."""
        return self._machine.variables.credit_speaker

    @property
    def listener_credit(self) -> int:
        """Data Exchange Buffers that the peer may still send, 0 to the agreed window."""
        return self._machine.variables.credit_listener

    @property
    def deadline(self) -> float | None:
        """When ``tick`` must be called at the latest; None while no timer runs.

        While the peer waits for an answer of our User Monitor, none does: that may take its time to bring a large file to
        disk. (The RFC lets its timer run there too, which would end a session for our own slowness.)
        """
        if self._touched is None or self.state is State.IDLE or self._our_move:
            return None
        return self._touched + self.patience

    @property
    def _our_move(self) -> bool:
        return self.state in OURS or (self.state is State.OPI and self._machine.variables.unconsumed > 0)

    @property
    def patience(self) -> float:
        """How long the timer that runs in this state is, in seconds."""
        return self._closing if self.state is State.WF_NDISC else self._inactivity

    @property
    def finished(self) -> bool:
        """Whether the session is over and the connection is to be closed, as soon as all octets are sent."""
        return self.state is State.IDLE and self._touched is not None

    def accepts(self, request: type[r.Request]) -> bool:
        """Whether the state allows requests of this kind at all; what is asked for may still be refused.

        For ``EndSession`` the answer is about leaving with reason NORMAL.
        """
        return self._machine.allows(_INPUTS[request])

    def connected(self, now: float) -> list[Event]:
        """The connection stands (over TLS: after the handshake). Once only: a session is for one connection."""
        if self.finished:
            raise LocalProtocolError("the session is over, another connection takes another session")
        event = Input.N_CON_CF if self.role is Role.INITIATOR else Input.N_CON_IND
        return self._step(event, None, now)

    def connection_lost(self, why: str, now: float) -> list[Event]:
        """The connection is gone; ``why`` is a line for people. Harmless when the session is over."""
        self._reader.clear()
        return self._step(Input.N_DISC_IND, why, now)

    def tick(self, now: float) -> list[Event]:
        """Let time pass: ends the session when its deadline is over."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return []
        why = f"nothing happened for {self.patience:g} seconds in state {self.state.value}"
        return self._step(Input.TIME_OUT, why, now)

    def taken(self, now: float) -> None:
        """The peer takes what we have said, slowly: the inactivity timer begins anew, as it does for what the peer says.

        An application that cannot tell says nothing, and the timer runs from the last thing that was said. After our ESID
        there is nothing any more that is worth waiting for.
        """
        if self._touched is not None and self.state is not State.WF_NDISC:
            self._touched = now

    def send(self, request: r.Request, now: float) -> list[Event]:
        """Do what the User Monitor asks. Raises ``LocalProtocolError`` and changes nothing when it may not be done."""
        if isinstance(request, r.SendData) and self.state is State.OPO:
            return self._send_data(request, now)
        return self._step(input_of(request), request, now)

    def feed(self, octets: bytes) -> None:
        """Take octets that ``receive_data`` is to read together with those that follow."""
        if not self._deaf and self.state not in {State.IDLE, State.I_WF_NC}:
            self._reader.feed(octets)

    def receive_data(self, octets: bytes, now: float) -> list[Event]:
        """Take octets from the peer, in pieces of any size. Never raises for what they hold."""
        self.feed(octets)
        events: list[Event] = []
        data: list[DataReceived] = []
        while (told := self._receive(now)) is not None:
            if len(told) == 1 and isinstance(told[0], DataReceived):
                data.append(told[0])
                continue
            events += _joined(data)
            data.clear()
            events += told
        return events + _joined(data)

    def data_to_send(self) -> bytes | memoryview:
        """The octets for the peer since the last call."""
        octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return octets

    def _receive(self, now: float) -> list[Event] | None:
        """Take one Exchange Buffer, or many of data; None when no whole one is there, or the session is over."""
        if self._deaf or self.finished:
            self._reader.clear()
            return None
        try:
            data = self._receive_rows() if self.state is State.OPI else None
            if data is not None:
                return self._step(Input.DATA, data, now)
            buffer = self._reader.take()
            if buffer is None:
                return None
            if self.state is State.WF_NDISC and not buffer.startswith(_ESID):
                # Nothing else matters any more, and to read what comes would keep us as busy as the peer likes.
                return []
            command = codec.decode(buffer, self._machine.variables.level)
            if isinstance(command, c.Sfid):
                self._empty = 0
            elif isinstance(command, c.Cdt):
                self._count_credit()
        except RemoteProtocolError as error:
            # The stream cannot be trusted to be at a boundary any more.
            self._deaf = True
            return self._step(Input.INVALID_BUFFER, error, now)
        return self._step(input_of(command), command, now)

    def _count_credit(self) -> None:
        self._credits += 1
        if self._credits > MAX_CREDITS:
            raise RemoteProtocolError("credit is given again and again for no data")

    def _receive_rows(self) -> DataIn | None:
        """All Data Exchange Buffers of one length that are here and covered by credit, but no more than is good at once."""
        terms = self._machine.variables.agreed
        rows = self._reader.take_alike(_DATA, max(min(self.listener_credit, MAX_ROWS // terms.buffer_size), 1))
        if rows is None:
            return None
        # One octet more than agreed is what some real systems send.
        if rows.shape[1] > terms.buffer_size:
            raise BufferSizeError(f"DATA has {rows.shape[1] + 1} octets, agreed are {terms.buffer_size}")
        decoded = buffers.decode_rows(rows)
        if decoded.compressed and not terms.compression:
            raise InvalidDataError("DATA holds compressed subrecords, which was not agreed")
        self._empty += decoded.empty
        if self._empty > MAX_EMPTY_SUBRECORDS:
            raise InvalidDataError(f"the file holds more than {MAX_EMPTY_SUBRECORDS} empty subrecords")
        return DataIn(buffers=len(rows), content=decoded)

    def _send_data(self, request: r.SendData, now: float) -> list[Event]:
        """Encode all of it, and send what the credit covers; the rest goes when credit comes."""
        if len(request.octets) > r.MAX_DATA:
            raise LocalProtocolError(f"{len(request.octets)} octets are more than the {r.MAX_DATA} that go at once")
        terms = self._machine.variables.agreed
        encoded = buffers.encode(
            request.octets,
            terms.buffer_size,
            ends=request.ends,
            last=request.last,
            compress=request.compress and terms.compression,
        )
        self._waiting = _Waiting(encoded=encoded)
        return self._send_waiting(now)

    def _send_waiting(self, now: float) -> list[Event]:
        assert self._waiting is not None  # noqa: S101 - asked for where something waits
        self._credits = 0
        events = self._step(Input.F_DATA_RQ, self._waiting.take(self.credit), now)
        if not self._waiting.done:
            return []
        self._waiting = None
        return events

    def _step(self, event: Input, payload: object, now: float) -> list[Event]:
        row, events = self._apply(event, payload)
        if self._waiting is not None and event is not Input.F_DATA_RQ:
            if row.to is State.OPO:
                return self._send_waiting(now)
            self._waiting = None
        # What is merely ignored re-arms nothing, or a peer could hold a session that is over for ever.
        if row.actions or row.outputs or self._touched is None:
            self._touched = now
        return events

    def _apply(self, event: Input, payload: object) -> tuple[Row, list[Event]]:
        row, variables, outcome = self._machine.step(event, payload)
        written = [self._write(said, variables.level) for said in outcome.says]
        if variables.stored is not None and variables.stored is not self._machine.variables.stored:
            # Now is the time to refuse it: when the turn comes, nobody is there to be told.
            codec.encode(variables.stored.command, variables.level)
        self._machine.commit(row, variables)
        self._out += written
        return row, list(outcome.tells)

    def _write(self, said: c.Command | DataOut, level: Level) -> bytes | memoryview:
        if isinstance(said, DataOut):
            return said.stream
        return framing.frame(codec.encode(said, level))


def _joined(data: list[DataReceived]) -> list[Event]:
    """All data that came one after the other as one event."""
    if len(data) < 2:
        return [*data]
    starts = np.cumsum([0, *(len(each.octets) for each in data)])
    ends = np.concatenate([each.ends + start for each, start in zip(data, starts, strict=False)])
    return [DataReceived(octets=b"".join(each.octets for each in data), ends=ends)]
