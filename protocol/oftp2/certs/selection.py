"""Which certificate or key is used when (certificate-selection.md): a table and a choice that explains itself.

A :class:`Situation` is one row of the table. Outbound rows take one entry: a station's own beats its
party's, then the newest wins. Inbound rows give every usable entry in the order to try: the named one
first, then the newest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One certificate in the store. ``alias`` is a station code, or a party's address for all its stations."""

    facts: CertificateFacts
    usages: frozenset[Usage]
    alias: str
    active: bool = True
    slice_from: datetime | None = None
    slice_until: datetime | None = None
    """The timeslice is half-open, ``[from, until)``; ``None`` leaves that side open."""
    barred: str | None = None
    """Why it is used for nothing, whatever else speaks for it, such as that it was revoked."""
    withdrawn_at: datetime | None = None
    """When its holder withdrew it: it still verifies what came before (acx.md 12.13), and is used for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One row of the table: what is asked of an entry beside being active and valid."""

    name: str
    usage: Usage | None
    """The usage it must have; ``None`` ignores usages."""
    timeslice: bool
    alias: bool
    one: bool
    """Whether one entry is taken, or all are tried in turn."""


def _row(name: str, usage: Usage | None, *, outbound: bool) -> Situation:
    """Outbound rows ask for the timeslice; inbound rows without a usage ignore the alias as well."""
    return Situation(name=name, usage=usage, timeslice=outbound, alias=outbound or usage is not None, one=outbound)


