"""Giving up what has been tried for too long (the time limit of the retry policy).

A file that is answered meets its limits in ``sending``. This room looks after those that never get so far: their partner
cannot be reached, or ends every session. What waits for a partner to call is not tried, and so not given up.
"""

from __future__ import annotations

from datetime import timedelta

from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.forwarding import forget
from oftp2d.ledger import IllegalMoveError, Transfer
from oftp2d.retries import GIVEN_UP, advice, span

log = Logger(namespace="overdue")


async def give_up_overdue(context: Context) -> None:
    """Fail every queued file whose time is over, and say why it could not be sent."""
    before = context.now() - timedelta(seconds=context.config.retry.total_seconds)
    for transfer in await context.workers.database(context.ledger.transfers.overdue, before):
        await _give_up(context, transfer)


async def _give_up(context: Context, transfer: Transfer) -> None:
    database, ledger, now = context.workers.database, context.ledger, context.now()
    since = transfer.queued_at or transfer.created_at
    partner = await database(ledger.partners.get, transfer.partner_id)
    why = transfer.text or partner.last_error or "no session came about"
    text = f"{GIVEN_UP} {span(now - since)}, the last time: {why}"
    try:
        given_up = await database(ledger.transfers.give_up, transfer.id, now, partner.last_reason, text)
    except IllegalMoveError:
        # A session has claimed it, or somebody cancelled it, since it was found.
        return
    await forget(context.workers, context.spool, given_up)
    log.error(
        "{partner}: {file} failed, transfer {transfer}: {text}; {advice}",
        partner=partner.code,
        file=transfer.dataset,
        transfer=transfer.id,
        text=text,
        advice=advice(None, transfer.id),
    )
