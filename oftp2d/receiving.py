"""One file in: from SFID to EFPA, or to the reason why not.

The order that makes an acknowledged file safe: the octets are in a file of the spool, synced, the ledger has committed,
the file is renamed into the inbox, and only then EFPA goes. So there is nothing in the inbox that the ledger does not
know; what a crash leaves behind between the commit and the rename the next start puts there.

Data is consumed, and so credit given back, when it is in the buffer of at most ``BUFFERED`` octets; one write to the
disk is under way while the next is collected, so that a slow disk slows the peer through the protocol itself. What
came last is written when the file is sealed, so that a small one takes one hop to the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oftp2.commands import Sfid
from oftp2.events import DataReceived, FileEnded
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.requests import AcceptFile, ConfirmFile, Consumed, EndSession, RefuseFile, RejectFile
from oftp2.values import FileFormat, SecurityLevel
from oftp2d.acx import MAX_OCTETS, message_of
from oftp2d.context import Context
from oftp2d.forwarding import NoRoute, route
from oftp2d.ledger import Busy, Duplicate, Kind, NewIncoming, NewReceipt, Partner, ReceiptKind, Transfer
from oftp2d.line import Line, SessionOverError
from oftp2d.spool import Part, SpoolError, SpoolFullError, Staged, inbox_name

CHUNK = 256 * 1024
"""Octets that make a write to the disk worth a thread."""

BUFFERED = 4 * CHUNK
"""Octets that may wait for the disk before the peer has to."""

EXCESS = 64 * 1024 * 1024
"""Octets beyond the limit that are read and thrown away, so that EFNA can say why; then the session ends."""

BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a file is not taken: SFNA before its data, EFNA behind."""

    reason: AnswerReason
    text: str
    retry: bool = False


