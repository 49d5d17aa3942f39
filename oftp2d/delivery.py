"""Delivery: what a received text needs before it can lie in the inbox, outside of the session that brought it.

The file is safe and confirmed (EFPA) when this begins. It is turned into the form that was set for the partner's text, and
its end response is owed: an EERP when it lies in the inbox, a NERP when it is no text in the partner's character set. Done
again after a crash it comes to the same end.
"""

from __future__ import annotations

from twisted.logger import Logger

from oftp2.reasons import NegativeResponseReason
from oftp2d.context import Context
from oftp2d.ledger import NewReceipt, Partner, ReceiptKind, Transfer
from oftp2d.local import LocalFileError, Text, deliver_text
from oftp2d.spool import SpoolError


class Delivery:
    """Delivers received files to the inbox."""

    log = Logger(namespace="delivery")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._under_way: set[str] = set()

    async def deliver(self, partner: Partner, transfer: Transfer) -> None:
        """Deliver or refuse a received file; where the disk does not allow it now, it stays received."""
        if transfer.id in self._under_way:
            return
        self._under_way.add(transfer.id)
        try:
            await self._deliver(partner, transfer)
        except SpoolError as error:
            self.log.error(
                "transfer {transfer}: {what}; {advice}", transfer=transfer.id, what=error.what, advice=error.advice
            )
        finally:
            self._under_way.discard(transfer.id)

    async def _deliver(self, partner: Partner, transfer: Transfer) -> None:
        workers, spool, ledger = self._context.workers, self._context.spool, self._context.ledger
        try:
            made = await workers.disk(deliver_text, spool, transfer.spool_name, transfer.dataset, Text.of(partner))
        except LocalFileError as error:
            reason = NegativeResponseReason.PROCESSING_FAILED
            receipt = NewReceipt(kind=ReceiptKind.NERP, reason=reason.value, text=error.what)
            await workers.database(
                ledger.transfers.refuse, transfer.id, f"NERP {reason:02}", error.what, self._context.now(), receipt
            )
            self.log.warn(
                "{partner}: refused {file} with NERP {reason}: {text}, transfer {transfer}",
                partner=partner.code,
                file=transfer.dataset,
                reason=reason,
                text=error.what,
                transfer=transfer.id,
            )
        else:
            receipt = NewReceipt(kind=ReceiptKind.EERP)
            now = self._context.now()
            await workers.database(ledger.transfers.delivered, transfer.id, made.name, now, receipt, sha256=made.sha256)
        await workers.disk(spool.remove_received, transfer.spool_name)
