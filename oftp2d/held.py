"""End responses of partners that were signed and did not count: judged again when other certificates are there.

That is so when one has come by import or by the exchange, and then it is done at once. It is also so when one was switched on
again or has become valid, when a revocation list can be read again or shorter keys are allowed, and when the station fell
just before it could look; for that it is looked now and then, and only what may have another end is judged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

from twisted.logger import Logger

from oftp2.certs import selection
from oftp2.commands import EndResponse, Nerp
from oftp2d.context import Context
from oftp2d.endresponses import as_it_came
from oftp2d.ledger import HeldResponse, Partner, Transfer, TransferState
from oftp2d.receipts import Judgement, Receipts
from oftp2d.spool import SpoolError

AT_ONCE = 500
"""How many are read from the ledger at once: each may have 64 KiB."""


class HeldResponses:
    """Looks after what is held."""

    log = Logger(namespace="receipts")

    def __init__(self, context: Context, receipts: Receipts) -> None:
        self._context = context
        self._receipts = receipts
        self._looked: dict[int, tuple[datetime, frozenset[str]]] = {}
        """Of each partner when it was last looked, and with which certificates."""

    async def look(self) -> None:
        """Judge what has come since it was looked last, and all of a partner that may be verified by other certificates."""
        workers = self._context.workers
        for partner_id in await workers.database(self._context.ledger.evidence.holders):
            now = self._context.now()
            partner = await workers.database(self._context.ledger.partners.get, partner_id)
            usable = await workers.database(self._usable, partner, now)
            looked_at, before = self._looked.get(partner_id, (now, None))
            # A clock that was set back tells nothing about what is new.
            since = looked_at if usable == before and looked_at <= now else None
            await self.judge(partner, since=since)
            self._looked[partner_id] = now, usable

    async def judge(self, partner: Partner, *, since: datetime | None = None) -> None:
        """Judge all that is held of a partner, or what has come ``since`` then: what can be verified now counts."""
        ledger, workers = self._context.ledger, self._context.workers
        async for held in self._all(partner, since):
            transfer = await workers.database(ledger.transfers.get, held.transfer_id)
            response = as_it_came(transfer, held)
            judgement = await self._receipts.proven(partner, transfer, response)
            if judgement is not None:
                await self._count(partner, transfer, response, judgement)

    async def _all(self, partner: Partner, since: datetime | None) -> AsyncIterator[HeldResponse]:
        read = partial(self._context.ledger.evidence.held, partner.id, since=since, limit=AT_ONCE)
        after = ""
        while some := await self._context.workers.database(read, after=after):
            for held in some:
                yield held
            after = some[-1].transfer_id

    def _usable(self, partner: Partner, now: datetime) -> frozenset[str]:
        """The certificates that may verify end responses of the partner now, whatever station they are of. Blocks."""
        store = self._context.certificates
        stations = {each.station for each in store.partner_certificates(partner_id=partner.id) if each.station}
        chosen = (
            store.explain_partner(
                selection.EERP_VERIFICATION,
                partner_id=partner.id,
                station=station,
                now=now,
                least_bits=partner.least_rsa_bits,
            )
            for station in {partner.code, *partner.sub_stations, *stations}
        )
        return frozenset(entry.facts.fingerprint for each in chosen for entry in each.entries)

    async def _count(self, partner: Partner, transfer: Transfer, response: EndResponse, judgement: Judgement) -> None:
        transfers, key, now = self._context.ledger.transfers, transfer.key, self._context.now()
        if isinstance(response, Nerp):
            kind, reason = "NERP", f"NERP {response.reason:02}"
            noting = partial(transfers.refused, key, now, reason, judgement.told(response))
        else:
            kind, noting = "EERP", partial(transfers.acknowledged, key, now)
        answered = await self._context.workers.database(
            noting, partner_id=partner.id, in_full=True, evidence=judgement.evidence
        )
        if answered is None or not answered.news:
            return
        self.log.info(
            "{partner}: the {kind} for {file} that did not count before counts now, transfer {transfer}, signed by {signer}",
            partner=partner.code,
            kind=kind,
            file=transfer.dataset,
            transfer=transfer.id,
            signer=judgement.signer,
        )
        if answered.transfer.state is TransferState.ACKNOWLEDGED:
            try:
                await self._context.workers.disk(self._context.spool.remove_outgoing, *transfer.spool_names)
            except SpoolError as error:
                self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)
