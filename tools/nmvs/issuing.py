"""The life of certificates: issued, succeeded 60 days before their end, kept for a while, fetched (nmvs.md 8.3 points 4 to 7)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .authority import Authorities, Pair
from .containers import pack, passphrase
from .habits import Again, Habits

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass
class Issue:
    """One certificate of a user, with its container."""

    pair: Pair
    root: Pair
    secret: str = field(repr=False)
    container: bytes = field(repr=False)
    made_at: datetime
    predecessor: int | None = None
    """The serial number of the certificate that it follows."""
    downloads: int = 0
    used: bool = False
    confirmed: bool = False

    @property
    def serial(self) -> int:
        return self.pair.serial

    @property
    def ends(self) -> datetime:
        return self.pair.certificate.not_valid_after_utc


@dataclass
class Tan:
    """A one-time number: bound to a user, and to the certificate whose successor it fetches, if there was one."""

    value: str = field(repr=False)
    given_at: datetime
    follows: int | None
    issue: Issue | None = None


@dataclass
class Holder:
    """Who holds certificates."""

    login: str
    user: str
    issues: list[Issue] = field(default_factory=list, repr=False)
    tans: list[Tan] = field(default_factory=list, repr=False)

    def by_serial(self, serial: int | None) -> Issue | None:
        return next((each for each in self.issues if each.serial == serial), None)


class Issuing:
    """Makes certificates and gives them out."""

    def __init__(self, authorities: Authorities) -> None:
        self.authorities = authorities

    def first(self, holder: Holder, habits: Habits, now: datetime) -> Issue:
        """A certificate from now on that follows none."""
        return self._issue(holder, habits, now, None)

    def with_certificate(self, holder: Holder, serial: int, habits: Habits, now: datetime) -> tuple[Issue | None, str]:
        """The successor of the certificate that was presented, or a code."""
        current = holder.by_serial(serial)
        if current is None:
            return None, "NMVS_FE_PKI_06"
        if current.ends < now:
            return None, "NMVS_FE_PKI_01"
        successor, code = self._successor(holder, current, habits, now)
        return (None, code) if successor is None else self._given(successor, habits)

    def with_tan(self, holder: Holder, value: str, habits: Habits, now: datetime) -> tuple[Issue | None, str]:
        """What a one-time number fetches, or a code."""
        tan = next((each for each in holder.tans if secrets.compare_digest(each.value.encode(), value.encode())), None)
        if tan is None:
            return None, "NMVS_FE_AU_10"
        if now > tan.given_at + timedelta(habits.store_days):
            return None, "NMVS_FE_PKI_08"
        if tan.issue is None:
            code = self._bind(holder, tan, habits, now)
            if tan.issue is None:
                return None, code
        return self._given(tan.issue, habits)

    def _bind(self, holder: Holder, tan: Tan, habits: Habits, now: datetime) -> str:
        """From its first use on a TAN stands for one certificate; or the code of why there is none."""
        current = holder.by_serial(tan.follows)
        if current is None:
            tan.issue = self._issue(holder, habits, now, None)
            return ""
        if current.ends < now:
            return "NMVS_FE_PKI_01"
        tan.issue, code = self._successor(holder, current, habits, now)
        return code

    def tan(self, holder: Holder, habits: Habits, now: datetime) -> str:
        """A new one-time number: for the successor of what is valid, else for a new certificate."""
        valid = sorted((each for each in holder.issues if each.ends >= now), key=lambda each: each.ends)
        due = [each for each in valid if each.ends - timedelta(habits.lead_days) <= now]
        follows = next(iter(due or valid[-1:]), None)
        value = "".join(secrets.choice(ALPHABET) for _ in range(16))
        holder.tans.append(Tan(value, now, None if follows is None else follows.serial))
        return value

    def used(self, holder: Holder, serial: int, habits: Habits) -> None:
        """A certificate is used: by habit its predecessor is revoked when that happens for the first time."""
        issue = holder.by_serial(serial)
        if issue is None or issue.used:
            return
        issue.used = True
        if habits.revoke_old and issue.predecessor is not None:
            self.authorities.revoked.add(issue.predecessor)

    def of_another(self, habits: Habits, now: datetime) -> Issue:
        """A certificate for somebody else, for the fault of that name."""
        return self._issue(Holder("ANOTHER-CLIENT", "another-user"), habits, now, None)

    def repacked(self, issue: Issue, habits: Habits) -> None:
        """The same certificate in a new container with a new passphrase."""
        issue.secret = passphrase()
        issue.container = pack(
            issue.pair.key, issue.pair.certificate, [issue.root.certificate], issue.secret, habits.encryption
        )

    def _successor(self, holder: Holder, current: Issue, habits: Habits, now: datetime) -> tuple[Issue | None, str]:
        made = current.ends - timedelta(habits.lead_days)
        if now < made:
            return None, "NMVS_FE_PKI_07"
        if now > made + timedelta(habits.store_days):
            return None, "NMVS_FE_PKI_08"
        found = next((each for each in holder.issues if each.predecessor == current.serial), None)
        return found or self._issue(holder, habits, made, current.serial), ""

    def _given(self, issue: Issue, habits: Habits) -> tuple[Issue | None, str]:
        most = {Again.LIMITED: habits.downloads, Again.REFUSED: 1}.get(habits.again)
        if issue.confirmed or (most is not None and issue.downloads >= most):
            return None, "NMVS_FE_PKI_09"
        if issue.downloads and habits.again is Again.NEW_PASSPHRASE:
            self.repacked(issue, habits)
        issue.downloads += 1
        return issue, "NMVS_SUCCESS"

    def _issue(self, holder: Holder, habits: Habits, begins: datetime, predecessor: int | None) -> Issue:
        pair, root = self.authorities.issue(holder.login, holder.user, begins, begins + timedelta(habits.valid_days))
        made = Issue(pair=pair, root=root, secret="", container=b"", made_at=begins, predecessor=predecessor)
        self.repacked(made, habits)
        holder.issues.append(made)
        return made
