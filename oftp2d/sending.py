"""One file out: from SFID to EFPA, or to the next try.

The ledger knows that EFID is about to go before it goes: when the answer is lost, the partner may have the file,
and its SFNA 13 (duplicate) at the next try means that it arrived.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import BinaryIO

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.commands import Sfid
from oftp2.errors import LocalProtocolError
from oftp2.events import CreditReceived, FileAccepted, FileConfirmed, FileRefused, FileRejected
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.requests import MAX_DATA, CloseFile, EndSession, SendData, StartFile
from oftp2.values import FileFormat
from oftp2d.context import Context
from oftp2d.ledger import Partner, Transfer
from oftp2d.line import Line, SessionOverError
from oftp2d.spool import SpoolError, read_piece

CHUNK = MAX_DATA
"""Octets read from the disk at once."""

BLOCK = 1024

# A Listener without room or with a passing fault says so with these even if it forgets the retry indicator.
_PASSING = frozenset({AnswerReason.ACCESS_METHOD_FAILURE, AnswerReason.UNSPECIFIED})


class Sending:
    """Sends the files of one session, one after the other."""

    log = Logger(namespace="sending")

    def __init__(self, context: Context, line: Line, *, owner: str, partner: Partner, progress: dict[str, int]) -> None:
        self._context = context
        self._line = line
        self._owner = owner
        self._partner = partner
        self._progress = progress

    async def send(self, transfer: Transfer) -> None:
        """Send a claimed transfer and note in the ledger what became of it.

        Raises ``SessionOverError`` when the session ends before the answer; the transfer is queued again.
        """
        try:
            await self._send(transfer)
        except SessionOverError as over:
            await self._again(transfer, str(over))
            raise
        except SpoolError as error:
            await self._fail(transfer, None, f"{error.what}; {error.advice}")
        except LocalProtocolError as error:
            await self._fail(transfer, None, f"it cannot be sent: {error}")
        finally:
            self._progress.pop(transfer.id, None)

    async def _send(self, transfer: Transfer) -> None:
        file = await self._context.workers.disk(self._context.spool.open_outgoing, transfer.spool_name)
        try:
            self._line.request(StartFile(command=_start_of(transfer)))
            answer = await self._line.event()
            if isinstance(answer, FileRefused):
                await self._refused(transfer, answer)
                return
            assert isinstance(answer, FileAccepted)  # noqa: S101 - the tables allow nothing else here
            await self._content(transfer, file)
        finally:
            await self._context.workers.disk(file.close)
        await self._context.workers.database(self._context.ledger.transfers.efid_going, transfer.id, self._owner)
        await self._credit()
        self._line.request(CloseFile(octets=transfer.octets))
        end = await self._line.event()
        while isinstance(end, CreditReceived):
            end = await self._line.event()
        if isinstance(end, FileRejected):
            await self._rejected(transfer, end)
            return
        assert isinstance(end, FileConfirmed)  # noqa: S101 - the tables allow nothing else here
        await self._sent(transfer, "")

    async def _content(self, transfer: Transfer, file: BinaryIO) -> None:
        """All octets, a chunk being read while the one before is sent."""
        if not transfer.octets:
            self._line.request(SendData(octets=b"", last=True))
            return
        left = transfer.octets
        renewed_at = self._context.now()
        reading = self._read(file, left)
        try:
            while left:
                chunk = await reading
                if not chunk:
                    raise self._shortened(left)
                left -= len(chunk)
                if left:
                    reading = self._read(file, left)
                await self._credit()
                self._line.request(SendData(octets=chunk, last=not left, compress=self._partner.compression))
                await self._line.drained()
                renewed_at = await self._renew(transfer, renewed_at)
                self._progress[transfer.id] = transfer.octets - left
        finally:
            # The file must not be closed under a read that is under way; what it brings does not matter any more.
            await DeferredList([reading], consumeErrors=True)

    def _shortened(self, left: int) -> SpoolError:
        self._line.request(EndSession(reason=EndSessionReason.UNSPECIFIED, text="the file changed while it was sent"))
        return SpoolError(f"the staged file is {left} octets too short", "send the file again")

    def _read(self, file: BinaryIO, left: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._context.workers.disk(read_piece, file, min(left, CHUNK)))

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

    async def _refused(self, transfer: Transfer, answer: FileRefused) -> None:
        # One that asks for another try is receiving the file in another session, which may yet break.
        if answer.reason is AnswerReason.DUPLICATE_FILE and transfer.efid_sent and not answer.retry:
            await self._sent(transfer, " before, its confirmation was lost")
            return
        why = f"SFNA {answer.reason}" + (f": {answer.text}" if answer.text else "")
        if answer.retry or answer.reason in _PASSING:
            await self._again(transfer, why)
        else:
            await self._fail(transfer, f"SFNA {answer.reason:02}", answer.text or answer.reason.meaning)

    async def _rejected(self, transfer: Transfer, answer: FileRejected) -> None:
        why = f"EFNA {answer.reason}" + (f": {answer.text}" if answer.text else "")
        if answer.reason in _PASSING:
            await self._again(transfer, why, efid_answered=True)
        else:
            text = answer.text or answer.reason.meaning
            await self._fail(transfer, f"EFNA {answer.reason:02}", text, efid_answered=True)

    async def _sent(self, transfer: Transfer, how: str) -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.sent, transfer.id, self._context.now(), owner=self._owner
        )
        self.log.info(
            "{partner}: sent {file}, {octets} octets, transfer {transfer}{how}",
            partner=self._partner.code,
            file=transfer.dataset,
            octets=transfer.octets,
            transfer=transfer.id,
            how=how,
        )

    async def _again(self, transfer: Transfer, why: str, *, efid_answered: bool = False) -> None:
        retry = self._context.config.retry
        if transfer.attempts >= retry.attempts:
            await self._fail(
                transfer, None, f"given up after {transfer.attempts} attempts: {why}", efid_answered=efid_answered
            )
            return
        now = self._context.now()
        wait = backoff(transfer.attempts, retry.first_seconds, retry.max_seconds)
        await self._context.workers.database(
            self._context.ledger.transfers.requeue,
            transfer.id,
            now,
            now + wait,
            why,
            efid_answered=efid_answered,
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

    async def _fail(self, transfer: Transfer, reason: str | None, text: str, *, efid_answered: bool = False) -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.failed,
            transfer.id,
            self._context.now(),
            reason,
            text,
            efid_answered=efid_answered,
            owner=self._owner,
        )
        self.log.error(
            "{partner}: {file} failed, transfer {transfer}: {reason} {text}; correct it and say"
            " 'oftp2d transfer retry {transfer}'",
            partner=self._partner.code,
            file=transfer.dataset,
            transfer=transfer.id,
            reason=reason or "",
            text=text,
        )


def backoff(attempts: int, first_seconds: int, max_seconds: int) -> timedelta:
    """The wait before try ``attempts`` + 1: it doubles from ``first_seconds`` and stays at ``max_seconds``."""
    return timedelta(seconds=min(first_seconds * 2 ** min(max(attempts - 1, 0), 30), max_seconds))


def _start_of(transfer: Transfer) -> Sfid:
    blocks = -(-transfer.octets // BLOCK)
    return Sfid(
        dataset=transfer.dataset,
        date=transfer.date,
        time=transfer.time,
        user=transfer.user,
        destination=transfer.destination,
        originator=transfer.originator,
        format=FileFormat(transfer.format),
        size=blocks,
        original_size=blocks,
        description=transfer.description,
    )
