"""Users with their passwords, the counter that locks them, and their consent (nmvs.md 8.3 point 3)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from .habits import Habits
from .issuing import Holder

LOCKED_AT: Final = 4
"""UKNI locks after more than three wrong passwords (nmvs.md section 6)."""
REMEMBERED: Final = 20


@dataclass
class User(Holder):
    """One user of one client."""

    password: str = field(default="", repr=False)
    changed_at: datetime | None = None
    initial: bool = False
    """The password is that of the letter, and has to be changed first."""
    failures: int = 0
    locked: bool = False
    terms_until: datetime | None = None
    """New terms and conditions wait for consent until then."""
    former: str = field(default="", repr=False)
    former_until: datetime | None = None
    earlier: list[str] = field(default_factory=list, repr=False)
    calls: list[datetime] = field(default_factory=list, repr=False)


class Users:
    """All users, by login and name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], User] = {}

    def add(self, user: User) -> None:
        """Replaces one of the same name."""
        self._known[user.login, user.user] = user

    def get(self, login: str, user: str) -> User | None:
        return self._known.get((login, user))

    def all(self) -> list[User]:
        return list(self._known.values())

    def authenticate(self, login: str, user: str, password: str, now: datetime) -> tuple[User | None, str]:
        """The user, or the code of the refusal. Counts failures: the fourth locks."""
        found = self.get(login, user)
        if found is None:
            known = any(each.login == login for each in self._known.values())
            return None, "NMVS_FE_AU_01" if known else "NMVS_FE_AU_04"
        if found.locked:
            return None, "NMVS_FE_AU_02"
        if not _same(password, found.password) and not self._former(found, password, now):
            found.failures += 1
            found.locked = found.failures >= LOCKED_AT
            return None, "NMVS_FE_AU_05" if found.locked else "NMVS_FE_AU_06"
        found.failures = 0
        return found, ""

    def _former(self, user: User, password: str, now: datetime) -> bool:
        return user.former_until is not None and now < user.former_until and _same(password, user.former)


def admitted(user: User, habits: Habits, now: datetime) -> str:
    """The code with which a user who gave the right password is sent away all the same; empty: none."""
    left = _left(user, habits, now)
    if user.initial or (left is not None and left <= timedelta()):
        return "NMVS_FE_AU_11"
    return "NMVS_FE_AU_23" if user.terms_until is not None and user.terms_until <= now else ""


def notices(user: User, password: str, habits: Habits, now: datetime) -> list[tuple[str, str]]:
    """What an answer carries along: codes with descriptions (section 4, notifications)."""
    found = []
    if user.former_until is not None and not _same(password, user.password):
        days = (user.former_until - now).days
        found.append(("NMVS_NOTIFY_AU_01", f"Old password used, it will be deactivated in {days} days."))
    left = _left(user, habits, now)
    if left is not None and left <= timedelta(habits.password_notice_days):
        found.append(("NMVS_NOTIFY_AU_02", f"Password expires in {left.days} days."))
    if user.terms_until is not None:
        days = (user.terms_until - now).days
        found.append(("NMVS_NOTIFY_PMS_01", f"New terms and conditions, {days} days left to confirm."))
    return found


def change(user: User, given: str, change_to: tuple[str, str], habits: Habits, now: datetime) -> str:
    """G445: the code of the outcome; ``change_to`` is the old password as the body has it, and the new one."""
    old, new = change_to
    if not _same(given, user.password):
        # Who still logs in with the former password does not know that there is a new one.
        return "NMVS_FE_AU_24"
    if not _same(old, user.password):
        return "NMVS_FE_AU_06"
    if _same(new, old):
        return "NMVS_FE_PMS_02"
    if new in user.earlier[-REMEMBERED:]:
        return "NMVS_FE_PMS_03"
    kinds = (str.islower, str.isupper, str.isdigit, lambda each: not each.isalnum())
    if not all(any(kind(each) for each in new) for kind in kinds):
        return "NMVS_FE_PMS_04"
    user.earlier.append(old)
    user.former, user.former_until = old, now + timedelta(habits.password_grace_days)
    user.password, user.changed_at, user.initial = new, now, False
    return "NMVS_SUCCESS"


def too_often(user: User, habits: Habits, now: datetime) -> bool:
    """Notes a call, and says whether there were too many."""
    begin = now - timedelta(seconds=habits.rate_seconds)
    user.calls = [each for each in user.calls if begin < each <= now]
    user.calls.append(now)
    return 0 < habits.rate_calls < len(user.calls)


def _left(user: User, habits: Habits, now: datetime) -> timedelta | None:
    if not habits.password_days or user.changed_at is None:
        return None
    return user.changed_at + timedelta(habits.password_days) - now


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
