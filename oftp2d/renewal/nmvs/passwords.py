"""Passwords that the station changes by itself (process G445, nmvs.md 3 and 6): when, and to what.

How it is done lies in :mod:`oftp2d.renewal.nmvs.plugin`: the new password is kept durably before the server hears of it. While
nobody knows which of the two counts, neither is tried: more than three wrong ones lock the account.
"""

from __future__ import annotations

import secrets
import string
from datetime import datetime

from oftp2d.renewal.interface import Held, Refusal, Verdict
from oftp2d.renewal.nmvs.profile import PasswordChange
from oftp2d.renewal.timetable import DAY
from oftp2d.vault import Secret


def made(policy: PasswordChange) -> Secret[str]:
    """A new password of the policy's length, with at least one of each kind of character."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, policy.signs)
    letters = [secrets.choice(kind) for kind in kinds]
    letters += [secrets.choice("".join(kinds)) for _ in range(policy.length - len(letters))]
    secrets.SystemRandom().shuffle(letters)
    return Secret("".join(letters))


def is_due(policy: PasswordChange, held: Held, now: datetime) -> bool:
    """Whether it is time to change it; nothing is done about one whose age is not known."""
    return held.changed_at is not None and now >= held.changed_at + (policy.valid_days - policy.lead_days) * DAY


def unsettled() -> Refusal:
    """A new password was sent, and nobody knows whether the server has taken it; ``{name}`` in the advice stands for the set."""
    return Refusal(
        verdict=Verdict.LOCKED,
        code="password unsettled",
        text="the password was being changed, and it is not known whether the server has taken the new one; neither is tried",
        advice=(
            "log in to the portal with the old one, once; if it does not work, have the help desk of your national medicines"
            " verification organisation set another; give the one that works with 'oftp2d renew secret {name} password', then"
            " 'oftp2d renew unblock {name}'"
        ),
    )