class Receiving:
    """Receives the files of one session, one after the other."""

    log = Logger(namespace="receiving")

    def __init__(self, context: Context, line: Line, *, owner: str, partner: Partner, stations: frozenset[str]) -> None:
        self._context = context
        self._line = line
        self._owner = owner
        self._partner = partner
        self._stations = stations
        self._theirs = frozenset({partner.code, *partner.sub_stations})
        self._onward: Partner | None = None
        """To whom the file in hand is forwarded; None for one of ours."""
        self._placed = False
        """Whether something was placed in the inbox that is not yet brought to disk there."""

    async def receive(self, offer: Sfid, *, wants_turn: bool) -> Transfer | None:
        """Answer an offered file and receive it; the transfer when it is safely here, None when it was refused.

        Raises ``SessionOverError`` when the session ends before the file does.
        """
        refusal = await self._judge(offer)
        if refusal is None:
            opened = await self._context.workers.database(self._open, offer)
            if isinstance(opened, Transfer):
                return await self._take(opened, wants_turn=wants_turn)
            refusal = opened if isinstance(opened, Refusal) else _here_already(opened)
        self._refuse(offer, refusal)
        return None

    async def settle(self) -> None:
        """Bring to disk what was placed in the inbox. A failure is told, and harmless as long as the power stays."""
        if self._placed:
            self._placed = False
            try:
                await self._context.workers.disk(self._context.spool.sync_inbox)
            except SpoolError as error:
                self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)

    def _open(self, offer: Sfid) -> Transfer | Duplicate | Busy | Refusal:
        """Begin to receive if there is room. In the database worker: to ask for the room is not worth another hop."""
        announced = max(offer.size, 1) * BLOCK
        try:
            free = self._context.spool.free_octets()
        except SpoolError as error:
            return Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text=error.what, retry=True)
        if free - announced < self._context.config.spool.free_octets_reserved:
            return Refusal(
                reason=AnswerReason.ACCESS_METHOD_FAILURE, text="not enough room on the disk now", retry=True
            )
        return self._context.ledger.transfers.open_incoming(
            self._incoming(offer), self._context.now(), self._owner, self._context.lease
        )

    async def _take(self, transfer: Transfer, *, wants_turn: bool) -> Transfer | None:
        """Receive into the part file of a transfer that the ledger has opened."""
        disk, spool = self._context.workers.disk, self._context.spool
        fresh = transfer.attempts <= 1
        try:
            part = spool.part(transfer.id, fresh=True) if fresh else await disk(self._empty_part, transfer)
        except SpoolError as error:
            await self._give_back(transfer)
            self._refuse(transfer, Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text=error.what, retry=True))
            return None
        try:
            outcome = await self._collect(transfer, part)
        except BaseException:
            await self._give_back(transfer)
            raise
        finally:
            if part.is_open:
                await disk(part.close)
        if isinstance(outcome, Transfer):
            self._line.request(ConfirmFile(wants_turn=wants_turn))
            return outcome
        await self._give_back(transfer)
        await self._discard(transfer)
        self._line.request(RejectFile(reason=outcome.reason, text=outcome.text))
        self._log_refusal(transfer, outcome, "EFNA")
        return None

    async def _collect(self, transfer: Transfer, part: Part) -> Transfer | Refusal:
        """All of the file, made safe; or why it cannot be kept."""
        intake = _Intake(
            context=self._context,
            line=self._line,
            part=part,
            transfer=transfer,
            owner=self._owner,
            limit=self._limit(transfer.kind),
        )
        try:
            self._line.request(AcceptFile(restart=0))
            end = await intake.collect()
            return intake.refusal or _wrong_count(end, intake.octets) or await self._keep(transfer, intake)
        except SessionOverError:
            # Without restart (RFC 5024 section 4.3.3) the file comes from its beginning again: the part serves nothing.
            self.log.info(
                "{partner}: {file} was cut off at {octets} octets and is expected again, transfer {transfer}",
                partner=self._partner.code,
                file=transfer.dataset,
                octets=intake.octets,
                transfer=transfer.id,
            )
            await self._discard(transfer)
            raise
        except SpoolFullError as error:
            return _no_room(error)
        except SpoolError as error:
            self.log.error(
                "{partner}: {what}; {advice}", partner=self._partner.code, what=error.what, advice=error.advice
            )
            return Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text="the file could not be stored", retry=True)

    def _empty_part(self, transfer: Transfer) -> Part:
        part = self._context.spool.part(transfer.id)
        try:
            part.resume(0)
        except SpoolError:
            part.close()
            raise
        return part

    async def _keep(self, transfer: Transfer, intake: _Intake) -> Transfer:
        """All of the file is here: make it safe, and say so to the ledger. Only then the peer may know."""
        workers, transfers, owner = self._context.workers, self._context.ledger.transfers, self._owner
        if self._onward is not None:
            sealed = await workers.disk(intake.finish, intake.part.seal_outgoing)
            kept = await workers.database(
                transfers.received_and_forwarded,
                transfer.id,
                sealed.octets,
                sealed.sha256,
                sealed.name,
                self._context.now(),
                partner_id=self._onward.id,
                owner=owner,
            )
        elif transfer.kind is Kind.EXCHANGE:
            sealed = await workers.disk(intake.finish, intake.part.seal)
            kept = await workers.database(
                transfers.received,
                transfer.id,
                sealed.octets,
                sealed.sha256,
                sealed.name,
                self._context.now(),
                owner=owner,
            )
        else:
            sealed = await workers.disk(intake.finish, intake.part.seal_ready)
            kept, fault = await workers.database(self._deliver, transfer, sealed)
            self._placed = True
            if fault is not None:
                self.log.error(
                    "{partner}: {file} will be in the inbox after the next start, transfer {transfer}: {what}; {advice}",
                    partner=self._partner.code,
                    file=transfer.dataset,
                    transfer=transfer.id,
                    what=fault.what,
                    advice=fault.advice,
                )
        self.log.info(
            "{partner}: received {file}, {octets} octets, transfer {transfer}{onward}",
            partner=self._partner.code,
            file=transfer.dataset,
            octets=kept.octets,
            transfer=kept.id,
            onward="" if self._onward is None else f", to be forwarded to {self._onward.code}",
        )
        return kept

    def _deliver(self, transfer: Transfer, sealed: Staged) -> tuple[Transfer, SpoolError | None]:
        """Commit, and place in the inbox what is committed; both in the database worker, to spare a hop."""
        name = inbox_name(transfer.id, transfer.dataset)
        kept = self._context.ledger.transfers.received_and_delivered(
            transfer.id,
            sealed.octets,
            sealed.sha256,
            name,
            self._context.now(),
            receipt=NewReceipt(kind=ReceiptKind.EERP),
            owner=self._owner,
        )
        try:
            self._context.spool.place(transfer.id, name)
        except SpoolError as fault:
            return kept, fault
        return kept, None

    async def _give_back(self, transfer: Transfer) -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.interrupted, transfer.id, self._context.now(), owner=self._owner
        )

    async def _discard(self, transfer: Transfer) -> None:
        """Free the room of a file that will not be kept; where that fails, the next start does it."""
        try:
            await self._context.workers.disk(lambda: self._context.spool.part(transfer.id).discard())
        except SpoolError as error:
            self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)

    async def _judge(self, offer: Sfid) -> Refusal | None:
        """What speaks against the file before a single octet of it is here."""
        refusal = await self._addressing(offer) or self._form(offer)
        if refusal is not None:
            return refusal
        limit = self._limit(self._kind(offer))
        if max(offer.size - 1, 0) * BLOCK > limit:
            return Refusal(
                reason=AnswerReason.FILE_TOO_BIG, text=f"SFIDFSIZ says {offer.size} KiB, allowed are {limit // BLOCK}"
            )
        if self._context.stopping:
            return Refusal(reason=AnswerReason.UNSPECIFIED, text="the station is stopping", retry=True)
        return None

    async def _addressing(self, offer: Sfid) -> Refusal | None:
        self._onward = None
        if offer.destination not in self._stations:
            way = await self._context.workers.database(route, self._context.ledger, offer, self._partner)
            if isinstance(way, NoRoute):
                reason = AnswerReason.DUPLICATE_FILE if way.duplicate else AnswerReason.INVALID_DESTINATION
                return Refusal(reason=reason, text=way.text)
            self._onward = way
        if offer.originator not in self._theirs:
            text = f"{offer.originator} is no station of {self._partner.code}"
            return Refusal(reason=AnswerReason.INVALID_ORIGIN, text=text)
        if not offer.dataset:
            return Refusal(reason=AnswerReason.INVALID_FILE_NAME, text="SFIDDSN is empty")
        return None

    def _kind(self, offer: Sfid) -> Kind:
        """A message of the certificate exchange is one for those it is for; to us it is a file to forward."""
        return Kind.FILE if self._onward is not None else _kind(offer)

    def _form(self, offer: Sfid) -> Refusal | None:
        """What is forwarded is nothing but octets: how they are secured is between its two ends."""
        return _stamp(offer) if self._onward is not None else _form(offer)

    def _limit(self, kind: Kind) -> int:
        return MAX_OCTETS if kind is Kind.EXCHANGE else self._context.config.limits.max_file_octets

    def _incoming(self, offer: Sfid) -> NewIncoming:
        return NewIncoming(
            kind=self._kind(offer),
            partner_id=self._partner.id,
            dataset=offer.dataset,
            date=offer.date,
            time=offer.time,
            originator=offer.originator,
            destination=offer.destination,
            format=offer.format.value,
            octets=offer.size * BLOCK,
            description=offer.description,
            user=offer.user,
            security=int(offer.security),
            cipher=offer.cipher,
            compression=offer.compression,
            envelope=offer.envelope,
            signed_response=offer.signed_response,
            original_size=offer.original_size,
        )

    def _refuse(self, offer: Sfid | Transfer, refusal: Refusal) -> None:
        self._line.request(RefuseFile(reason=refusal.reason, text=refusal.text, retry=refusal.retry))
        self._log_refusal(offer, refusal, "SFNA")

    def _log_refusal(self, offer: Sfid | Transfer, refusal: Refusal, answer: str) -> None:
        self.log.warn(
            "{partner}: refused {file} with {answer} {reason}: {text}",
            partner=self._partner.code,
            file=offer.dataset,
            answer=answer,
            reason=refusal.reason,
            text=refusal.text,
        )


