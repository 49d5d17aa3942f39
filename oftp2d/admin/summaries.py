"""One sentence about a transfer for the person who asks: what happened, how often it was tried, and what to do.

Built from the record and the retry policy (``oftp2d.retries``) alone.
"""

from __future__ import annotations

from datetime import datetime

from oftp2.values import SecurityLevel
from oftp2d.ledger import Direction, Forwarding, Partner, Transfer, TransferState
from oftp2d.retries import GIVEN_UP, advice, rule_of, times

_INCOMING = {
    TransferState.RECEIVING: "It is being received from {partner}",
    TransferState.INTERRUPTED: "It broke off on its way in; {partner} is expected to send it again",
    TransferState.RECEIVED: "It is complete and on disk, and about to be taken over",
    TransferState.DELIVERED: "It is in the inbox{receipt}",
    TransferState.REFUSED: "It was refused after it had come, {reason}: {text}{receipt}",
    TransferState.CANCELLED: "It broke off on its way in, and an operator gave up waiting for it",
}
_RECEIPT = {
    "owed": "; the end response leaves with the next session",
    "sent": "; {partner} has the end response",
}


def summary(record: Transfer, partner: Partner, waits_for: str | None, forwarding: Forwarding | None = None) -> str:
    """The sentence; ``waits_for`` is what the listing says of what is still to come."""
    if forwarding is not None:
        return _sentence(_forwarded(record, forwarding, waits_for))
    if record.direction is Direction.IN:
        receipt = _RECEIPT.get(record.end_response or "", "").format(partner=partner.code)
        told = _INCOMING[record.state]
        return _sentence(
            told.format(partner=partner.code, receipt=receipt, reason=record.reason or "", text=record.text or "")
        )
    return _sentence(_outgoing(record, partner.code, waits_for))


def _forwarded(record: Transfer, forwarding: Forwarding, waits_for: str | None) -> str:
    """What became of a file that is not for us."""
    source, target = forwarding.source, forwarding.target
    travels = f"is with {source}" if record.end_response == "sent" else f"travels back to {source}"
    refused = f"{record.reason}: {record.text}" if record.reason else record.text
    told = {
        TransferState.SENDING: f"it is being sent to {target}",
        TransferState.SENT: f"{target} has it, and its end response has not come",
        TransferState.ACKNOWLEDGED: f"delivered: the receipt (EERP) of {target} came and was passed back",
        TransferState.DELIVERED: f"delivered: the receipt (EERP) {travels}",
        TransferState.FAILED: f"{refused}; {source} is told so (NERP)",
        TransferState.CANCELLED: f"an operator cancelled it; {source} is told so (NERP)",
        TransferState.REFUSED: f"{refused}; the NERP {travels}",
    }
    happened = told.get(record.state, f"it waits for {waits_for}")
    return f"forwarded from {source} to {target}; {happened}"


def _outgoing(record: Transfer, code: str, waits_for: str | None) -> str:
    again = f"'oftp2d transfer retry {record.id}'"
    told = {
        TransferState.SECURING: (f"it is being {_done_to(record)}", ""),
        TransferState.QUEUED: (f"it waits for {waits_for}", ""),
        TransferState.SENDING: (f"it is being sent to {code}", ""),
        TransferState.SENT: (
            f"{code} has it since {_moment(record.sent_at)}, and {_no_receipt(record)}",
            f"if that takes days, ask {code} whether its system took the file over",
        ),
        TransferState.ACKNOWLEDGED: (f"delivered: the receipt (EERP) of {code} came {_moment(record.ended_at)}", ""),
        TransferState.REFUSED: (
            f"{code} took it and refused it afterwards, {record.reason}: {record.text}",
            f"put right what it says, and send it again ({again})",
        ),
        TransferState.CANCELLED: ("an operator cancelled it", f"{again} sends it all the same"),
        TransferState.FAILED: (_failed(record, code), advice(record.reason, record.id)),
    }
    happened, todo = told[record.state]
    tried = "it was not tried yet" if not record.attempts else f"it was tried {times(record.attempts)}"
    return "; ".join(part for part in (happened, tried, todo) if part)


def services(record: Transfer) -> list[str]:
    """What was done to a file, or is to be done to it, in the order of RFC 5024 section 6.1."""
    done = {
        "signed": record.security in {SecurityLevel.SIGNED, SecurityLevel.ENCRYPTED_AND_SIGNED},
        "compressed": bool(record.compression),
        "encrypted": record.security in {SecurityLevel.ENCRYPTED, SecurityLevel.ENCRYPTED_AND_SIGNED},
    }
    return [service for service, wanted in done.items() if wanted]


def _done_to(record: Transfer) -> str:
    """What is done to a file before it is queued."""
    *others, last = services(record) or ["hashed, for a signed receipt"]
    return f"{', '.join(others)} and {last}" if others else last


def _no_receipt(record: Transfer) -> str:
    """Why the partner's end response is missing: it did not come, or did not count."""
    if record.text:
        return f"no receipt (EERP) that counts has come: {record.text}"
    return "its receipt (EERP) has not come"


def _failed(record: Transfer, code: str) -> str:
    """What happened to a file that is not tried any more."""
    rule = rule_of(record.reason)
    text = record.text or ""
    if rule is None or text.startswith(GIVEN_UP):
        return text
    return f"{code} did not take it, {record.reason}: {rule.means} (it says: {text})"


def _moment(at: datetime | None) -> str:
    return "at some time" if at is None else f"on {at:%F} at {at:%H:%M:%SZ}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('. ')}."
