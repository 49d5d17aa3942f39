"""Files for a third party: whether they are taken, where they go, and the answer that goes back (RFC 5024 section 4.3.6).

A partner may send them where it is allowed to. They go to the partner whose code, or one of whose sub-stations, they are
for, never to the one they came from. Nothing of them is opened or changed. What must be true together is in
``oftp2d.ledger.forwarding``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from oftp2.commands import Eerp, EndResponse, Sfid
from oftp2d.ledger import Direction, Ledger, NewReceipt, Partner, ReceiptKind, Traffic, Transfer
from oftp2d.spool import Spool, SpoolError
from oftp2d.workers import Workers

log = Logger(namespace="forwarding")


ORIGINATOR_TOLD: Final = "its originator is told so"
"""What is to be done about a forwarded file that goes nowhere any more, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoute:
    """Why a file for a third party is not taken. ``duplicate``: because the same file goes there already."""

    text: str
    duplicate: bool = False


def route(ledger: Ledger, offer: Sfid, source: Partner) -> Partner | NoRoute:
    """The partner to which a file for a third party goes on. Blocks."""
    if not source.may_forward:
        return NoRoute(text=f"{offer.destination} is no station here")
    target = ledger.partners.by_station(offer.destination)
    if target is None or not target.active:
        return NoRoute(text=f"{offer.destination} is no station here, and no partner it could be forwarded to")
    if target.mode is Traffic.RECEIVE:
        return NoRoute(text=f"no files are sent to {offer.destination}")
    if target.id == source.id:
        return NoRoute(text=f"{offer.destination} is where the file came from")
    going = ledger.transfers.find(Direction.OUT, offer.identity)
    incoming = ledger.transfers.find(Direction.IN, offer.identity)
    if going is not None and incoming is None:
        return NoRoute(text="the same file goes there already", duplicate=True)
    return target


def travelling(response: EndResponse) -> NewReceipt:
    """An end response as it came, to travel on as it is."""
    if isinstance(response, Eerp):
        return NewReceipt(kind=ReceiptKind.EERP, user=response.user, hash=response.hash, signature=response.signature)
    return NewReceipt(
        kind=ReceiptKind.NERP,
        creator=response.creator,
        reason=int(response.reason),
        text=response.text,
        hash=response.hash,
        signature=response.signature,
    )


async def forget(workers: Workers, spool: Spool, transfer: Transfer) -> None:
    """Free the room of a forwarded file that goes nowhere any more; where that fails, the next start does it."""
    if transfer.forwarded_from is not None:
        await discard(workers, spool, transfer.spool_name)


async def discard(workers: Workers, spool: Spool, name: str) -> None:
    """The same for what has come and has no transfer onward."""
    try:
        await workers.disk(spool.remove_outgoing, name)
    except SpoolError as error:
        log.warn("{what}; {advice}", what=error.what, advice=error.advice)
