"""One file out: from SFID to EFPA, or to the next try.

The ledger knows that EFID is about to go before it goes: when the answer is lost, the partner may have the file,
and its SFNA 13 (duplicate) at the next try means that it arrived. What was handed to a session that broke is offered as
restart position, the most that the partner can have; it says from where it wants to go on (RFC 5024 section 4.3.3).

A file that is small enough to be at hand as a whole is begun as soon as the one before it is confirmed. One
transaction notes both, the confirmation and the EFID to come, while the content is on its way.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import BinaryIO

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.commands import Sfid
from oftp2.errors import LocalProtocolError
from oftp2.events import (
    CreditReceived,
    FileAccepted,
    FileConfirmed,
    FileRefused,
    FileRejected,
    Origin,
    SessionAborted,
)
from oftp2.reasons import EndSessionReason
from oftp2.records import BEGINNING, BLOCK, PlainReader, Position, Reader, Records, has_records, last_position, reader
from oftp2.requests import MAX_DATA, CloseFile, SendData, StartFile
from oftp2.values import FileFormat, Level, SecurityLevel, clip
from oftp2d.claims import Outgoing
from oftp2d.context import Context
from oftp2d.forwarding import ORIGINATOR_TOLD, forget
from oftp2d.ledger import Partner, Transfer
from oftp2d.line import Line, SessionOverError, end_politely
from oftp2d.opening import is_secured
from oftp2d.partners import highest_level
from oftp2d.retries import Command, Course, advice, backoff, course, exhausted
from oftp2d.spool import SpoolError, read_piece, seek

CHUNK = MAX_DATA
"""Octets read from the disk at once."""


class UnsendableError(Exception):
    """What this file is cannot be said in this session: a field of SFID or EFID has no room for it."""


class Sending:
    """Sends the files of one session, one after the other."""

    log = Logger(namespace="sending")

    def __init__(self, context: Context, line: Line, *, owner: str, partner: Partner, progress: dict[str, int]) -> None:
        self._context = context
        self._line = line
        self._owner = owner
        self._partner = partner
        self._progress = progress
        self._confirmed: Transfer | None = None
        """The file that the partner has confirmed and of which the ledger does not know it yet."""
        self._may_have: bool | None = None
        """Whether the partner may have all of the file in hand: as it was before, until EFID goes; None as the ledger says."""
        self._reached: int | None = 0
        """Octets in the spool of the file in hand that the partner may have at most; None if it may have all."""

    async def send(self, outgoing: Outgoing) -> None:
        """Send a claimed transfer and note in the ledger what became of it; a confirmation is noted by ``settle``.

        Raises ``SessionOverError`` when the session ends before the answer; the transfer is queued again. Also when it is
        ended because of the file, which has then failed.
        """
        transfer = await self._told_apart(outgoing.transfer)
        if transfer is None:
            return
        self._may_have = transfer.efid_sent
        self._reached = transfer.reached
        try:
            if outgoing.content is None:
                await self._send_large(transfer)
            else:
                await self._send_small(transfer, outgoing.content)
        except SessionOverError as over:
            await self._again(transfer, str(over), over.reason)
            raise
        except SpoolError as error:
            await self._unable(transfer, f"{error.what}; {error.advice}")
        except UnsendableError as error:
            await self._unable(transfer, f"it cannot be sent: {self._why_not(transfer, error)}")
        finally:
            self._progress.pop(transfer.id, None)

    async def settle(self) -> None:
        """Note the last confirmation, if that is still to be done."""
        confirmed, self._confirmed = self._confirmed, None
        if confirmed is not None:
            await self._sent(confirmed, "")

    async def _told_apart(self, transfer: Transfer) -> Transfer | None:
        """The file with a stamp that the partner can tell from any other at the level of this session; None where it waits.

        Below level 4 the counter of the stamp stays behind (RFC 2204 section 5.3.3). To be taken for another file would
        mean SFNA 13 for a file that the partner has not got, or an EERP for both.
        """
        level = self._level
        if level >= Level.REVISION_1_4:
            return transfer
        apart = await self._context.workers.database(
            self._context.ledger.transfers.tell_apart, transfer.id, self._owner, self._context.now()
        )
        if apart is not None:
            return apart
        self._may_have, self._reached = transfer.efid_sent, transfer.reached
        why = (
            f"release level {int(level)} cannot tell it from another file of its name and second, and its stamp may be"
            " known already"
        )
        if highest_level(self._partner) >= Level.REVISION_1_4:
            await self._again(transfer, f"{why}; it waits for a session of level 4 or 5", None)
        else:
            own = "; ask the partner whether it has it: if so, cancel it, else say 'oftp2d transfer retry --new-stamp'"
            await self._fail(transfer, None, why if transfer.forwarded_from else why + own)
        return None

    @property
    def _level(self) -> Level:
        """The release level of the session that stands."""
        terms = self._line.session.terms
        assert terms is not None  # noqa: S101 - it stands
        return terms.level

    async def _unable(self, transfer: Transfer, text: str) -> None:
        """We cannot send this file, and it alone has failed.

        Once the partner waits for its content there is no way back (RFC 5024 section 9.3): the session ends, and nothing
        else is begun in it.
        """
        begun = not self._line.session.accepts(StartFile)
        over = SessionAborted(
            origin=Origin.LOCAL, reason=EndSessionReason.UNSPECIFIED, text="a file could not be sent to its end"
        )
        if begun:
            end_politely(self._line, over.reason, over.text)
        await self._fail(transfer, None, text)
        if begun:
            raise SessionOverError(over)

    def _why_not(self, transfer: Transfer, error: UnsendableError) -> str:
        """Why a file cannot be sent in this session, for people."""
        level = self._level
        if level >= Level.REVISION_2_0 or not (is_secured(transfer) or transfer.signed_response):
            return str(error)
        what = f"the partner speaks release level {int(level)}, and secured files and signed receipts need level 5"
        own = "; agree with it, set that with 'oftp2d partner change', and say 'oftp2d transfer retry --as-agreed'"
        return what if transfer.forwarded_from else what + own

    def _say(self, request: StartFile | CloseFile) -> None:
        """SFID or EFID. Raises ``UnsendableError`` for what this file is, not for what the session does not allow."""
        allowed = self._line.session.accepts(type(request))
        try:
            self._line.request(request)
        except LocalProtocolError as error:
            if not allowed:
                raise
            raise UnsendableError(str(error)) from None

    async def _send_small(self, transfer: Transfer, content: bytes) -> None:
        # Too little to be worth a restart position.
        self._say(StartFile(command=_start_of(transfer, restart=0)))
        answer = await self._line.event()
        if isinstance(answer, FileRefused):
            await self.settle()
            await self._refused(transfer, answer)
            return
        # Not before SFPA: were we killed meanwhile, a later SFNA 13 would be about some other file, not about this one.
        noting = Deferred.fromCoroutine(self._note_going(transfer))
        try:
            self._reached = len(content)
            self._line.request(SendData(octets=content, last=True, compress=self._partner.compression))
            await self._line.drained()
        finally:
            # Whatever has come: nothing more is said before the ledger knows, nor noted before this is.
            await noting
        await self._close(transfer)

    async def _send_large(self, transfer: Transfer) -> None:
        await self.settle()
        file = await self._context.workers.disk(self._context.spool.open_outgoing, transfer.spool_name)
        try:
            offered = await self._offer(transfer, file)
            self._say(StartFile(command=_start_of(transfer, offered)))
            answer = await self._line.event()
            if isinstance(answer, FileRefused):
                await self._refused(transfer, answer)
                return
            assert isinstance(answer, FileAccepted)  # noqa: S101 - the tables allow nothing else here
            begin = await self._begin(transfer, file, answer.restart)
            await self._content(transfer, file, begin)
        finally:
            await self._context.workers.disk(file.close)
        await self._note_going(transfer)
        await self._close(transfer)

    async def _note_going(self, transfer: Transfer) -> None:
        """EFID is about to go, and the file before has arrived. In this order: without the first, no EFID."""
        confirmed, self._confirmed = self._confirmed, None
        transfers = self._context.ledger.transfers
        if confirmed is None:
            await self._context.workers.database(transfers.efid_going, transfer.id, self._owner)
            return
        await self._context.workers.database(
            transfers.next_efid_going, confirmed.id, transfer.id, self._owner, self._context.now()
        )
        self._tell_sent(confirmed, "")

    async def _close(self, transfer: Transfer) -> None:
        """EFID, and what the partner says to it."""
        await self._credit()
        self._may_have = None
        self._say(CloseFile(records=transfer.records, octets=transfer.octets))
        end = await self._line.event()
        while isinstance(end, CreditReceived):
            end = await self._line.event()
        if isinstance(end, FileRejected):
            await self._refused(transfer, end)
            return
        assert isinstance(end, FileConfirmed)  # noqa: S101 - the tables allow nothing else here
        self._confirmed = transfer

    async def _offer(self, transfer: Transfer, file: BinaryIO) -> int:
        """SFIDREST: how much the partner can have at most, in records or blocks; 0 where a restart was not agreed."""
        terms = self._line.session.terms
        if transfer.reached == 0 or terms is None or not terms.restart:
            return 0
        size = transfer.stored_octets
        if transfer.reached is None or transfer.reached >= size:
            return transfer.records if has_records(transfer.transferred_format) else size // BLOCK
        return (await self._context.workers.disk(_locate, file, transfer, transfer.reached)).count

    async def _begin(self, transfer: Transfer, file: BinaryIO, count: int) -> Position:
        """Where the partner wants the file to go on, in records or blocks."""
        begin = BEGINNING
        if count:
            begin = await self._context.workers.disk(_locate, file, transfer, transfer.stored_octets, count)
            self.log.info(
                "{partner}: {file} goes on behind {octets} octets, transfer {transfer}",
                partner=self._partner.code,
                file=transfer.dataset,
                octets=begin.octets,
                transfer=transfer.id,
            )
        # It has this much, and has cut off whatever else there may have been.
        self._reached = begin.offset
        return begin

    async def _content(self, transfer: Transfer, file: BinaryIO, begin: Position) -> None:
        """All octets from ``begin`` on, a chunk being read while the one before is sent."""
        source = reader(transfer.transferred_format, transfer.record_length)
        left = transfer.stored_octets - begin.offset
        ended = isinstance(source, PlainReader)
        if not left:
            if ended:
                self._line.request(SendData(octets=b"", last=True))
            return
        sent = begin.octets
        renewed_at = self._context.now()
        reading = self._read(file, source, left, begin.offset)
        try:
            while left:
                data, stored = await reading
                if not stored:
                    raise SpoolError(f"the staged file is {left} octets too short", "send the file again")
                left -= stored
                if left:
                    reading = self._read(file, source, left)
                await self._credit()
                self._reached = transfer.stored_octets - left
                if len(data.octets) or len(data.ends):
                    self._line.request(
                        SendData(
                            octets=data.octets,
                            ends=data.ends,
                            last=ended and not left,
                            compress=self._partner.compression,
                        )
                    )
                await self._line.drained()
                renewed_at = await self._renew(transfer, renewed_at)
                sent += len(data.octets)
                self._progress[transfer.id] = sent
        finally:
            # The file must not be closed under a read that is under way; what it brings does not matter any more.
            await DeferredList([reading], consumeErrors=True)

    def _read(self, file: BinaryIO, source: Reader, left: int, at: int | None = None) -> Deferred[tuple[Records, int]]:
        return Deferred.fromCoroutine(self._context.workers.disk(_chunk, file, source, min(left, CHUNK), at))

    async def _credit(self) -> None:
        """Wait until data, or EFID, may be sent."""
        while not self._line.session.accepts(SendData):
            event = await self._line.event()
            assert isinstance(event, CreditReceived)  # noqa: S101 - the tables allow nothing else here

    async def _renew(self, transfer: Transfer, renewed_at: datetime) -> datetime:
        now = self._context.now()
        if now - renewed_at <= self._context.lease / 4:
            return renewed_at
        await self._context.workers.database(
            self._context.ledger.transfers.renew, transfer.id, self._owner, now, self._context.lease
        )
        return now

    async def _refused(self, transfer: Transfer, answer: FileRefused | FileRejected) -> None:
        """SFNA or EFNA: do what the policy says."""
        command, retry = (Command.SFNA, answer.retry) if isinstance(answer, FileRefused) else (Command.EFNA, False)
        if command is Command.EFNA:
            self._may_have, self._reached = False, 0
        reason, text = f"{command} {answer.reason:02}", answer.text or answer.reason.meaning
        match course(command, answer.reason, retry=retry, efid_sent=transfer.efid_sent):
            case Course.DELIVERED:
                await self._sent(transfer, " before, its confirmation was lost")
            case Course.AGAIN:
                counted = replace(transfer, refusals=transfer.refusals + 1)
                await self._again(counted, f"{reason}: {text}", reason, said=answer.text)
            case Course.HOLD | Course.GIVE_UP:
                await self._fail(transfer, reason, text, said=answer.text)

    async def _sent(self, transfer: Transfer, how: str) -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.sent, transfer.id, self._context.now(), owner=self._owner
        )
        self._tell_sent(transfer, how)

    def _tell_sent(self, transfer: Transfer, how: str) -> None:
        self.log.info(
            "{partner}: sent {file}, {octets} octets, transfer {transfer}{how}",
            partner=self._partner.code,
            file=transfer.dataset,
            octets=transfer.octets,
            transfer=transfer.id,
            how=how,
        )

    async def _again(self, transfer: Transfer, why: str, reason: str | None, *, said: str = "") -> None:
        """Queue it again, unless the limits of the policy are reached. ``reason`` is the partner's, if it gave one.

        ``said``: its own text with that.
        """
        retry, now = self._context.config.retry, self._context.now()
        since = transfer.queued_at or transfer.created_at
        given_up = exhausted(retry, refusals=transfer.refusals, since=since, now=now)
        if given_up is not None:
            await self._fail(transfer, reason, f"{given_up}, the last time: {why}", said=said)
            return
        wait = backoff(transfer.attempts, retry)
        await self._context.workers.database(
            self._context.ledger.transfers.requeue,
            transfer.id,
            now,
            now + wait,
            why,
            refusals=transfer.refusals,
            efid_sent=self._may_have,
            reached=self._reached,
            owner=self._owner,
        )
        self.log.warn(
            "{partner}: {file} is sent again in {wait} s, transfer {transfer}: {why}",
            partner=self._partner.code,
            file=transfer.dataset,
            wait=int(wait.total_seconds()),
            transfer=transfer.id,
            why=why,
        )

    async def _fail(self, transfer: Transfer, reason: str | None, text: str, *, said: str = "") -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.failed,
            transfer.id,
            self._context.now(),
            reason,
            text,
            efid_sent=self._may_have,
            reached=self._reached,
            owner=self._owner,
            said=said,
        )
        self.log.error(
            "{partner}: {file} failed, transfer {transfer}: {reason} {text}; {advice}",
            partner=self._partner.code,
            file=transfer.dataset,
            transfer=transfer.id,
            reason=reason or "",
            text=text,
            advice=advice(reason, transfer.id) if transfer.forwarded_from is None else ORIGINATOR_TOLD,
        )
        await forget(self._context.workers, self._context.spool, transfer)


def _locate(file: BinaryIO, transfer: Transfer, size: int, most: int | None = None) -> Position:
    """The last restart position in the first ``size`` octets of the file in the spool, at most ``most`` in. Blocks."""
    seek(file, 0)
    form, length = transfer.transferred_format, transfer.record_length
    return last_position(form, length, size, lambda octets: read_piece(file, octets), most=most)


def _chunk(file: BinaryIO, source: Reader, octets: int, at: int | None) -> tuple[Records, int]:
    """The next piece of the file, and how many octets it takes in the spool; from ``at`` on, where given. Blocks."""
    if at is not None:
        seek(file, at)
    stored = read_piece(file, octets)
    return source.take(stored), len(stored)


def _start_of(transfer: Transfer, restart: int) -> Sfid:
    blocks = -(-transfer.stored_octets // BLOCK)
    original = blocks if transfer.plain_octets is None else -(-transfer.plain_octets // BLOCK)
    return Sfid(
        dataset=transfer.dataset,
        date=transfer.date,
        time=transfer.time,
        user=transfer.user,
        destination=transfer.destination,
        originator=transfer.originator,
        format=FileFormat(transfer.format),
        record_length=transfer.record_length,
        size=blocks,
        original_size=original if transfer.original_size is None else transfer.original_size,
        restart=restart,
        # What came to be forwarded and was no UTF-8 needs more room now.
        description=clip(transfer.description),
        security=SecurityLevel(transfer.security),
        cipher=transfer.cipher,
        compression=transfer.compression,
        envelope=transfer.envelope,
        signed_response=transfer.signed_response,
    )
