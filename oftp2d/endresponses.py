"""End responses between the ledger and the wire: those that we owe, and those of partners that the ledger keeps.

What a partner signed has to come out as it came in, a blank field too.
"""

from __future__ import annotations

from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason
from oftp2.values import clip
from oftp2d.ledger import Receipt, ReceiptKind, SignedResponse, Transfer


def kind_of(response: EndResponse) -> ReceiptKind:
    """Which of the two it is."""
    return ReceiptKind.NERP if isinstance(response, Nerp) else ReceiptKind.EERP


def as_came(response: EndResponse) -> SignedResponse:
    """A signed end response as the ledger keeps it."""
    nerp = response if isinstance(response, Nerp) else None
    return SignedResponse(
        kind=kind_of(response),
        creator=nerp.creator if nerp else "",
        reason=int(nerp.reason) if nerp else None,
        text=nerp.text if nerp else "",
        user="" if isinstance(response, Nerp) else response.user,
        hash=response.hash,
        signature=response.signature,
    )


def end_response(receipt: Receipt) -> EndResponse:
    """An end response of ours as it goes over the wire."""
    return command_for(
        receipt,
        receipt.kind,
        user=receipt.user,
        creator=receipt.creator,
        reason=receipt.reason,
        text=receipt.text,
        hash_=receipt.hash or b"",
        signature=receipt.signature or b"",
    )


def as_it_came(transfer: Transfer, kept: SignedResponse) -> EndResponse:
    """The partner's end response for a file of ours, which the ledger has kept."""
    return command_for(
        transfer,
        kept.kind,
        user=kept.user,
        creator=kept.creator,
        reason=kept.reason,
        text=kept.text,
        hash_=kept.hash,
        signature=kept.signature,
    )


def command_for(
    of: Transfer | Receipt,
    kind: ReceiptKind,
    *,
    user: str = "",
    creator: str | None = None,
    reason: int | None = None,
    text: str = "",
    hash_: bytes,
    signature: bytes = b"",
) -> EndResponse:
    """An end response; that for a transfer travels the other way than its file did."""
    if isinstance(of, Receipt):
        destination, originator = of.destination, of.originator
    else:
        destination, originator = of.originator, of.destination
    if kind is ReceiptKind.EERP:
        return Eerp(
            dataset=of.dataset,
            date=of.date,
            time=of.time,
            user=user,
            destination=destination,
            originator=originator,
            hash=hash_,
            signature=signature,
        )
    given = (each for each in NegativeResponseReason if each == reason)
    return Nerp(
        dataset=of.dataset,
        date=of.date,
        time=of.time,
        destination=destination,
        originator=originator,
        creator=originator if creator is None else creator,
        reason=next(given, NegativeResponseReason.UNSPECIFIED),
        text=clip(text),
        hash=hash_,
        signature=signature,
    )
