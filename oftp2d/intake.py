"""Data of one file on its way from the session to its part file.

Data is consumed, and so credit given back, when it is in the buffer of at most ``BUFFERED`` octets; one write to the disk
follows the other while more is collected, so that a slow disk slows the peer through the protocol itself. What came last is
written when the file is sealed, so that a small one takes one hop to the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.events import DataReceived, FileEnded
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.records import (
    Octets,
    Position,
    RecordError,
    TextWriter,
    VariableWriter,
    Writer,
    has_records,
    stored_octets,
)
from oftp2.requests import Consumed, EndSession
from oftp2d.context import Context
from oftp2d.ledger import Transfer
from oftp2d.line import Line
from oftp2d.policy import Refusal
from oftp2d.spool import Part, SpoolError, SpoolFullError, Staged
from oftp2d.workers import Strand

CHUNK = 512 * 1024
"""Octets that make a write to the disk worth a thread."""

BUFFERED = 8 * CHUNK
"""Octets that may wait for the disk before the peer has to."""

EXCESS = 64 * 1024 * 1024
"""Octets beyond the limit that are read and thrown away, so that EFNA can say why; then the session ends."""

_log = Logger(namespace="intake")


@dataclass(slots=True, kw_only=True)
class Intake:
    """Data on its way from the session to the part file."""

    context: Context
    line: Line
    part: Part
    transfer: Transfer
    writer: Writer
    owner: str
    limit: int
    begin: Position
    refusal: Refusal | None = None
    _arrived: int = 0
    _ends: int = 0
    _held: list[DataReceived] = field(default_factory=list)
    _held_octets: int = 0
    _strand: Strand = field(init=False)
    _writing: deque[tuple[Deferred[None], int]] = field(default_factory=deque)
    """Writes under way, and the octets of each."""
    _broken: bool = False
    """Set by the first write that fails: what comes behind it must not be written in its place."""
    _renewed_at: datetime | None = None

    def __post_init__(self) -> None:
        self._strand = self.context.workers.strand()

    @property
    def octets(self) -> int:
        """Octets of the Virtual File that are here, those of former tries included."""
        return self.begin.octets + self._arrived

    @property
    def records(self) -> int:
        """Its records, the same way."""
        return self.begin.records + self.writer.records

    async def collect(self) -> FileEnded:
        """Take all data of the file; returns what the Speaker says of it. A disk that does not take it becomes ``refusal``.

        What has come last is still to be written, by ``finish``.
        """
        try:
            while not isinstance(event := await self.line.event(), FileEnded):
                assert isinstance(event, DataReceived)  # noqa: S101 - the tables allow nothing else here
                await self._add(event)
                if self.line.session.accepts(Consumed):
                    self.line.request(Consumed(octets=len(event.octets)))
        finally:
            await self._settle()
        return event

    def finish(self, end: FileEnded, seal: Callable[..., Staged]) -> Staged | Refusal:
        """Write the rest and seal the part; or why the file cannot be kept. In a disk worker. Raises SpoolError."""
        try:
            rest = [*self._stored(self._held), self.writer.finish()]
        except RecordError as error:
            return _bad_record(error)
        if isinstance(self.writer, VariableWriter) and not self.octets and not end.records and self.records == 1:
            # Some end an empty file with an end-of-record flag, as if it had an empty record.
            self.writer.records = 0
            rest = []
        refusal = self._miscounted(end)
        if refusal is not None:
            return refusal
        self._make_ready(rest)
        return seal(*rest)

    async def keep(self) -> bool:
        """After the session: bring to disk what came. False where it serves nothing."""
        try:
            return self.refusal is None and await self.context.workers.disk(self._keep)
        except (SpoolError, RecordError):
            return False

    def _keep(self) -> bool:
        self._put(self._held)
        return not self._broken and self.part.keep()

    def _miscounted(self, end: FileEnded) -> Refusal | None:
        """What EFID says of the whole file must be what is here (RFC 5024 section 5.3.8)."""
        octets = {self.octets}
        if isinstance(self.writer, TextWriter):
            # Who leaves line ends out may count them all the same.
            octets.add(self.octets + self.writer.added)
        if end.octets not in octets:
            text = f"EFIDUCNT is {end.octets}, {self.octets} octets came"
            return Refusal(reason=AnswerReason.INVALID_BYTE_COUNT, text=text)
        form = self.transfer.transferred_format
        if form != self.transfer.format:
            # Secured: its records are nobody's business before it is opened.
            return None
        # U and T have no records, but some count the ends they sent.
        records = {self.records} if has_records(form) else {0, self._ends}
        if end.records not in records:
            text = f"EFIDRCNT is {end.records}, {self.records} records came"
            return Refusal(reason=AnswerReason.INVALID_RECORD_COUNT, text=text)
        return None

    async def _add(self, data: DataReceived) -> None:
        self._arrived += len(data.octets)
        self._ends += len(data.ends)
        size = stored_octets(self.transfer.transferred_format, self.octets, self.begin.records + self._ends)
        if size > self.limit:
            self.refusal = Refusal(reason=AnswerReason.FILE_TOO_BIG, text=f"more than {self.limit} octets came")
        if size > self.limit + EXCESS:
            self.line.request(
                EndSession(reason=EndSessionReason.UNSPECIFIED, text="the file is too big and does not end")
            )
        if self.refusal is not None:
            self._held.clear()
            self._held_octets = 0
            return
        self._held.append(data)
        self._held_octets += len(data.octets) + data.ends.nbytes
        if self._held_octets >= CHUNK:
            self._write()
        while self._writing and (self._writing[0][0].called or sum(octets for _, octets in self._writing) > BUFFERED):
            await self._written()
        await self._renew()

    def _write(self) -> None:
        pieces, octets = self._held, self._held_octets
        self._held, self._held_octets = [], 0
        self._writing.append((self._strand.run(self._put, pieces), octets))

    def _put(self, pieces: list[DataReceived]) -> None:
        if self._broken:
            return
        try:
            stored = self._stored(pieces)
            self._make_ready(stored)
            self.part.write(*stored)
        except BaseException:
            self._broken = True
            raise

    def _stored(self, pieces: list[DataReceived]) -> list[Octets]:
        return [self.writer.take(each.octets, each.ends) for each in pieces]

    def _make_ready(self, pieces: list[Octets]) -> None:
        """Leave the reserve of the disk alone: SFIDFSIZ is a promise that nobody has to keep."""
        self.context.spool.keep_free(sum(map(len, pieces)), self.context.config.spool.free_octets_reserved)
        if isinstance(self.writer, TextWriter) and self.writer.added:
            # Its size does not say any more how much of the Virtual File it is.
            self.part.forgo()

    async def _settle(self) -> None:
        """Wait for all writes under way, whatever becomes of them."""
        try:
            while self._writing:
                await self._written()
        except BaseException:
            await DeferredList([writing for writing, _ in self._writing], consumeErrors=True)
            raise

    async def _written(self) -> None:
        """Wait for the oldest write under way."""
        writing, _ = self._writing.popleft()
        try:
            await writing
        except SpoolError as error:
            self.refusal = not_stored(error, self.transfer)
        except RecordError as error:
            self.refusal = _bad_record(error)

    async def _renew(self) -> None:
        now = self.context.now()
        self._renewed_at = self._renewed_at or now
        if now - self._renewed_at > self.context.lease / 4:
            self._renewed_at = now
            await self.context.workers.database(
                self.context.ledger.transfers.renew, self.transfer.id, self.owner, now, self.context.lease
            )


def not_stored(error: SpoolError, transfer: Transfer) -> Refusal:
    """A disk that does not take a file as an answer: another try may find room. What else is wrong with it is told."""
    if isinstance(error, SpoolFullError):
        return Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text=error.what, retry=True)
    _log.error(
        "{file} could not be stored, transfer {transfer}: {what}; {advice}",
        file=transfer.dataset,
        transfer=transfer.id,
        what=error.what,
        advice=error.advice,
    )
    return Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text="the file could not be stored", retry=True)


def _bad_record(error: RecordError) -> Refusal:
    return Refusal(reason=AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, text=str(error))
