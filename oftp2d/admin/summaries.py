"""One sentence about a transfer for the person who asks: what happened, how often it was tried, and what to do.

Built from the record and the retry policy (``oftp2d.retries``) alone.
"""

from __future__ import annotations

from datetime import datetime

from oftp2.reasons import NegativeResponseReason
from oftp2.values import SecurityLevel
from oftp2d.ledger import Direction, Forwarding, Partner, Transfer, TransferState
from oftp2d.retries import GIVEN_UP, advice, advice_afterwards, rule_of, times

_INCOMING = {
    TransferState.RECEIVING: "It is being received from {partner}",
    TransferState.INTERRUPTED: "It broke off on its way in; {partner} is expected to send it again",
    TransferState.RECEIVED: "It is complete and on disk, and {todo}",
    TransferState.DELIVERED: "It is in the inbox{receipt}",
    TransferState.REFUSED: "It was refused after it had come, {reason}: {text}{receipt}{advice}",
    TransferState.CANCELLED: "It broke off on its way in, and an operator gave up waiting for it",
}
_RECEIPT = {
    "owed": "; the end response leaves with the next session",
    "sent": "; {partner} has the end response",
}
_UNDONE = {"signed": "verified", "compressed": "decompressed", "encrypted": "decrypted"}
_OPENED = {
    NegativeResponseReason.INVALID_SIGNATURE: "get the certificate with which {partner} signs ('oftp2d exchange request"
    " {partner}', or 'oftp2d cert import FILE --partner {partner}')",
    NegativeResponseReason.DECOMPRESSION_FAILED: "if it is only larger than is allowed here, raise limits.max_expansion or"
    " limits.max_file_octets in oftp2d.toml",
    NegativeResponseReason.DECRYPTION_FAILED: "give {partner} the certificate that it is to encrypt for ('oftp2d exchange"
    " deliver {partner}', or 'oftp2d cert show --pem')",
}
"""What to do about a file that could not be opened, before it is sent again."""


def summary(record: Transfer, partner: Partner, waits_for: str | None, forwarding: Forwarding | None = None) -> str:
    """The sentence; ``waits_for`` is what the listing says of what is still to come."""
    if forwarding is not None:
        return _sentence(_forwarded(record, forwarding, waits_for))
    if record.direction is Direction.IN:
        said = {
            "partner": partner.code,
            "receipt": _RECEIPT.get(record.end_response or "", "").format(partner=partner.code),
            "reason": record.reason or "",
            "text": record.text or "",
            "advice": _to_open(record, partner.code),
            "todo": f"waits for {waits_for}" if waits_for else _to_undo(record),
        }
        return _sentence(_INCOMING[record.state].format(**said))
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
        TransferState.SECURING: (f"it waits for {waits_for}" if waits_for else f"it is being {_done_to(record)}", ""),
        TransferState.QUEUED: (f"it waits for {waits_for}", ""),
        TransferState.SENDING: (f"it is being sent to {code}", ""),
        TransferState.SENT: (
            f"{code} got it {_moment(record.sent_at)}, and {_no_receipt(record)}",
            "" if record.text else f"if that takes days, ask {code} whether its system took the file over",
        ),
        TransferState.ACKNOWLEDGED: (f"delivered: the receipt (EERP) of {code} came {_moment(record.ended_at)}", ""),
        TransferState.REFUSED: (
            f"{code} took it and refused it afterwards, {record.reason}: {record.text}",
            advice_afterwards(record.reason, record.text, record.id),
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
        "signed": SecurityLevel(record.security).signed,
        "compressed": bool(record.compression),
        "encrypted": SecurityLevel(record.security).encrypted,
    }
    return [service for service, wanted in done.items() if wanted]


def _done_to(record: Transfer) -> str:
    """What is done to a file before it is queued."""
    *others, last = services(record) or ["hashed, for a signed receipt" if record.signed_response else "made ready"]
    return f"{', '.join(others)} and {last}" if others else last


def _to_undo(record: Transfer) -> str:
    """What is done with a file that has come whole, before it is in the inbox."""
    *others, last = [_UNDONE[each] for each in reversed(services(record))] or ["taken over"]
    return f"is being {', '.join(others)} and {last}" if others else f"is being {last}"


def _to_open(record: Transfer, code: str) -> str:
    """What to do about a file that could not be opened."""
    if record.raw_name is None:
        return ""
    told = next((told for reason, told in _OPENED.items() if record.reason == f"NERP {reason:02}"), None)
    first = f"{told.format(partner=code)}; then " if told else ""
    if first and SecurityLevel(record.security).encrypted:
        # Its reason is the same whatever was found in it, for the partner is to learn nothing of that.
        first = f"where that is what it lacks, {first}"
    return f"; {first}ask {code} to send it again; 'oftp2d transfer raw {record.id}' has it as it came"


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
