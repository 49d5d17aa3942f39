"""The retry policy: what becomes of a file that the partner does not take (RFC 5024 sections 5.3.5 and 5.3.10).

``RULES`` is all of it, one row for each answer reason. An SFNA carries a retry indicator, and it is respected: with Y the
file is offered again in a later session, with N it is not, and a person decides. EFNA has no such indicator: what may pass
by itself is tried again, the rest is not.

Two limits bound what is tried again: how often the partner may refuse a file, and how long it may be tried in all. A
session that ends before the partner has answered, and a call that comes to nothing, count against the time alone.
Nothing here knows the ledger or a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from oftp2.reasons import AnswerReason, NegativeResponseReason
from oftp2d.config import Retry


class Course(StrEnum):
    """What becomes of the file. Held and given up both mean that a person must act, on the same file or with a new one."""

    AGAIN = "again"
    HOLD = "hold"
    GIVE_UP = "give up"
    DELIVERED = "delivered"


class Command(StrEnum):
    """The two answers that say no."""

    SFNA = "SFNA"
    EFNA = "EFNA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the policy."""

    final: Course
    """After an SFNA with retry indicator N."""
    rejected: Course
    """After an EFNA."""
    had: Course | None = None
    """After either, without the wish for a retry, where an EFID had gone out before: the partner may have the file."""
    means: str
    """What has happened, for people: the end of "the partner did not take it: ..."."""
    advice: str
    """What to do, for people, once the file is not tried any more."""
    option: str = ""
    """With which option it is sent again then, or goes the same way as before."""


LATER: Final = Course.AGAIN
"""After an SFNA with retry indicator Y, whatever the reason."""

OTHER_CONTENT: Final = "what arrived at the partner is another content than was sent"
"""What a refusal proves that the partner has signed for another hash; what to do about that is told with it."""

_RETRY: Final = "oftp2d transfer retry"
_AS_AGREED: Final = " --as-agreed"
_NEW_STAMP: Final = " --new-stamp"

_SECURITY: Final = (
    "agree with the partner on the security of files ('oftp2d partner change'), and send it as is agreed then, with"
    f" '{_RETRY}{_AS_AGREED}'"
)

RULES: Final[Mapping[AnswerReason, Rule]] = {
    AnswerReason.INVALID_FILE_NAME: Rule(
        final=Course.GIVE_UP,
        rejected=Course.GIVE_UP,
        means="the partner expects no file of this name",
        advice="ask for the dataset name it expects, and send the file anew with 'oftp2d send --as'",
    ),
    AnswerReason.INVALID_DESTINATION: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner does not know the code the file is for",
        advice="compare the code with the partner's; retry the file when the partner knows it, or send it anew with"
        " 'oftp2d send --to'",
    ),
    AnswerReason.INVALID_ORIGIN: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner does not know the code the file is from",
        advice="tell the partner this code, and retry the file when it knows it; or send it anew with 'oftp2d send --from'",
    ),
    AnswerReason.RECORD_FORMAT_NOT_SUPPORTED: Rule(
        final=Course.GIVE_UP,
        rejected=Course.GIVE_UP,
        means="the partner does not take files of this format",
        advice="ask for the format it expects, and send the file anew in that, with 'oftp2d send --format'",
    ),
    AnswerReason.RECORD_LENGTH_NOT_SUPPORTED: Rule(
        final=Course.GIVE_UP,
        rejected=Course.GIVE_UP,
        means="the partner does not take records of this length",
        advice="ask for the longest record it takes, and send the file anew with such records ('oftp2d send --format')",
    ),
    AnswerReason.FILE_TOO_BIG: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the file is larger than the partner takes",
        advice="retry it when the partner has raised its limit, or send the content in smaller files",
    ),
    AnswerReason.INVALID_RECORD_COUNT: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner counted other records than were sent",
        advice="one of the two products counts wrongly: report it with both logs, then retry the file",
    ),
    AnswerReason.INVALID_BYTE_COUNT: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner counted other octets than were sent",
        advice="one of the two products counts wrongly: report it with both logs, then retry the file",
    ),
    AnswerReason.ACCESS_METHOD_FAILURE: Rule(
        final=Course.HOLD,
        rejected=Course.AGAIN,
        means="the partner could not store it: its disk is full, or in trouble",
        advice="ask the partner, and retry the file when it is put right",
    ),
    AnswerReason.DUPLICATE_FILE: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        had=Course.DELIVERED,
        means="the partner says that it has had this file, though it was never sent to its end",
        advice=f"ask whether it has it: if so, cancel the file, else send it with '{_RETRY}{_NEW_STAMP}'",
        option=_NEW_STAMP,
    ),
    AnswerReason.DIRECTION_REFUSED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes no files from us",
        advice="ask the partner to, and retry the file when it does",
    ),
    AnswerReason.CIPHER_SUITE_NOT_SUPPORTED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner can't do its cipher suite",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.ENCRYPTED_NOT_ALLOWED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes no encrypted files",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.UNENCRYPTED_NOT_ALLOWED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes encrypted files only",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.COMPRESSION_NOT_ALLOWED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes no compressed files",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.SIGNED_NOT_ALLOWED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes no signed files",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.UNSIGNED_NOT_ALLOWED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner takes signed files only",
        advice=_SECURITY,
        option=_AS_AGREED,
    ),
    AnswerReason.INVALID_SIGNATURE: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="its signature does not fit the content, or the partner holds another certificate of ours",
        advice="deliver our certificate to the partner ('oftp2d exchange deliver'), then retry the file",
    ),
    AnswerReason.DECRYPTION_FAILED: Rule(
        final=Course.HOLD,
        rejected=Course.HOLD,
        means="the partner has not got the key that it was encrypted for",
        advice="request the partner's certificate ('oftp2d exchange request'), then have the file encrypted for it with"
        f" '{_RETRY}{_NEW_STAMP}'",
        option=_NEW_STAMP,
    ),
    AnswerReason.DECOMPRESSION_FAILED: Rule(
        final=Course.GIVE_UP,
        rejected=Course.GIVE_UP,
        means="the partner can't decompress it, or it takes no file that becomes so large",
        advice="send the file anew with 'oftp2d send --no-compress'; if that arrives, report it with both logs",
    ),
    AnswerReason.UNSPECIFIED: Rule(
        final=Course.HOLD,
        rejected=Course.AGAIN,
        means="the partner gives no reason of the standard",
        advice="ask the partner what its log says, then retry the file",
    ),
}
"""The policy, for every reason of SFNA and EFNA."""


