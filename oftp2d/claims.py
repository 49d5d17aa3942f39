"""The work that a session has claimed and not begun: end responses first, then files.

To ask the ledger for each small file would take longer than to send it. So several are claimed at once, and their
content is read at once, within bounds: what is in hand must not keep others waiting, neither another session with the
partner nor what is queued meanwhile and goes first. A large file is claimed alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from oftp2.values import FileFormat
from oftp2d.context import Context
from oftp2d.ledger import Partner, Receipt, Transfer

END_RESPONSES: Final = 64
"""End responses claimed at once."""

FILES: Final = 32
"""Files claimed at once, which together have no more than ``OCTETS``."""

OCTETS: Final = 512 * 1024
"""Octets of files claimed at once; all of them are held in memory."""


_STREAMS: Final = frozenset({FileFormat.UNSTRUCTURED.value, FileFormat.TEXT.value})
"""Formats without records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A claimed file."""

    transfer: Transfer
    content: bytes | None = field(repr=False)
    """All of it, if it is small and could be read; else it is to be read while it is sent."""


class Claims:
    """What one session has in hand."""

    def __init__(self, context: Context, *, owner: str, partner: Partner, since: datetime) -> None:
        self._context = context
        self._owner = owner
        self._partner = partner
        self._since = since
        """When the session began: what was postponed in it is not due in it."""
        self._end_responses: deque[Receipt] = deque()
        self._files: deque[Outgoing] = deque()
        self._claimed_at: datetime = context.now()

    async def end_response(self) -> Receipt | None:
        """The next end response to send. None as long as files are in hand: those are finished first."""
        if not self._end_responses and not self._files:
            self._claimed_at = self._context.now()
            self._end_responses.extend(
                await self._context.workers.database(
                    self._context.ledger.receipts.claim,
                    self._partner.id,
                    self._owner,
                    self._claimed_at,
                    self._context.lease,
                    at_most=END_RESPONSES,
                )
            )
        await self._keep()
        return self._end_responses.popleft() if self._end_responses else None

    async def file(self) -> Outgoing | None:
        """The next file to send."""
        if not self._files:
            self._claimed_at = self._context.now()
            claimed = await self._context.workers.database(
                self._context.ledger.transfers.claim,
                self._partner.id,
                self._owner,
                self._claimed_at,
                self._context.lease,
                due=self._since,
                files=FILES,
                octets=OCTETS,
            )
            self._files.extend(await self._read(claimed))
        await self._keep()
        return self._files.popleft() if self._files else None

    async def give_back(self) -> None:
        """Let others have what was not begun: it is due at once, and no attempt of it counts."""
        ledger, now = self._context.ledger, self._context.now()
        files, end_responses = list(self._files), list(self._end_responses)
        self._files.clear()
        self._end_responses.clear()
        if files:
            unbegun = [file.transfer.id for file in files]
            await self._context.workers.database(ledger.transfers.unclaim, unbegun, self._owner, now)
        if end_responses:
            await self._context.workers.database(ledger.receipts.release, self._owner)

    async def _read(self, claimed: list[Transfer]) -> list[Outgoing]:
        """The content of those that are small and nothing but octets, with one hop to the disk."""
        small = [file for file in claimed if file.octets <= OCTETS and file.format in _STREAMS]
        contents: dict[str, bytes | None] = {}
        if small:
            names = [(file.spool_name, file.octets) for file in small]
            read = await self._context.workers.disk(self._context.spool.read_outgoing, names)
            contents = {file.id: content for file, content in zip(small, read, strict=True)}
        return [Outgoing(transfer=file, content=contents.get(file.id)) for file in claimed]

    async def _keep(self) -> None:
        """Prolong the claims on what has been in hand for long: the partner may be slow."""
        now = self._context.now()
        if now - self._claimed_at <= self._context.lease / 4:
            return
        self._claimed_at = now
        for held in (self._context.ledger.receipts, self._context.ledger.transfers):
            await self._context.workers.database(held.renew_all, self._owner, now, self._context.lease)
