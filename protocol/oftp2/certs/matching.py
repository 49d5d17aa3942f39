"""Which held certificate an arriving one replaces (acx.md 4.3).

Asked among the certificates held for one partner and the station in SFIDORIG. An answer explains itself,
and so does its absence: :func:`near_misses` says in which parts each held certificate differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oftp2.certs.clid import Clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage, listed


class Place(StrEnum):
    """Where a held certificate stands: in use, kept for files under way, or recalled by its owner."""

    CURRENT = "current"
    PREVIOUS = "previous"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One entry held for the partner's station. ``key`` is the holder's own name for the entry."""

    key: int
    facts: CertificateFacts
    usages: frozenset[Usage]
    place: Place = Place.CURRENT


class Means(StrEnum):
    """By what a predecessor was recognised."""

    NAMED = "named by issuer and serial number in the description"
    DESCRIBED = "described in the description"
    EQUAL = "equal in subject, issuer and key usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The predecessor. ``usages`` are its slots, in whichever entries of the certificate they stand."""

    facts: CertificateFacts
    usages: frozenset[Usage]
    means: Means

    @property
    def text(self) -> str:
        """For people and the audit trail."""
        return (
            f"replaces the certificate with serial {self.facts.serial:x}, "
            f"{self.means.value}, used for {listed(self.usages)}"
        )


def find_predecessor(received: CertificateFacts, clid: Clid | None, held: Sequence[Held]) -> Match | None:
    """The certificate that ``received`` replaces; ``clid`` is what SFIDDESC held, if it was one."""
    standing = [entry for entry in held if entry.usages and entry.place is not Place.WITHDRAWN]
    own = Clid.of(received)
    for means, hits in (
        (Means.NAMED, [entry for entry in standing if clid and clid.names(entry.facts)]),
        (Means.DESCRIBED, [entry for entry in standing if clid and not _differences(clid, entry)]),
        (Means.EQUAL, [entry for entry in standing if not _differences(own, entry)]),
    ):
        if hits:
            newest = max(hits, key=_rank)
            return Match(facts=newest.facts, usages=_slots(newest, standing), means=means)
    return None


def near_misses(received: CertificateFacts, held: Iterable[Held]) -> tuple[str, ...]:
    """For each certificate in use: in what the received one differs from it."""
    own = Clid.of(received)
    lines = (
        f"{' and '.join(_differences(own, entry))} not as in the one with serial {entry.facts.serial:x}"
        for entry in held
        if entry.place is Place.CURRENT
    )
    return tuple(dict.fromkeys(lines))


def _differences(clid: Clid, entry: Held) -> tuple[str, ...]:
    return clid.differences(Clid.of(entry.facts))


def _rank(entry: Held) -> tuple[bool, datetime, datetime, str]:
    """Those in use first, then the newest; the fingerprint makes it independent of storage order."""
    facts = entry.facts
    return entry.place is Place.CURRENT, facts.not_before, facts.not_after, facts.fingerprint


def _slots(newest: Held, standing: Sequence[Held]) -> frozenset[Usage]:
    """The slots where it sits now; else those where it sat before its successor came."""
    entries = [entry for entry in standing if entry.facts.fingerprint == newest.facts.fingerprint]
    current = [entry.usages for entry in entries if entry.place is Place.CURRENT]
    return frozenset().union(*(current or [entry.usages for entry in entries]))
