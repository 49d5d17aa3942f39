"""What the reason codes of OFTP2 mean to the person who runs a station: where it went wrong and what to do.

What the partner says to us matters most, for the other way round our own log has the detail. What SFNA and EFNA mean is
in ``oftp2d.retries``, with what becomes of the file. tools/docs fails where a code of ``oftp2.reasons`` is missing.
"""

from __future__ import annotations

from oftp2d.retries import RULES

ESID = {
    0: "All is well: the session is over.",
    1: "One side sent something that is no OFTP2. Ask the partner for its product and version, and report it with the log.",
    2: "One side spoke out of turn, or more than it was allowed. As code 01.",
    3: "The code is not known on the other side. Compare codes (SSID): 'oftp2d station list' and 'oftp2d partner show'.",
    4: "The password is wrong. Agree on both anew, capitals too: 'oftp2d partner change CODE --passwords'.",
    5: "The other side stops, or its operator ended the session. It is tried again by itself.",
    6: "A field holds what it may not, such as a bad credit or buffer size. As code 01.",
    7: "A buffer is longer or shorter than agreed. As code 01; a smaller '--buffer-size' may help.",
    8: "The other side has no room, no line free, or its database is in trouble. It is tried again by itself; if it is"
    " us, see 'oftp2d check'.",
    9: "Nothing came for too long: a slow disk, a firewall that forgets connections, or a stalled partner.",
    10: "The sides can't agree on level or mode. The partner must offer OFTP2 (level 5); or it came without TLS where"
    " TLS is demanded.",
    11: "The partner could not open our challenge, or we its: it holds another certificate than is in use. Exchange"
    " certificates again.",
    12: "Session authentication is on at one side only, or a TLS client certificate is missing. Agree with the partner:"
    " 'oftp2d partner change CODE --authentication'.",
    99: "Something else; the text beside it says what.",
}

NEGATIVE = {
    3: "On its way beyond the partner (a clearing centre): the next system does not know the code.",
    4: "On its way beyond the partner: wrong password.",
    9: "On its way beyond the partner: the session broke off.",
    31: "As SFNA 21, found out after the transfer.",
    32: "As SFNA 23, found out after the transfer.",
    33: "As SFNA 22, found out after the transfer.",
    34: "The receiver could not use the content.",
    35: "The file did not reach the one it was for. Ask the partner.",
    36: "The one it was for did not confirm it in time. Ask the partner.",
    50: "Somebody there stopped it. Ask, then 'oftp2d transfer retry'.",
    90: "Beyond the partner an older OFTP is spoken, which can't express the size.",
    99: "Something else; the text says what. Every refusal of a certificate has this code: see 'oftp2d exchange list'.",
}
"""Codes 11 to 30 mean what the answer of the same last digits means; see ``negative``."""


def answer(code: int) -> str:
    """What a code of SFNA and EFNA means and what to do, out of the retry policy."""
    rule = next(rule for reason, rule in RULES.items() if reason == code)
    return f"{rule.means}; {rule.advice}"


def negative(code: int) -> str:
    """What a NERP code means; most are an answer's code plus ten, found out after the transfer."""
    return NEGATIVE.get(code) or f"As SFNA {code - 10:02}: {answer(code - 10)}."


LOG = {
    "authentication stays prepared": "The exchange of certificates is not complete yet.",
    "counts as unsigned": "Import the certificate with which the partner signs, and the next one is evidence.",
    "counts all the same": "Ask the partner to sign its end responses: an unsigned one proves nothing to others.",
    "session authentication is on": "The latch has closed; see 'oftp2d audit'.",
    "from the spool": "A leftover of a crash; nothing is lost.",
    "goes on: {state}": "It was under way when the station was stopped hard.",
    "look after: {what}": "Something ends, overlaps or is missing soon, or waits for you; the line says what to do.",
    "asks for authentication": "The partner's latch has closed before ours; it heals itself.",
    "the call failed": "If it stays so: 'oftp2d partner test' names the step and what to do.",
    "refused our certificate": "The partner's reason. Often it has to announce it, or to import its authority.",
    "{message} accepted": "A partner's certificate is in use from now on.",
    "{message} refused": "A partner's certificate was not taken; the message shows what differs. See 'oftp2d cert announce'.",
    "too often": "Two automatic systems may be asking each other: ask the partner.",
    "are not answered": "Somebody guesses, or a partner has an old password. Unknown address: your firewall.",
    "with {remote}: {text}": "The end of a session. Not a normal one: see the reason.",
    "for a file never sent": "A receipt for a file we do not know: ask the partner; harmless.",
    "refused {file}": "We did not take a partner's file; the text says why, and the partner knows.",
    "{file} failed": "The partner does not take it, or the limits of [retry] are reached.",
    "is sent again in": "Nothing, unless it stays so.",
    "came to nothing": "Somebody connected and left, or TLS failed: a scanner, or a partner that does not trust us.",
}
"""What lines of the log mean, by words in them, where they do not say it themselves.

Words that are in no line of the code any more make tools/docs fail.
"""
