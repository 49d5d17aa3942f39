"""Recording sessions as annotated transcripts (``oftp2.transcript``), for people who look for a fault.

An order says whose sessions are recorded, and until when; it does not outlive the daemon. A session to which none applies
costs nothing. Of the others the link hands over all octets as they pass, and everything else is done in a thread of the
disk, one at a time for all sessions: a disk that does not keep up ends the recording, never the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oftp2.transcript import Transcript
from oftp2.values import Role, is_identification_code
from oftp2d.errors import OperatorError
from oftp2d.logs import escaped
from oftp2d.tracefiles import TraceFiles
from oftp2d.workers import Workers

MAX_OCTETS: Final = 16 * 1024 * 1024
"""Octets of the trace of one session."""

MAX_WAITING: Final = 32 * 1024 * 1024
"""Octets of all sessions that wait to be written down, or are being written."""

MAX_UNNAMED: Final = 200
"""Lines that are kept of a caller that has not said who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whose sessions are recorded: those that begin until then, and no longer than that."""

    partner: str | None
    """Its code; None for all sessions."""
    since: datetime
    until: datetime

    def fits(self, partner: str | None) -> bool:
        """Whether it is about sessions with this partner; None is one that is not known."""
        return self.partner in {None, partner}


@dataclass(frozen=True, slots=True)
class _Piece:
    """What passed: octets of a side, or, without one, the reason why nothing more will."""

    now: float
    writer: Role | None
    octets: bytes = b""
    why: str = ""
    gone: bool = False
    """Whether it ended because the connection did."""


class Recording:
    """A session that is recorded, or will be if it turns out to be with the partner that is wanted.

    The first half of it runs in the reactor, ``write`` in a thread.
    """

    def __init__(self, traces: Traces, session: str, role: Role, partner: str | None) -> None:
        self.trace: str | None = None
        """The id of its file, once there is one."""
        self.line = "an unknown line"
        """Address of the peer and what carries the session, for people; known when the session begins."""
        self._traces = traces
        self._session = session
        self._role = role
        self._partner = partner
        self._orders = traces.orders()
        """Those that stood when it began: one of them decides whether it is recorded, later ones for how long."""
        self._began_at = traces.now()
        self._pieces: list[_Piece] = []
        self._over = False
        self._transcript = Transcript()
        self._unnamed: list[str] = []
        self._file: TextIO | None = None
        self._octets = 0
        self._begun = False

    # --- in the reactor -----------------------------------------------------------------------------------------

    def received(self, octets: bytes) -> None:
        """The peer has written this."""
        self._note(Role.RESPONDER if self._role is Role.INITIATOR else Role.INITIATOR, octets)

    def sent(self, octets: bytes) -> None:
        """We have written this."""
        self._note(self._role, octets)

    def closed(self, why: str) -> None:
        """The connection is gone."""
        self._end(why, gone=True)

    def stop(self, why: str) -> None:
        """Record no more of it."""
        self._end(why, gone=False)

    def wanted(self) -> bool:
        """Whether there is an order that it fits, or may fit once it is known with whom it is."""
        return any(self._partner is None or order.fits(self._partner) for order in self._traces.orders())

    def take(self) -> list[_Piece]:
        """What is to be written down next."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def give_up(self) -> list[_Piece]:
        """Nothing more is written down; what was still to be."""
        self._over = True
        return self.take()

    def _note(self, writer: Role, octets: bytes) -> None:
        if self._over:
            return
        if self._traces.waiting + len(octets) > MAX_WAITING:
            self._end("the disk does not keep up with what is recorded", gone=False)
        elif not self.wanted():
            self._end("the time for which it was to be recorded is over", gone=False)
        else:
            self._put(_Piece(self._traces.clock(), writer, octets))

    def _end(self, why: str, *, gone: bool) -> None:
        if not self._over:
            self._over = True
            self._put(_Piece(self._traces.clock(), None, why=why, gone=gone))

    def _put(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._traces.waiting += len(piece.octets)
        self._traces.wake(self)

    # --- in a thread --------------------------------------------------------------------------------------------

    def write(self, pieces: list[_Piece]) -> bool:
        """Write the pieces down. Whether more may come.

        Raises ``OSError`` when the disk does not take them, ``OperatorError`` when there is no room for one more trace.
        """
        try:
            more = all(self._add(line) for piece in pieces for line in self._lines_of(piece))
            ended = pieces[-1].writer is None
            more = more and all(self._add(line) for line in self._transcript.rest())
            more = more and (self._file is not None or not (ended or self._name()) or self._open())
            if self._file is not None:
                self._file.flush()
        except BaseException:
            self._close()
            raise
        if not more or ended:
            self._close()
        return more and not ended

    def _lines_of(self, piece: _Piece) -> Iterator[str]:
        """The lines for a piece; before the first octets one that says that the connection stands."""
        if piece.writer is not None:
            if not self._begun:
                self._begun = True
                yield from self._transcript.connected(piece.now)
            yield from self._transcript.wrote(piece.writer, piece.octets, piece.now)
        elif piece.gone:
            yield from self._transcript.closed(piece.now)
            yield f"# {escaped(piece.why)}"
        else:
            yield from self._transcript.rest()
            yield f"# not recorded any further: {escaped(piece.why)}"

    def _add(self, line: str) -> bool:
        """Write a line, or keep it while it is not known whose session it is. Whether more may come."""
        if self._file is None:
            self._unnamed.append(line)
            return len(self._unnamed) <= MAX_UNNAMED or self._open()
        self._octets += len(line) + 1
        if self._octets > MAX_OCTETS:
            line = f"# not recorded any further: {MAX_OCTETS // 1024} KiB are enough"
        self._file.write(f"{line}\n")
        return self._octets <= MAX_OCTETS

    def _open(self) -> bool:
        """Begin the file, if the session is one that is wanted and anything has happened in it. Whether it is."""
        partner = self._name()
        if not self._begun or not any(order.fits(partner) for order in self._orders):
            return False
        self.trace, self._file = self._traces.files.create(
            self._session, self._began_at, self._role, partner, self.line
        )
        unnamed, self._unnamed = self._unnamed, []
        return all(self._add(line) for line in unnamed)

    def _name(self) -> str | None:
        """The code of the partner, once it is known."""
        if self._partner is None:
            peer = Role.RESPONDER if self._role is Role.INITIATOR else Role.INITIATOR
            code = self._transcript.codes.get(peer, "")
            self._partner = code if is_identification_code(code) else None
        return self._partner

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Traces:
    """All recordings of the daemon, and what is to be recorded."""

    log = Logger(namespace="trace")

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        folder: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.files = TraceFiles(folder)
        self.now = now
        """The time of day, UTC."""
        self.clock: Callable[[], float] = reactor.seconds
        self.waiting = 0
        """Octets that wait to be written down, or are being written."""
        self._workers = workers
        self._orders: list[Order] = []
        self._recordings: set[Recording] = set()
        self._queue: deque[Recording] = deque()
        self._written: Deferred[None] | None = None
        """Fires when all is written down; None while nothing is to be."""

    def start(self, partner: str | None, seconds: int) -> Order:
        """Record the sessions with a partner, or all, that begin from now on; again for the same partner: for longer."""
        now = self.now()
        order = Order(partner=partner, since=now, until=now + timedelta(seconds=seconds))
        self._orders = [*(each for each in self.orders() if each.partner != partner), order]
        self.log.info(
            "{what} are recorded until {until}", what=_sessions_of(partner), until=f"{order.until:%H:%M:%S} UTC"
        )
        return order

    def stop(self, partner: str | None) -> list[Order]:
        """Take back the order for a partner, without one all of them; what is being recorded for them ends there."""
        ended = [order for order in self.orders() if partner in {None, order.partner}]
        self._orders = [order for order in self.orders() if order not in ended]
        for recording in list(self._recordings):
            if not recording.wanted():
                recording.stop("it was stopped")
        for order in ended:
            self.log.info("{what} are not recorded any more", what=_sessions_of(order.partner))
        return ended

    def orders(self) -> list[Order]:
        """Those whose time is not over."""
        now = self.now()
        return [order for order in self._orders if now < order.until]

    def recording(self) -> set[str]:
        """The ids of traces that still grow."""
        return {recording.trace for recording in self._recordings if recording.trace is not None}

    def record(self, session: str, role: Role, partner: str | None) -> Recording | None:
        """What is to be told of a session that begins; None when it is not to be recorded.

        ``partner`` is whom we call; who calls us is not known yet, and any order may be the one.
        """
        recording = Recording(self, session, role, partner)
        if not recording.wanted():
            return None
        self._recordings.add(recording)
        return recording

    def wake(self, recording: Recording) -> None:
        """There is something to write down for this one."""
        if recording not in self._queue:
            self._queue.append(recording)
        if self._written is None:
            self._written = Deferred()
            Deferred.fromCoroutine(self._write_all())

    async def finish(self) -> None:
        """End all recordings, and wait until everything is written down."""
        for recording in list(self._recordings):
            recording.stop("the station has stopped")
        if self._written is not None:
            await self._written

    async def _write_all(self) -> None:
        """Write down what there is, one recording after the other."""
        try:
            while self._queue:
                recording = self._queue.popleft()
                pieces = recording.take()
                if pieces and not await self._write(recording, pieces):
                    pieces += recording.give_up()
                    self._recordings.discard(recording)
                self.waiting -= sum(len(piece.octets) for piece in pieces)
        finally:
            written, self._written = self._written, None
            if written is not None:
                written.callback(None)

    async def _write(self, recording: Recording, pieces: list[_Piece]) -> bool:
        """Write down pieces of one; a failure costs this recording, and nothing else."""
        try:
            return await self._workers.disk(recording.write, pieces)
        except OperatorError as error:
            self.log.warn("a session is not recorded: {what}; {advice}", what=error.what, advice=error.advice)
        except OSError as error:
            self.log.warn("a session is not recorded: the disk does not take it ({why})", why=error.strerror)
        except Exception:  # noqa: BLE001 - whatever it is, sessions go on
            self.log.failure("a session could not be recorded")
        return False


def _sessions_of(partner: str | None) -> str:
    return "all sessions" if partner is None else f"sessions with {partner}"
