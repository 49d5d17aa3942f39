"""What is to come for the certificates of the store: ends, overlaps, gaps, and the roll-over from one to the next.

Pure functions over the entries and the time. The rules are those of outbound selection: a certificate is used inside of its
validity and of its timeslice, half-open, for its own station or, without one, for all of its holder's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Slot, StoredCertificate

STEPS: Final = (60, 30, 7, 1)
"""Days before an end or a gap at which it is said again, and louder."""

Period = tuple[datetime, datetime]
"""From, and until but without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something to look after, and by when."""

    key: str
    """The same as long as there is nothing new to say of it."""
    text: str
    advice: str
    at: datetime
    """When it happens, or has happened."""

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.text}; {self.advice}"


def concerns(
    entries: Sequence[StoredCertificate],
    codes: Mapping[int, str],
    now: datetime,
    *,
    renewing: frozenset[str] = frozenset(),
) -> list[Concern]:
    """Everything to look after, the most pressing first.

    ``codes`` are those of partners by their ids. Certificates under renewal (``renewing``, by fingerprint) overlap on purpose.
    """
    used = [entry for entry in entries if entry.active and entry.slot is Slot.CURRENT]
    found = [
        *_ends(used, codes, now),
        *_gaps(used, codes, now),
        *_overlaps([entry for entry in used if entry.fingerprint not in renewing], codes, now),
    ]
    return sorted(found, key=lambda concern: concern.at)


def period(entry: StoredCertificate) -> Period:
    """When an entry may be used outbound: the timeslice inside of the validity; empty where they don't meet."""
    begins = max(entry.valid_from, entry.slice_from or entry.valid_from)
    # The last second of a validity belongs to it.
    ends = entry.valid_until + timedelta(seconds=1)
    return begins, min(ends, entry.slice_until or ends)


def rollover(
    old: StoredCertificate, new: StoredCertificate, now: datetime, at: datetime | None = None
) -> tuple[datetime, Period]:
    """The instant at which ``new`` takes over from ``old``, and the overlap it lies in; without ``at`` the middle of that.

    Raises OperatorError where there is no such instant.
    """
    if (old.holder, old.partner_id, old.station) != (new.holder, new.partner_id, new.station):
        raise OperatorError(
            f"{old.alias} and {new.alias} are not for the same station", "name two certificates of one station"
        )
    if not old.usages & new.usages:
        raise OperatorError(
            f"{old.alias} and {new.alias} have no use in common", "see 'oftp2d cert show', and name others"
        )
    begins = max(old.valid_from, new.valid_from, old.slice_from or old.valid_from)
    ends = min(old.valid_until, new.valid_until, new.slice_until or new.valid_until)
    if old.fingerprint == new.fingerprint or old.valid_from > new.valid_from:
        raise OperatorError(f"{new.alias} does not follow {old.alias}", "name the older one first, then the newer one")
    if begins >= ends or ends <= now:
        raise OperatorError(
            f"{old.alias} (until {_day(old.valid_until)}) and {new.alias} (from {_day(new.valid_from)}) are not valid together",
            "get a certificate that overlaps with the old one; two weeks are usual",
        )
    first = max(begins, now)
    if at is None:
        at = (first + (ends - first) / 2).replace(microsecond=0)
    if not begins <= at < ends:
        raise OperatorError(
            f"{_time(at)} is not inside of the overlap", f"choose a time from {_time(begins)} to {_time(ends)}"
        )
    return at, (begins, ends)


def predecessor(new: StoredCertificate, entries: Iterable[StoredCertificate]) -> StoredCertificate | None:
    """The newest certificate that ``new`` follows: of the same holder and station, for a use in common, and older.

    One that an authority issued follows the one that a station began with and that vouches for itself, whatever their ages:
    authorities date back.
    """
    issued = not _vouches_for_itself(new)
    former = [
        (not _vouches_for_itself(entry), *_age(entry), entry)
        for entry in entries
        if entry.active
        and entry.slot is Slot.CURRENT
        and (entry.holder, entry.partner_id, entry.station) == (new.holder, new.partner_id, new.station)
        and entry.usages & new.usages
        and entry.fingerprint != new.fingerprint
        and (_age(entry) < _age(new) or (issued and _vouches_for_itself(entry)))
    ]
    return max(former, key=lambda each: each[:3])[3] if former else None


