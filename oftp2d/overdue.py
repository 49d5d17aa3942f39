"""Giving up what has been tried for too long (the time limit of the retry policy).

A file that is answered meets its limits in ``sending``. This room looks after those that never get so far: their partner
cannot be reached, or ends every session. What waits for a partner to call is not tried, and so not given up.

A forwarded file is given up whatever it waits for, a call, a partner that was switched off, or the end response of one
that has it: where it came from waits as well, and is told by a NERP (RFC 5024 section 4.3.6).
"""

from __future__ import annotations

from datetime import timedelta

from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.forwarding import ORIGINATOR_TOLD, forget
from oftp2d.ledger import IllegalMoveError, Transfer, TransferState
from oftp2d.retries import GIVEN_UP, advice, span

log = Logger(namespace="overdue")


async def give_up_overdue(context: Context) -> None:
    """Fail every file whose time is over, and say why it could not be sent, or that it was not answered."""
    before = context.now() - timedelta(seconds=context.config.retry.total_seconds)
    for transfer in await context.workers.database(context.ledger.transfers.overdue, before):
        await _give_up(context, transfer)


async def _give_up(context: Context, transfer: Transfer) -> None:
    database, ledger, now = context.workers.database, context.ledger, context.now()
    partner = await database(ledger.partners.get, transfer.partner_id)
    if transfer.state is TransferState.SENT:
        reason, text = None, f"{GIVEN_UP} {span(now - (transfer.sent_at or now))} without an end response"
    else:
        why = transfer.text or partner.last_error or "no session came about"
        since = transfer.queued_at or transfer.created_at
        reason, text = partner.last_reason, f"{GIVEN_UP} {span(now - since)}, the last time: {why}"
    try:
        given_up = await database(ledger.transfers.give_up, transfer.id, now, reason, text, state=transfer.state)
    except IllegalMoveError:
        # A session has claimed it, its end response came, or somebody cancelled it, since it was found.
        return
    await forget(context.workers, context.spool, given_up)
    log.error(
        "{partner}: {file} failed, transfer {transfer}: {text}; {advice}",
        partner=partner.code,
        file=transfer.dataset,
        transfer=transfer.id,
        text=text,
        advice=advice(None, transfer.id) if transfer.forwarded_from is None else ORIGINATOR_TOLD,
    )
