"""One file in: from SFID to EFPA, or to the reason why not.

The order that makes an acknowledged file safe: the octets are in a file of the spool, synced, the ledger has committed,
the file is renamed into the inbox, and only then EFPA goes. So there is nothing in the inbox that the ledger does not
know; what a crash leaves behind between the commit and the rename the next start puts there.

What broke off stays in its part file, and the next try goes on behind the last record or block that is whole in it (RFC
5024 sections 1.5.4 and 4.3.3), whatever the ledger or the Speaker may believe.
"""

from __future__ import annotations

from datetime import datetime

from twisted.logger import Logger

from oftp2.certs.usages import Usage
from oftp2.commands import Sfid
from oftp2.events import FileEnded
from oftp2.reasons import AnswerReason
from oftp2.records import (
    BEGINNING,
    BLOCK,
    LONGEST_VARIABLE,
    PlainWriter,
    Position,
    Writer,
    last_position,
    transferred_format,
    writer,
)
from oftp2.requests import AcceptFile, ConfirmFile, RefuseFile, RejectFile
from oftp2.values import FileFormat
from oftp2d.acx import MAX_OCTETS, message_of
from oftp2d.context import Context
from oftp2d.forwarding import ORIGINATOR_TOLD, NoRoute, discard, route
from oftp2d.intake import Intake, not_stored
from oftp2d.ledger import Busy, Duplicate, Kind, NewIncoming, NewReceipt, Partner, ReceiptKind, Transfer, TransferState
from oftp2d.line import Line, SessionOverError
from oftp2d.local import Text
from oftp2d.policy import Keys, Refusal, judge, judge_message
from oftp2d.spool import Part, SpoolError, Staged, inbox_name


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
                return await self._take(opened, offer, wants_turn=wants_turn)
            refusal = opened if isinstance(opened, Refusal) else _here_already(opened)
        self._refuse(offer, refusal)
        return None

    def awaits_delivery(self, received: Transfer) -> bool:
        """Whether the file that was received last must be worked on before it can be delivered."""
        return self._onward is None and received.kind is Kind.FILE and received.state is TransferState.RECEIVED

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

    async def _take(self, transfer: Transfer, offer: Sfid, *, wants_turn: bool) -> Transfer | None:
        """Receive into the part file of a transfer that the ledger has opened."""
        disk, spool = self._context.workers.disk, self._context.spool
        begin = BEGINNING
        try:
            if transfer.attempts <= 1:
                part = spool.part(transfer.id, fresh=True)
            else:
                part, begin = await disk(self._part, transfer, offer)
        except SpoolError as error:
            await self._give_back(transfer, kept=False)
            self._refuse(transfer, Refusal(reason=AnswerReason.ACCESS_METHOD_FAILURE, text=error.what, retry=True))
            return None
        intake = self._intake(transfer, part, begin)
        outcome: Transfer | Refusal | None = None
        kept = False
        try:
            outcome = await self._collect(transfer, intake)
            if isinstance(outcome, Refusal):
                await self._discard(transfer, part)
        except SessionOverError:
            kept = await self._cut_off(transfer, intake)
            raise
        finally:
            # Another session may open it as soon as it is given back: only behind the last touch of its part.
            if part.is_open:
                await disk(part.close)
            if not isinstance(outcome, Transfer):
                await self._give_back(transfer, kept=kept)
        if isinstance(outcome, Transfer):
            self._line.request(ConfirmFile(wants_turn=wants_turn))
            return outcome
        self._line.request(RejectFile(reason=outcome.reason, text=outcome.text))
        self._log_refusal(transfer, outcome, "EFNA")
        return None

    def _part(self, transfer: Transfer, offer: Sfid) -> tuple[Part, Position]:
        """The part file, cut where the Speaker is to go on: where a record or block ends, and not behind its offer."""
        part = self._context.spool.part(transfer.id)
        try:
            position = BEGINNING
            if offer.restart and transfer.reached is None:
                position = last_position(
                    transfer.transferred_format, transfer.record_length, part.octets, part.read, most=offer.restart
                )
            part.resume(position.offset)
        except SpoolError:
            part.close()
            raise
        return part, position

    def _intake(self, transfer: Transfer, part: Part, begin: Position) -> Intake:
        return Intake(
            context=self._context,
            line=self._line,
            part=part,
            transfer=transfer,
            writer=self._writer(transfer),
            owner=self._owner,
            limit=self._limit(transfer.kind),
            begin=begin,
        )

    async def _collect(self, transfer: Transfer, intake: Intake) -> Transfer | Refusal:
        """All of the file, made safe; or why it cannot be kept."""
        begin = intake.begin
        if begin.count:
            self.log.info(
                "{partner}: {file} goes on behind {octets} octets, transfer {transfer}",
                partner=self._partner.code,
                file=transfer.dataset,
                octets=begin.octets,
                transfer=transfer.id,
            )
        try:
            self._line.request(AcceptFile(restart=begin.count))
            end = await intake.collect()
            return intake.refusal or await self._keep(transfer, intake, end)
        except SpoolError as error:
            return not_stored(error, transfer)

    async def _cut_off(self, transfer: Transfer, intake: Intake) -> bool:
        """The session is over before the file is: keep what is there of it, if it serves the next try."""
        terms = self._line.session.terms
        kept = terms is not None and terms.restart and await intake.keep()
        if not kept:
            await self._discard(transfer, intake.part)
        self.log.info(
            "{partner}: {file} was cut off at {octets} octets and is expected again, transfer {transfer}",
            partner=self._partner.code,
            file=transfer.dataset,
            octets=intake.octets,
            transfer=transfer.id,
        )
        return kept

    def _writer(self, transfer: Transfer) -> Writer:
        if transfer.kind is Kind.EXCHANGE:
            # Certificates are octets, whatever format they are said to have.
            return PlainWriter()
        return writer(transfer.transferred_format, transfer.record_length, Text.of(self._partner).line_end)

    async def _keep(self, transfer: Transfer, intake: Intake, end: FileEnded) -> Transfer | Refusal:
        """All of the file is here: make it safe, and say so to the ledger. Only then the peer may know."""
        workers, part = self._context.workers, intake.part
        if self._onward is not None:
            seal, note = part.seal_outgoing, self._received
        elif transfer.kind is Kind.EXCHANGE or self._has_to_be_worked_on(transfer):
            seal, note = part.seal, self._received
        else:
            seal, note = part.seal_ready, self._deliver
        sealed = await workers.disk(intake.finish, end, seal)
        if isinstance(sealed, Refusal):
            return sealed
        # Of a secured file only its sender knows the records.
        records = intake.records if transfer.transferred_format == transfer.format else end.records
        kept, fault = await workers.database(note, transfer, sealed, end.octets, records)
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
        if self._onward is not None and kept.state is TransferState.REFUSED:
            self.log.error(
                "{partner}: {file} cannot go on, {target} was removed, switched off or made to send only while it came,"
                " transfer {transfer}; {advice}",
                partner=self._partner.code,
                file=transfer.dataset,
                target=self._onward.code,
                transfer=kept.id,
                advice=ORIGINATOR_TOLD,
            )
            await discard(workers, self._context.spool, sealed.name)
        return kept

    def _has_to_be_worked_on(self, transfer: Transfer) -> bool:
        """Whether it must be opened, hashed for its end response, or turned into our text before it can be delivered."""
        return (
            transfer.transferred_format != transfer.format
            or bool(transfer.security or transfer.compression or transfer.envelope or transfer.signed_response)
            or (transfer.format == FileFormat.TEXT and not Text.of(self._partner).same)
        )

    def _received(
        self, transfer: Transfer, sealed: Staged, octets: int, records: int
    ) -> tuple[Transfer, SpoolError | None]:
        """Commit what is to be judged, turned into our text, or forwarded. In the database worker."""
        transfers, now = self._context.ledger.transfers, self._context.now()
        if self._onward is None:
            received = transfers.received(
                transfer.id, octets, sealed.sha256, sealed.name, now, records=records, owner=self._owner
            )
            return received, None
        # With its line ends put in, a text goes on longer than it came.
        octets = sealed.octets if transfer.transferred_format is FileFormat.TEXT else octets
        forwarded = transfers.received_and_forwarded(
            transfer.id,
            octets,
            sealed.sha256,
            sealed.name,
            now,
            partner_id=self._onward.id,
            records=records,
            owner=self._owner,
        )
        return forwarded, None

    def _deliver(
        self, transfer: Transfer, sealed: Staged, octets: int, records: int
    ) -> tuple[Transfer, SpoolError | None]:
        """Commit, and place in the inbox what is committed; both in the database worker, to spare a hop."""
        name = inbox_name(transfer.id, transfer.dataset)
        kept = self._context.ledger.transfers.received_and_delivered(
            transfer.id,
            octets,
            sealed.sha256,
            name,
            self._context.now(),
            receipt=NewReceipt(kind=ReceiptKind.EERP),
            records=records,
            owner=self._owner,
        )
        self._placed = True
        try:
            self._context.spool.place(transfer.id, name)
        except SpoolError as fault:
            return kept, fault
        return kept, None

    async def _give_back(self, transfer: Transfer, *, kept: bool) -> None:
        await self._context.workers.database(
            self._context.ledger.transfers.interrupted, transfer.id, self._context.now(), kept=kept, owner=self._owner
        )

    async def _discard(self, transfer: Transfer, part: Part) -> None:
        """Free the room of a file that will not be kept; where that fails, the next try begins anew in it."""

        def discard() -> None:
            part.close()
            self._context.spool.discard_part(transfer.id)

        try:
            await self._context.workers.disk(discard)
        except SpoolError as error:
            self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)

    async def _judge(self, offer: Sfid) -> Refusal | None:
        """What speaks against the file before a single octet of it is here."""
        refusal = await self._addressing(offer) or await self._form(offer)
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

    async def _form(self, offer: Sfid) -> Refusal | None:
        """What is forwarded is nothing but octets: how they are secured is between its two ends."""
        refusal = _stamp(offer) or _format(offer, self._kind(offer)) or _records(offer)
        if refusal is not None or self._onward is not None:
            return refusal
        if self._kind(offer) is Kind.EXCHANGE:
            return judge_message(offer)
        keys = Keys(decryption=True, receipts=True)
        if offer.security.encrypted or offer.signed_response:
            keys = await self._context.workers.database(self._keys, offer)
        return judge(offer, self._partner, keys)

    def _keys(self, offer: Sfid) -> Keys:
        """What we have of what the file needs. In the database worker."""
        store, now = self._context.certificates, self._context.now()
        receipts = store.explain_own(
            Usage.EERP_SIGNATURE, station=offer.destination, now=now, partner_id=self._partner.id
        )
        return Keys(decryption=bool(store.explain_decryption(now).entries), receipts=receipts.taken is not None)

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
            record_length=offer.record_length,
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


def _kind(offer: Sfid) -> Kind:
    return Kind.FILE if message_of(offer.dataset) is None else Kind.EXCHANGE


def _format(offer: Sfid, kind: Kind) -> Refusal | None:
    if kind is Kind.FILE or offer.format in {FileFormat.UNSTRUCTURED, FileFormat.TEXT}:
        return None
    return Refusal(
        reason=AnswerReason.RECORD_FORMAT_NOT_SUPPORTED, text=f"certificates do not come in format {offer.format}"
    )


def _records(offer: Sfid) -> Refusal | None:
    """Whether records of that length can be stored here (RFC 5024 section 5.3.3)."""
    said, form = offer.record_length, transferred_format(offer)
    if form is FileFormat.FIXED and not said:
        text = "SFIDLRECL is 0, format F needs the length of its records"
    # The RFC says 65536 where it means the longest record of which two octets tell the length.
    elif form is FileFormat.VARIABLE and said > LONGEST_VARIABLE + 1:
        text = f"SFIDLRECL is {said}, the longest record of format V here has {LONGEST_VARIABLE} octets"
    else:
        return None
    return Refusal(reason=AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, text=text)


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