DECRYPTION = _row("inbound decryption", None, outbound=False)
SIGNING = _row("outbound signature", Usage.SIGNATURE, outbound=True)
VERIFICATION = _row("inbound signature verification", Usage.SIGNATURE, outbound=False)
ENCRYPTION = _row("outbound encryption", Usage.ENCRYPTION, outbound=True)
EERP_SIGNING = _row("signed end response we send", Usage.EERP_SIGNATURE, outbound=True)
EERP_VERIFICATION = _row("signed end response we verify", Usage.EERP_SIGNATURE, outbound=False)
CHALLENGE = _row("session challenge we make", Usage.AUTHENTICATION, outbound=True)
CHALLENGE_ANSWER = _row("session challenge we answer", None, outbound=False)
TLS_SERVER = _row("TLS server", Usage.TLS_SERVER, outbound=True)
TLS_CLIENT = _row("TLS client", Usage.TLS_CLIENT, outbound=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One entry that was looked at, and why it was or was not taken."""

    entry: Entry
    taken: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The entries to use, best first, and the account of every entry that was looked at."""

    situation: Situation
    entries: tuple[Entry, ...]
    considered: tuple[Considered, ...]

    @property
    def taken(self) -> Entry | None:
        """The one to use, if there is any."""
        return self.entries[0] if self.entries else None

    @property
    def text(self) -> str:
        """For people: one line per entry."""
        lines = [f"{item.entry.facts.fingerprint[:16]}: {item.why}" for item in self.considered]
        return "\n".join(lines) or f"{self.situation.name}: there is no certificate at all"

    @property
    def barred(self) -> str:
        """For people: what is used for nothing, and why; empty where nothing is."""
        looked_at = (item.entry for item in self.considered)
        return "; ".join(f"{each.facts.subject}: {each.barred}" for each in looked_at if each.barred is not None)

    @property
    def line(self) -> str:
        """For people: all of it in one line that begins with what it was for."""
        return f"{self.situation.name}: {'; '.join(self.text.splitlines())}" if self.considered else self.text


def select(
    situation: Situation,
    entries: Iterable[Entry],
    *,
    station: str,
    now: datetime,
    party: str | None = None,
    named: str | None = None,
    confirmed: Collection[str] | None = None,
    pending: Collection[str] = (),
    least_bits: int = 0,
    oldest: bool = False,
    unsure: int = 1,
) -> Selection:
    """Choose among the entries of one holder.

    ``named`` is the fingerprint that a CMS identifier means. ``confirmed`` are the fingerprints of ours
    that the partner is known to have: they narrow the choice, unless none of them would do. ``pending`` are those of ours
    that are being offered to partners: one is not taken before this partner has confirmed it, unless nothing else would
    do; without a partner (``confirmed`` is None) nobody has. Keys of fewer than ``least_bits`` bits are not used. ``now``
    is the time the file was received when something inbound is opened later. ``unsure`` is how many of an outbound row
    are taken, of one alias, where several would do and the partner is known to have none of them: in a roll-over it may
    still be without the new one.
    """
    aliases = [alias for alias in (station, party) if alias is not None]
    looked_at = list(entries)
    refusals = {id(entry): _refusal(situation, entry, aliases, now, least_bits) for entry in looked_at}
    fit = [entry for entry in looked_at if refusals[id(entry)] is None]
    known = [entry for entry in fit if confirmed is not None and entry.facts.fingerprint in confirmed]
    settled = [entry for entry in fit if entry.facts.fingerprint not in pending]
    candidates = sorted(known or settled or fit, key=_age, reverse=not oldest)
    candidates.sort(key=lambda entry: _precedence(situation, entry, aliases, named))
    taken = _first(candidates, 1 if known else unsure) if situation.one else candidates
    waits = f"not confirmed by {'every' if confirmed is None else 'the'} partner yet"
    considered = tuple(
        Considered(
            entry=entry,
            taken=entry in taken,
            why=refusals[id(entry)]
            or (_why(entry, taken, situation, aliases, oldest=oldest) if entry in candidates else waits),
        )
        for entry in looked_at
    )
    return Selection(situation=situation, entries=tuple(taken), considered=considered)


def to_deliver(
    entries: Sequence[Entry], *, station: str, now: datetime, party: str | None = None, sessions: bool = True
) -> tuple[Entry, ...]:
    """What answers a REQUEST: per usage the one we would use, each certificate once (acx.md 4.5).

    Without ``sessions`` the station opens none: it is a sub-station, which answers no challenge (acx.md 3.5).

    Confirmations play no part: the partner gets the newest, whatever it had before. A self-signed one only where no
    authority has issued one for that usage: as the first certificate of a station nobody takes it (acx.md 4.2).
    """
    issued = [entry for entry in entries if not entry.facts.self_signed]
    challenged = (CHALLENGE,) if sessions else ()
    situations = (SIGNING, ENCRYPTION, EERP_SIGNING, *challenged, TLS_SERVER, TLS_CLIENT)
    chosen = (
        select(situation, issued, station=station, party=party, now=now).taken
        or select(situation, entries, station=station, party=party, now=now).taken
        for situation in situations
    )
    return tuple({entry.facts.fingerprint: entry for entry in chosen if entry is not None}.values())


def _refusal(situation: Situation, entry: Entry, aliases: Sequence[str], now: datetime, least_bits: int) -> str | None:
    facts = entry.facts
    if gone := _gone(situation, entry, now):
        return gone
    if not facts.not_before <= now <= facts.not_after:
        return f"outside validity {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}"
    if situation.timeslice and not _inside_slice(entry, now):
        return "outside its timeslice"
    if situation.usage is not None and situation.usage not in entry.usages:
        return f"not for {situation.usage.value}"
    if situation.alias and entry.alias not in aliases:
        return f"alias is {entry.alias}"
    short = (facts.key_bits or 0) < least_bits
    return f"its key has {facts.key_bits} bits, fewer than {least_bits}" if short else None


def _gone(situation: Situation, entry: Entry, now: datetime) -> str | None:
    if not entry.active or entry.barred is not None:
        return entry.barred or "inactive"
    if entry.withdrawn_at is not None and (situation.one or entry.withdrawn_at <= now):
        return f"withdrawn on {entry.withdrawn_at:%Y-%m-%d}"
    return None


def _inside_slice(entry: Entry, now: datetime) -> bool:
    begun = entry.slice_from is None or entry.slice_from <= now
    return begun and (entry.slice_until is None or now < entry.slice_until)


def _age(entry: Entry) -> tuple[datetime, datetime, str]:
    """Equal notBefore is settled by notAfter, then by fingerprint: never by the order of storage."""
    return entry.facts.not_before, entry.facts.not_after, entry.facts.fingerprint


def _precedence(situation: Situation, entry: Entry, aliases: Sequence[str], named: str | None) -> tuple[bool, int]:
    return entry.facts.fingerprint != named, _alias_rank(situation, entry, aliases)


def _first(candidates: Sequence[Entry], most: int) -> Sequence[Entry]:
    """The best, and what stands beside it under the same alias."""
    return [entry for entry in candidates if entry.alias == candidates[0].alias][:most]


def _alias_rank(situation: Situation, entry: Entry, aliases: Sequence[str]) -> int:
    return aliases.index(entry.alias) if situation.alias else 0


def _why(
    entry: Entry,
    taken: Sequence[Entry],
    situation: Situation,
    aliases: Sequence[str],
    *,
    oldest: bool,
) -> str:
    if entry in taken:
        if not situation.one:
            later = ", it was withdrawn only later" if entry.withdrawn_at else ""
            return f"tried as number {taken.index(entry) + 1}{later}"
        return "taken too, the partner may not have the newer one yet" if taken.index(entry) else "taken"
    if _alias_rank(situation, entry, aliases) > _alias_rank(situation, taken[0], aliases):
        return f"alias {entry.alias} gives way to {taken[0].alias}"
    return "newer" if oldest else "older"