def _age(entry: StoredCertificate) -> Period:
    return entry.valid_from, entry.valid_until


def _vouches_for_itself(entry: StoredCertificate) -> bool:
    return CertificateFacts.of(entry.der).self_signed


# --- ends ----------------------------------------------------------------------------------------------


def _ends(used: Sequence[StoredCertificate], codes: Mapping[int, str], now: datetime) -> Iterator[Concern]:
    """Certificates that end within 60 days, or have ended, and that nothing else follows."""
    for entry in used:
        left = entry.valid_until - now
        if left > timedelta(days=STEPS[0]) or _followed(entry, used):
            continue
        tense, when = ("ends", _in_days(left)) if left >= timedelta() else ("has ended", "")
        yield Concern(
            key=f"end {entry.id} {_step(left)}",
            text=f"{_named(entry, codes)} {tense} on {_day(entry.valid_until)}{when}",
            advice=_ADVICE[entry.holder],
            at=entry.valid_until,
        )


_ADVICE: Final[Mapping[Holder, str]] = {
    Holder.OWN: "get its successor with 'oftp2d cert generate'",
    Holder.PARTNER: "ask the partner for its successor",
    Holder.ANCHOR: "import its successor with 'oftp2d cert import FILE --anchor'",
    Holder.INTERMEDIATE: "import its successor with 'oftp2d cert import FILE --intermediate'",
}


def _followed(entry: StoredCertificate, used: Sequence[StoredCertificate]) -> bool:
    """Whether newer ones that may be used beyond its end do everything it does; of an authority: whether one of that name does.

    An older one that lasts longer is no successor, and one that vouches for itself, such as a station begins with, follows
    none that an authority issued.
    """
    after = [
        other
        for other in used
        if other.fingerprint != entry.fingerprint
        and other.valid_from >= entry.valid_from
        and period(other)[0] <= entry.valid_until < period(other)[1] - timedelta(seconds=1)
        and (other.holder, other.partner_id) == (entry.holder, entry.partner_id)
        and other.station in {entry.station, None}
    ]
    if not after:
        return False
    facts = CertificateFacts.of(entry.der)
    if entry.holder in {Holder.ANCHOR, Holder.INTERMEDIATE}:
        return any(CertificateFacts.of(other.der).subject == facts.subject for other in after)
    taking_over = [other for other in after if facts.self_signed or not CertificateFacts.of(other.der).self_signed]
    return entry.usages <= frozenset[Usage]().union(*(other.usages for other in taking_over))


# --- gaps ----------------------------------------------------------------------------------------------


def _gaps(used: Sequence[StoredCertificate], codes: Mapping[int, str], now: datetime) -> Iterator[Concern]:
    """When no certificate may be used outbound although there are some: now, or within 60 days."""
    for group in _groups(used):
        holes: dict[Period | tuple[datetime, None], set[Usage]] = {}
        for usage in Usage:
            hole = _hole([period(entry) for entry in group if usage in entry.usages], now)
            if hole is not None:
                holes.setdefault(hole, set()).add(usage)
        for (begins, ends), usages in holes.items():
            left = begins - now
            # The end of the last one is said already.
            if left > timedelta(days=STEPS[0]) or (ends is None and any(_at_its_end(each, begins) for each in group)):
                continue
            lasting = f"until {_time(ends)}" if ends else "on"
            since = f"from {_time(begins)}{_in_days(left)}" if left > timedelta() else f"since {_time(begins)}"
            told = _uses(usages)
            whose, owner = _whose(group[0], codes), group[0].partner_id or ""
            yield Concern(
                key=f"gap {owner} {group[0].station} {begins:%Y%m%d%H%M%S} {told} {_step(left)}",
                text=f"{since} {lasting} there is no certificate of {whose} for {told}",
                advice="change a timeslice with 'oftp2d cert timeslice', or bring a certificate for that time",
                at=begins,
            )


def _at_its_end(entry: StoredCertificate, instant: datetime) -> bool:
    return entry.valid_until < instant <= entry.valid_until + timedelta(seconds=1)