@dataclass(slots=True, kw_only=True)
class _Intake:
    """Data on its way from the session to the part file."""

    context: Context
    line: Line
    part: Part
    transfer: Transfer
    owner: str
    limit: int
    octets: int = 0
    refusal: Refusal | None = None
    _held: list[bytes | memoryview] = field(default_factory=list)
    _held_octets: int = 0
    _writing: Deferred[None] | None = None
    _renewed_at: datetime | None = None

    async def collect(self) -> FileEnded:
        """Take all data of the file; returns what the Speaker says of it. A full disk becomes ``refusal``.

        What has come last is still to be written, by ``finish``.
        """
        try:
            while not isinstance(event := await self.line.event(), FileEnded):
                assert isinstance(event, DataReceived)  # noqa: S101 - the tables allow nothing else here
                await self._add(event.octets)
                if self.line.session.accepts(Consumed):
                    self.line.request(Consumed(octets=len(event.octets)))
        finally:
            await self._settle()
        return event

    async def _add(self, octets: bytes | memoryview) -> None:
        self.octets += len(octets)
        if self.octets > self.limit:
            self.refusal = Refusal(reason=AnswerReason.FILE_TOO_BIG, text=f"more than {self.limit} octets came")
        if self.octets > self.limit + EXCESS:
            self.line.request(
                EndSession(reason=EndSessionReason.UNSPECIFIED, text="the file is too big and does not end")
            )
        if self.refusal is not None:
            self._held.clear()
            self._held_octets = 0
            return
        self._held.append(octets)
        self._held_octets += len(octets)
        if self._writing is not None and self._writing.called:
            await self._settle()
        if self._held_octets >= BUFFERED:
            await self._settle()
        if self._held_octets >= CHUNK and self._writing is None:
            self._write()
        await self._renew()

    def _write(self) -> None:
        pieces, self._held, self._held_octets = self._held, [], 0
        self._writing = Deferred.fromCoroutine(self.context.workers.disk(self._put, pieces))

    def finish(self, seal: Callable[..., Staged]) -> Staged:
        """Write the rest and seal the part. In a disk worker. Raises SpoolError."""
        self._check_room(self._held)
        return seal(*self._held)

    def _put(self, pieces: list[bytes | memoryview]) -> None:
        self._check_room(pieces)
        self.part.write(*pieces)

    def _check_room(self, pieces: list[bytes | memoryview]) -> None:
        """Leave the reserve alone: SFIDFSIZ is a promise that nobody has to keep."""
        room = self.context.spool.free_octets() - sum(map(len, pieces))
        if room < self.context.config.spool.free_octets_reserved:
            raise SpoolFullError("no room left in the spool beyond its reserve", "free some room on its disk")

    async def _settle(self) -> None:
        """Wait for the write under way."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await writing
        except SpoolFullError as error:
            self.refusal = _no_room(error)

    async def _renew(self) -> None:
        now = self.context.now()
        self._renewed_at = self._renewed_at or now
        if now - self._renewed_at > self.context.lease / 4:
            self._renewed_at = now
            await self.context.workers.database(
                self.context.ledger.transfers.renew, self.transfer.id, self.owner, now, self.context.lease
            )


def _kind(offer: Sfid) -> Kind:
    return Kind.FILE if message_of(offer.dataset) is None else Kind.EXCHANGE


def _form(offer: Sfid) -> Refusal | None:
    """Whether the file is of a form we take: a date that exists, a format and security we know."""
    refusal = _stamp(offer)
    if refusal is not None:
        return refusal
    exchange = _kind(offer) is Kind.EXCHANGE
    if offer.format is not FileFormat.UNSTRUCTURED and not (exchange and offer.format is FileFormat.TEXT):
        return Refusal(reason=AnswerReason.RECORD_FORMAT_NOT_SUPPORTED, text=f"format {offer.format} is not supported")
    if offer.security in {SecurityLevel.ENCRYPTED, SecurityLevel.ENCRYPTED_AND_SIGNED}:
        text = "certificates are exchanged unencrypted" if exchange else "encrypted files are not supported"
        return Refusal(reason=AnswerReason.ENCRYPTED_NOT_ALLOWED, text=text)
    if offer.security is SecurityLevel.SIGNED and not exchange:
        return Refusal(reason=AnswerReason.SIGNED_NOT_ALLOWED, text="signed files are not supported")
    if offer.compression or (offer.envelope and not exchange):
        return Refusal(reason=AnswerReason.COMPRESSION_NOT_ALLOWED, text="compressed files are not supported")
    return None


def _stamp(offer: Sfid) -> Refusal | None:
    if is_stamp(offer.date, offer.time):
        return None
    return Refusal(reason=AnswerReason.INVALID_FILE_NAME, text=f"{offer.date} {offer.time} is no date and time")


def is_stamp(date: str, time: str) -> bool:
    """Whether CCYYMMDD and HHMMSScccc are a date and a time that exist; any counter is let pass (interop.md 12)."""
    try:
        datetime.strptime(date + time[:6], "%Y%m%d%H%M%S")  # noqa: DTZ007 - a stamp has no zone
    except ValueError:
        return False
    return True


def _here_already(found: Duplicate | Busy) -> Refusal:
    """Why a file is not opened: it arrived before, or arrives at this moment (then a retry may find it broken off)."""
    if isinstance(found, Duplicate):
        text = f"received before, {found.transfer.created_at:%F %T}Z"
        return Refusal(reason=AnswerReason.DUPLICATE_FILE, text=text)
    # Not 13, retry or no retry: a sender could take that for the confirmation it has missed.
    return Refusal(reason=AnswerReason.UNSPECIFIED, text="another session is receiving this file", retry=True)


def _no_room(error: SpoolFullError) -> Refusal:
    return Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text=error.what, retry=True)


def _wrong_count(end: FileEnded, octets: int) -> Refusal | None:
    if end.octets != octets:
        return Refusal(reason=AnswerReason.INVALID_BYTE_COUNT, text=f"EFIDUCNT is {end.octets}, {octets} octets came")
    return None