_AFTERWARDS: Final[Mapping[str, str]] = {
    f"NERP {found:02}": f"{Command.SFNA} {known:02}"
    for found, known in (
        (NegativeResponseReason.INVALID_SIGNATURE, AnswerReason.INVALID_SIGNATURE),
        (NegativeResponseReason.DECOMPRESSION_FAILED, AnswerReason.DECOMPRESSION_FAILED),
        (NegativeResponseReason.DECRYPTION_FAILED, AnswerReason.DECRYPTION_FAILED),
    )
}
"""The answer that means the same as an end response that says what came of opening a file."""

GIVEN_UP: Final = "given up after"
"""How a text begins that says that the limits were reached, and not a refusal for good."""


def course(command: Command, reason: AnswerReason, *, retry: bool, efid_sent: bool) -> Course:
    """What becomes of a file with this answer.

    ``retry`` is SFNARRTR, and False for an EFNA. ``efid_sent``: in an earlier session its EFID went out and no answer came.
    """
    rule = RULES[reason]
    if retry:
        return LATER
    if efid_sent and rule.had is not None:
        return rule.had
    return rule.final if command is Command.SFNA else rule.rejected


def backoff(attempts: int, retry: Retry) -> timedelta:
    """The wait before try ``attempts`` + 1: it doubles from the first and stays at the longest."""
    return timedelta(seconds=min(retry.first_seconds * 2 ** min(max(attempts - 1, 0), 30), retry.max_seconds))


def exhausted(retry: Retry, *, refusals: int, since: datetime, now: datetime) -> str | None:
    """Why a file is not tried any more, after so many refusals that allowed another try; None when it still is."""
    if refusals >= retry.attempts:
        return f"{GIVEN_UP} the partner refused it {times(refusals)}"
    if now - since >= timedelta(seconds=retry.total_seconds):
        return f"{GIVEN_UP} {span(now - since)}"
    return None


def rule_of(reason: str | None) -> Rule | None:
    """The row for what a transfer has as its reason, such as ``SFNA 02``; None for anything else."""
    command, _, number = (reason or "").partition(" ")
    if command not in list(Command) or not number.isdecimal():
        return None
    return next((rule for code, rule in RULES.items() if code == int(number)), None)


def advice(reason: str | None, transfer_id: str) -> str:
    """What to do about a file that is not tried any more, with a command that can be taken as it stands."""
    rule = rule_of(reason)
    told = "put it right, and retry the file" if rule is None else rule.advice
    again = f"{_RETRY} {transfer_id}"
    if _RETRY in told:
        return told.replace(_RETRY, again)
    return f"{told} ('{again}')" if "retry" in told else told


def again(reason: str | None, transfer_id: str) -> str:
    """The command with which a file is sent again that is not tried any more."""
    rule = rule_of(reason)
    return f"{_RETRY} {transfer_id}{rule.option if rule else ''}"


def advice_afterwards(reason: str | None, text: str | None, transfer_id: str) -> str:
    """What to do about a file that the partner took, and then refused with a NERP; empty where ``text`` says it."""
    if OTHER_CONTENT in (text or ""):
        return ""
    return advice(_AFTERWARDS.get(reason or ""), transfer_id)


def times(count: int) -> str:
    """How often, in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def span(length: timedelta) -> str:
    """How long, in the largest unit of which there are two."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