def _hole(periods: Iterable[Period], now: datetime) -> Period | tuple[datetime, None] | None:
    """The first time from now on that none of the periods covers; its end is that of the next period's begin."""
    ahead = sorted(each for each in periods if each[0] < each[1])
    if not ahead:
        return None
    covered = max((ends for _, ends in ahead if ends <= now), default=ahead[0][0])
    if covered > now:
        # It has never begun.
        return None
    for begins, ends in ahead:
        if begins > max(covered, now):
            break
        covered = max(covered, ends)
    following = [begins for begins, ends in ahead if begins > covered and ends > now]
    return (covered, min(following)) if following else (covered, None)


# --- overlaps ------------------------------------------------------------------------------------------


def _overlaps(used: Sequence[StoredCertificate], codes: Mapping[int, str], now: datetime) -> Iterator[Concern]:
    """Two certificates of one station that may be used outbound for the same at the same time."""
    for group in _groups(used, shared=False):
        ordered = sorted(group, key=lambda entry: (entry.valid_from, entry.id))
        for old, new in pairwise(ordered):
            begins, ends = max(period(old)[0], period(new)[0]), min(period(old)[1], period(new)[1])
            both = old.usages & new.usages
            if old.fingerprint == new.fingerprint or not both or begins >= ends or ends <= now:
                continue
            yield Concern(
                key=f"overlap {old.id} {new.id}",
                text=f"{_named(old, codes)} and {new.alias} may both be used from {_day(begins)} to {_day(ends)} for"
                f" {_uses(both)}, one of them is taken: see 'oftp2d cert explain'",
                advice=f"part them with 'oftp2d cert rollover {_handle(old, used)} {_handle(new, used)}'",
                at=begins,
            )


# --- words ---------------------------------------------------------------------------------------------


def _groups(used: Sequence[StoredCertificate], *, shared: bool = True) -> Iterator[list[StoredCertificate]]:
    """Entries between which outbound selection chooses; with ``shared`` those too that serve every station."""
    holders: dict[tuple[Holder, int | None], dict[str | None, list[StoredCertificate]]] = {}
    for entry in used:
        if entry.holder in {Holder.OWN, Holder.PARTNER}:
            stations = holders.setdefault((entry.holder, entry.partner_id), {})
            stations.setdefault(entry.station, []).append(entry)
    for stations in holders.values():
        everywhere = stations.get(None, [])
        for station, entries in stations.items():
            yield [*entries, *everywhere] if shared and station is not None else entries


def _named(entry: StoredCertificate, codes: Mapping[int, str]) -> str:
    code = codes.get(entry.partner_id or 0)
    return f"the {entry.holder.value} certificate {entry.alias}{f' of {code}' if code else ''}"


def _handle(entry: StoredCertificate, used: Sequence[StoredCertificate]) -> str:
    """What a command finds it by: its alias, unless others are called so, too, or it is no single word."""
    alike = {other.fingerprint for other in used if other.alias.lower() == entry.alias.lower()}
    return entry.alias if len(alike) == 1 and re.fullmatch(r"[\w.-]+", entry.alias) else entry.fingerprint[:16]


def _uses(usages: Collection[Usage]) -> str:
    """The usages in words."""
    if frozenset(usages) == frozenset(Usage):
        return "everything"
    return ", ".join(sorted(usage.value.replace("_", " ") for usage in usages))


def _whose(entry: StoredCertificate, codes: Mapping[int, str]) -> str:
    if entry.holder is Holder.OWN:
        return f"ours for {entry.station}" if entry.station else "ours"
    code = codes.get(entry.partner_id or 0, "a partner")
    return f"{code} for {entry.station}" if entry.station else code


def _step(left: timedelta) -> int:
    """The step of days that was reached last; 0 when it has happened."""
    if left < timedelta():
        return 0
    return min((step for step in STEPS if left <= timedelta(days=step)), default=STEPS[0])


def _in_days(left: timedelta) -> str:
    days = left // timedelta(days=1)
    return f" (in {days} days)" if days > 1 else f" (in {left // timedelta(hours=1)} hours)"


def _day(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d}"


def _time(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
