"""Whom we trust to say whose certificate it is, everyone's and each partner's (acx.md 10.2, 12.9).

Three sources are merged: the anchors of ours, the anchors of one partner, which count for it alone, and the issuing
authorities of the trust list. A partner may be held to its own anchors; then nothing else counts for it. An authority that
an operator has entered as an anchor and switched off is not trusted, whatever the trust list says of it.

Reading blocks and belongs in the database worker. What was merged is kept until one of its sources has changed: each
judgement reads the entries, and makes nothing anew of those it has seen before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from oftp2.certs.facts import CertificateFacts
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Ledger, StoredCertificate
from oftp2d.trust import Anchor, Barred, Source, Trust, not_barred
from oftp2d.trustlist import TrustList

_KEPT: Final = 2000
"""Merged trusts that are kept at most: one for every partner that has anchors of its own, and one for all others."""

_MIN_PREFIX: Final = 4
"""Digits of a fingerprint that name a certificate."""

_OWN_ALONE: Final = "is none of the anchors of this partner, and only these count for it"
_NOT_LISTED: Final = "is not in the trust list, and no anchor of ours"
_SWITCHED_OFF: Final = "which is in the trust list, but was switched off here"

_State = tuple[bool, tuple[tuple[str, int | None, bool, Holder], ...], int]
"""What was merged: whether a partner's own anchors count alone, which entries there were, and the change that counted then."""


class Authorities:
    """What the store and the trust list make of each other."""

    def __init__(self, ledger: Ledger, clock_tolerance: timedelta) -> None:
        self._ledger = ledger
        self._clock_tolerance = clock_tolerance
        self._facts: dict[str, CertificateFacts] = {}
        self._merged: dict[_State, Trust] = {}
        self._listed: TrustList | None = None
        self._barred: Barred = not_barred
        self._change = 0

    @property
    def listed(self) -> TrustList | None:
        """The trust list that counts; None where there is none."""
        return self._listed

    def take_up(self, listed: TrustList | None) -> None:
        """Let this trust list count from now on, in the place of the one before. May be called from any thread."""
        self._listed = listed
        self._change += 1

    def bar(self, barred: Barred) -> None:
        """Ask this of every path that is valid, from now on: whether a certificate of it was revoked."""
        self._barred = barred
        self._change += 1

    def anchors(self, partner_id: int | None = None) -> tuple[StoredCertificate, ...]:
        """The anchors that are trusted for everyone, or for a partner: its own too, or its own alone."""
        alone = self._own_alone(partner_id)
        return tuple(entry for entry in self._entries(partner_id, alone=alone) if _is_anchor(entry))

    def find(self, reference: str) -> CertificateFacts | None:
        """The authority of the trust list with that common name, or with a fingerprint that begins so; None without one.

        Raises OperatorError where there are several.
        """
        if self._listed is None:
            return None
        name, digits = reference.casefold(), reference.replace(":", "").lower()
        found = [
            facts
            for fingerprint, facts in self._listed.authorities.items()
            if name == (facts.subject.common_name or "").casefold()
            or (len(digits) >= _MIN_PREFIX and fingerprint.startswith(digits))
        ]
        if len(found) > 1:
            what = f"{len(found)} authorities of the trust list are called {reference!r}"
            raise OperatorError(what, "name the one you mean by its fingerprint: see 'oftp2d trust list'")
        return found[0] if found else None

    def trust(self, partner_id: int | None = None) -> Trust:
        """What to judge chains with, of everyone or of a partner."""
        alone = self._own_alone(partner_id)
        change = self._change
        entries = self._entries(partner_id, alone=alone)
        state = (
            alone,
            tuple((item.fingerprint, item.partner_id, item.active, item.holder) for item in entries),
            change,
        )
        found = self._merged.get(state)
        if found is None:
            found = self._merge(entries, self._listed, alone=alone)
            if any(kept[-1] != change for kept in self._merged):
                self._merged.clear()
            elif len(self._merged) >= _KEPT:
                del self._merged[next(iter(self._merged))]
            self._merged[state] = found
        return found

    def prune(self) -> None:
        """Forget what was made of authorities that are not in the store any more."""
        there = self._ledger.certificates.authority_fingerprints()
        self._facts = {name: facts for name, facts in self._facts.items() if name in there}
        self._merged = {state: trust for state, trust in self._merged.items() if there.issuperset(_names(state))}

    def _own_alone(self, partner_id: int | None) -> bool:
        return partner_id is not None and self._ledger.partners.get(partner_id).only_own_anchors

    def _entries(self, partner_id: int | None, *, alone: bool) -> Sequence[StoredCertificate]:
        """Anchors that concern the partner or everyone, also those that are switched off, and all intermediates."""
        return self._ledger.certificates.authorities(partner_id, alone=alone)

    def _merge(self, entries: Sequence[StoredCertificate], listed: TrustList | None, *, alone: bool) -> Trust:
        facts = {entry.fingerprint: self._read(entry) for entry in entries}
        self._facts |= facts
        anchors = {
            entry.fingerprint: Anchor(
                facts[entry.fingerprint], Source.OURS if entry.partner_id is None else Source.PARTNER
            )
            for entry in sorted(entries, key=lambda entry: entry.partner_id is None)
            if _is_anchor(entry)
        }
        between = {
            entry.fingerprint: facts[entry.fingerprint]
            for entry in entries
            if entry.holder is Holder.INTERMEDIATE and entry.active
        }
        verifying: dict[str, str] = {}
        if listed is not None:
            off = {entry.fingerprint for entry in entries if entry.holder is Holder.ANCHOR and not entry.active}
            trusted = {} if alone else {name: of for name, of in listed.authorities.items() if name not in off}
            rest = {name: (of, _SWITCHED_OFF) for name, of in listed.authorities.items()} | dict(listed.others)
            rest = {name: pair for name, pair in rest.items() if name not in {*anchors, *trusted}}
            anchors = {name: Anchor(of, Source.LIST) for name, of in trusted.items()} | anchors
            between |= {name: of for name, (of, _) in rest.items()}
            verifying = {} if alone else {name: what for name, (_, what) in rest.items()}
        return Trust(
            tuple(anchors.values()),
            tuple(between.values()),
            self._clock_tolerance,
            outside=_OWN_ALONE if alone else _NOT_LISTED if listed is not None else None,
            verifying=verifying,
            barred=self._barred,
        )

    def _read(self, entry: StoredCertificate) -> CertificateFacts:
        return self._facts.get(entry.fingerprint) or CertificateFacts.of(entry.der)


def _is_anchor(entry: StoredCertificate) -> bool:
    return entry.holder is Holder.ANCHOR and entry.active


def _names(state: _State) -> Iterator[str]:
    return (fingerprint for fingerprint, *_ in state[1])
