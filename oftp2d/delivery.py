"""Delivery: what a received file needs before it can lie in the inbox, beside the session that brought it.

The file is safe and confirmed (EFPA) when this begins; the session goes on meanwhile. Text is turned into the form that was
set for the partner's, and the end response is owed: an EERP when the file lies in the inbox, a NERP when it is not what it
should be. Done again after a crash it comes to the same end: nothing is in the inbox before the ledger knows, and what is
ready for it and was not placed is placed at the next start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.cms.package import undisclosed
from oftp2.reasons import NegativeResponseReason
from oftp2.values import FileFormat
from oftp2d.context import Context
from oftp2d.errors import UNEXPECTED, OperatorError
from oftp2d.ledger import NewReceipt, Partner, ReceiptKind, Transfer
from oftp2d.local import LocalFileError, Text, ready_text
from oftp2d.opening import Findings, UnopenedError, hash_received, is_secured, keys_for, open_received, services_of
from oftp2d.pipeline import AbandonedError, Work
from oftp2d.receipts import Receipts
from oftp2d.spool import SpoolError, Staged, inbox_name, opened_name
from oftp2d.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """A file that is being delivered."""

    partner_id: int
    work: Work = field(default_factory=Work)
    over: Deferred[None] = field(default_factory=Deferred)


class Delivery:
    """Delivers received files to the inbox, side by side."""

    log = Logger(namespace="delivery")

    def __init__(self, context: Context, *, owed: Callable[[int], None]) -> None:
        self._context = context
        self._owed = owed
        """Called with the partner when an end response is owed to it."""
        self._receipts = Receipts(context)
        self._turns = Turns()
        self._under_way: dict[str, _UnderWay] = {}
        self._postponed: dict[str, str] = {}
        """What stays received until its next try, and why."""
        self._outcomes: Counter[int] = Counter()
        self._waiting: list[tuple[int, Deferred[bool]]] = []

    def begin(self, partner: Partner, transfer: Transfer) -> None:
        """Deliver or refuse a received file; where the disk does not allow it now, it stays received.

        Without effect on one that is being delivered already, and when the station is stopping.
        """
        if transfer.id not in self._under_way and not self._context.stopping:
            under_way = self._under_way[transfer.id] = _UnderWay(partner_id=partner.id)
            Deferred.fromCoroutine(self._run(partner, transfer, under_way))

    def outcomes(self, partner_id: int) -> int:
        """How many files of the partner have been delivered or not, since the station runs."""
        return self._outcomes[partner_id]

    async def outcome(self, partner_id: int, known: int, seconds: float) -> bool:
        """Wait until there are more ``outcomes`` than are known; False where none is under way, or time is over."""
        if self._outcomes[partner_id] != known:
            return True
        if not any(each.partner_id == partner_id for each in self._under_way.values()):
            return False
        outcome: Deferred[bool] = Deferred()
        self._waiting.append((partner_id, outcome))
        late = self._context.reactor.callLater(seconds, self._tell, outcome, came=False)
        try:
            return await outcome
        finally:
            if late.active():
                late.cancel()

    def progress(self, transfer_id: str) -> int | None:
        """Octets that were read of a received file that is being opened; None of any other."""
        under_way = self._under_way.get(transfer_id)
        return None if under_way is None else under_way.work.octets

    def trouble(self, transfer_id: str) -> str | None:
        """Why a received file could not be delivered so far, and waits for its next try; None of any other."""
        return self._postponed.get(transfer_id)

    async def stop(self) -> None:
        """Abandon what is under way, and wait until it is. It stays received, and begins anew at the next start."""
        for under_way in self._under_way.values():
            under_way.work.abandon()
        await DeferredList([under_way.over for under_way in self._under_way.values()])

    async def _run(self, partner: Partner, transfer: Transfer, under_way: _UnderWay) -> None:
        self._postponed.pop(transfer.id, None)
        try:
            await self._deliver(partner, transfer, under_way.work)
            self._owed(partner.id)
        except AbandonedError:
            pass
        except OperatorError as error:
            self._postponed[transfer.id] = f"{error.what}; {error.advice}"
            self.log.error(
                "{partner}: {file} cannot be delivered now, transfer {transfer}: {what}; {advice}",
                partner=partner.code,
                file=transfer.dataset,
                transfer=transfer.id,
                what=error.what,
                advice=error.advice,
            )
        except Exception:  # noqa: BLE001 - whatever it is, this file stays received and the daemon goes on
            self._postponed[transfer.id] = UNEXPECTED
            self.log.failure("transfer {transfer} cannot be delivered", transfer=transfer.id)
        finally:
            del self._under_way[transfer.id]
            self._outcomes[partner.id] += 1
            for partner_id, outcome in list(self._waiting):
                if partner_id == partner.id:
                    self._tell(outcome, came=True)
            under_way.over.callback(None)

    def _tell(self, outcome: Deferred[bool], *, came: bool) -> None:
        self._waiting = [each for each in self._waiting if each[1] is not outcome]
        outcome.callback(came)

    async def _deliver(self, partner: Partner, transfer: Transfer, work: Work) -> None:
        workers, ledger, make = self._context.workers, self._context.ledger, self._receipts.make
        # Unsigned, an end response that was asked for signed would count for nothing, and could not be said again.
        signer = await self._receipts.signer(partner, transfer)
        try:
            made, findings = await self._made_ready(partner, transfer, work)
        except UnopenedError as error:
            nerp = NewReceipt(kind=ReceiptKind.NERP, reason=error.reason.value, text=error.told)
            nerp = await make(partner, transfer, nerp, error.findings.virtual_hash, signer=signer)
            await self._refuse(partner, transfer, error, nerp)
            return
        name = inbox_name(transfer.id, transfer.dataset)
        receipt = NewReceipt(kind=ReceiptKind.EERP)
        receipt = await make(partner, transfer, receipt, findings.virtual_hash, signer=signer)
        await workers.database(
            ledger.transfers.delivered,
            transfer.id,
            name,
            self._context.now(),
            receipt,
            made=None if made is None else (made.octets, made.sha256),
            **asdict(findings),
        )
        if is_secured(transfer):
            self.log.info(
                "{partner}: {file} is opened, signed by {signers}, transfer {transfer}",
                partner=partner.code,
                file=transfer.dataset,
                signers=" and ".join(each[:16] for each in findings.signers) or "nobody",
                transfer=transfer.id,
            )
        try:
            await workers.disk(self._place, transfer, name)
        except SpoolError as fault:
            self.log.error(
                "{partner}: {file} will be in the inbox after the next start, transfer {transfer}: {what}; {advice}",
                partner=partner.code,
                file=transfer.dataset,
                transfer=transfer.id,
                what=fault.what,
                advice=fault.advice,
            )

    async def _made_ready(self, partner: Partner, transfer: Transfer, work: Work) -> tuple[Staged | None, Findings]:
        """Have it ready for the inbox; what was made of it, where it is not as it came. Raises UnopenedError."""
        workers, spool = self._context.workers, self._context.spool
        await workers.disk(spool.reclaim, transfer.spool_name, transfer.id)
        source, made, findings = transfer.spool_name, None, Findings()
        # As large as it says it will be.
        size = max(transfer.octets, (transfer.original_size or 0) * 1024)
        if is_secured(transfer):
            async with self._turns.turn(partner.id, size):
                work.go_on()
                keys = await workers.database(keys_for, self._context.certificates, partner, transfer)
                opening = partial(open_received, spool, self._context.config, partner, transfer, keys=keys, work=work)
                made, findings = await workers.security(size, opening)
            for withdrawn_at in filter(None, map(keys.withdrawn.get, findings.signers)):
                self.log.info(
                    "{partner}: {file} is signed with a certificate that was withdrawn at {withdrawn} and counts, for it came"
                    " before that, at {came}, transfer {transfer}",
                    partner=partner.code,
                    file=transfer.dataset,
                    withdrawn=f"{withdrawn_at:%Y-%m-%d %H:%M:%SZ}",
                    came=f"{transfer.updated_at:%Y-%m-%d %H:%M:%SZ}",
                    transfer=transfer.id,
                )
            source = made.name
        elif transfer.signed_response:
            async with self._turns.turn(partner.id, size):
                work.go_on()
                digest = await workers.security(size, hash_received, spool, partner, transfer, work)
            findings = Findings(virtual_hash=digest)
        text = Text.of(partner)
        if transfer.format != FileFormat.TEXT or text.same:
            await workers.disk(spool.make_ready, source, transfer.id)
            return made, findings
        try:
            made = await workers.disk(ready_text, spool, source, transfer.id, text)
        except LocalFileError as error:
            reason, told = NegativeResponseReason.PROCESSING_FAILED, error.what
            if findings.recipients and not findings.signers:  # was decrypted, and nothing vouches for it
                hidden = undisclosed(services_of(transfer), named=True)
                reason, told = hidden.reason, str(hidden)
            raise UnopenedError(reason, told, findings, error.what) from None
        return made, findings

    def _place(self, transfer: Transfer, name: str) -> None:
        """Into the inbox with what the ledger knows there; behind that nobody needs the received file any more."""
        self._context.spool.place(transfer.id, name)
        self._context.spool.sync_inbox()
        self._context.spool.remove_received(transfer.spool_name, opened_name(transfer.id))

    async def _refuse(self, partner: Partner, transfer: Transfer, error: UnopenedError, receipt: NewReceipt) -> None:
        """It is not what it should be: its NERP is owed, and the file is kept as it came, for analysis."""
        workers, ledger = self._context.workers, self._context.ledger
        text = str(error)
        await workers.database(
            ledger.transfers.refuse,
            transfer.id,
            f"NERP {error.reason:02}",
            text,
            self._context.now(),
            receipt,
            raw_name=transfer.spool_name,
            **asdict(error.findings),
        )
        self.log.warn(
            "{partner}: refused {file} with NERP {reason}: {text}, transfer {transfer}",
            partner=partner.code,
            file=transfer.dataset,
            reason=error.reason,
            text=text,
            transfer=transfer.id,
        )
        try:
            await workers.disk(self._put_aside, transfer)
        except SpoolError as fault:
            # It counts as refused all the same, and is found where it lies.
            self.log.error(
                "{partner}: {file} is refused, but cannot be put aside, transfer {transfer}: {what}; {advice}",
                partner=partner.code,
                file=transfer.dataset,
                transfer=transfer.id,
                what=fault.what,
                advice=fault.advice,
            )

    def _put_aside(self, transfer: Transfer) -> None:
        """As it came, for analysis; what was made of it goes."""
        self._context.spool.refuse(transfer.spool_name)
        self._context.spool.remove_received(opened_name(transfer.id))
