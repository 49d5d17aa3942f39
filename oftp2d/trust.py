"""Whether a certificate chains to an authority we trust, and by which way (acx.md 4.2 row 6, section 10).

Trusted are anchors of ours, anchors of one partner, and the issuing authorities of the trust list. An anchor may be an
issuing authority; its root is then not needed, and a certificate that the root issued directly is not trusted (Odette
test case 7.3). Everything else is chain material without trust of its own, the roots that the trust list names only to
verify its authorities too.

The way up is found here, and validated by pyhanko-certvalidator on nothing but the certificates of that way: it fetches
nothing. Whether a certificate of the way was revoked is asked of ``barred``, which others bring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

from asn1crypto import x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import (
    ExpiredError,
    NotYetValidError,
    PathBuildingError,
    ValidationError,
)

from oftp2.certs.acceptance import TrustVerdict
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.names import DistinguishedName
from oftp2d.credentials import issued

CLOCK_TOLERANCE = timedelta(minutes=5)

MAX_CHAIN = 20
"""Certificates of a peer that are looked at for a chain; honest ones bring one to three."""

_T = TypeVar("_T")


class Source(StrEnum):
    """Why an authority is trusted."""

    OURS = "an anchor of ours"
    PARTNER = "an anchor of this partner alone"
    LIST = "in the trust list"


@dataclass(frozen=True, slots=True)
class Anchor:
    """An authority that is trusted, and why."""

    facts: CertificateFacts
    source: Source = Source.OURS


@dataclass(frozen=True, slots=True)
class Path:
    """A proven way: from the certificate that was judged up to the anchor, which comes last."""

    certificates: tuple[CertificateFacts, ...]
    anchor: Anchor
    above: tuple[CertificateFacts, ...] = ()
    """The authorities above the anchor as far as they are known, up to its root: they may have revoked it."""

    @property
    def links(self) -> Iterator[tuple[CertificateFacts, CertificateFacts]]:
        """Each certificate with its issuer, from the bottom to the top; the topmost one has none."""
        return pairwise((*self.certificates, *self.above))


@dataclass(frozen=True, slots=True)
class Unproven:
    """No way was found, or it is not valid: why."""

    text: str


Barred = Callable[[Path, datetime], str | None]
"""Why a way does not count although it is valid, such as a certificate in it that was revoked; None when it counts."""


def not_barred(_path: Path, _now: datetime) -> None:
    """Where nothing is known of revocation."""


Candidates = Callable[[DistinguishedName], Iterable[CertificateFacts]]
"""What is known under a name, those that are to be preferred first."""


@dataclass(frozen=True)
class Trust:
    """What is trusted at one moment, for one partner or for all."""

    anchors: tuple[Anchor, ...]
    intermediates: tuple[CertificateFacts, ...] = ()
    clock_tolerance: timedelta = CLOCK_TOLERANCE
    outside: str | None = None
    """What a refusal says of an authority that is nowhere among these; None for the usual words."""
    verifying: Mapping[str, str] = field(default_factory=dict)
    """Authorities that are in the trust list and not trusted, by fingerprint: what the list has them for."""
    barred: Barred = not_barred

    @classmethod
    def of(
        cls,
        anchors: Iterable[bytes],
        intermediates: Iterable[bytes] = (),
        *,
        clock_tolerance: timedelta = CLOCK_TOLERANCE,
    ) -> Trust:
        """Anchors of ours and intermediates, from DER octets."""
        return cls(
            tuple(Anchor(CertificateFacts.of(der)) for der in anchors),
            tuple(CertificateFacts.of(der) for der in intermediates),
            clock_tolerance,
        )

    def judge(self, facts: CertificateFacts, chain: Sequence[CertificateFacts], now: datetime) -> TrustVerdict:
        """Whether ``facts`` is trusted at ``now``; ``chain`` came with it and is trusted for nothing."""
        found = self.path(facts, chain, now)
        if isinstance(found, Unproven):
            return TrustVerdict(trusted=False, text=found.text)
        if why := self.barred(found, now):
            return TrustVerdict(trusted=False, text=why, barred=True)
        anchor = found.anchor
        return TrustVerdict(
            trusted=True,
            text=f"issued under {anchor.facts.subject}, {anchor.source}",
            anchor=anchor.facts.fingerprint,
        )

    def path(self, facts: CertificateFacts, chain: Sequence[CertificateFacts], now: datetime) -> Path | Unproven:
        """The way from ``facts`` to an anchor that is valid at ``now``, whether or not something in it was revoked."""
        if not self.anchors and self.outside is None:
            return Unproven("no trust anchor is configured")
        candidates = self._candidates(chain[:MAX_CHAIN], now)
        found = self._way(facts, candidates, now)
        if found is None:
            return Unproven(self._no_way(facts, candidates, now))
        way, anchor = found
        if why := self._invalid(way, anchor, now):
            return Unproven(why)
        if way == (anchor.facts,):
            return Path(way, anchor)
        return Path((*way, anchor.facts), anchor, self._above(anchor.facts))

    @cached_property
    def _anchors(self) -> Mapping[DistinguishedName, Sequence[Anchor]]:
        by_name: dict[DistinguishedName, list[Anchor]] = {}
        for anchor in self.anchors:
            by_name.setdefault(anchor.facts.subject, []).append(anchor)
        return by_name

    @cached_property
    def _intermediates(self) -> Mapping[DistinguishedName, Sequence[CertificateFacts]]:
        by_name: dict[DistinguishedName, list[CertificateFacts]] = {}
        for facts in self.intermediates:
            by_name.setdefault(facts.subject, []).append(facts)
        return by_name

    def _candidates(self, chain: Sequence[CertificateFacts], now: datetime) -> Candidates:
        """The intermediates and what a peer brought, those valid now first."""

        def under(name: DistinguishedName) -> Iterable[CertificateFacts]:
            brought = (other for other in chain if other.subject == name)
            return sorted((*self._intermediates.get(name, ()), *brought), key=lambda other: not self._valid(other, now))

        return under

    def _ours(self, name: DistinguishedName) -> Iterable[CertificateFacts]:
        """All that is known under a name without the help of a peer."""
        return (*(anchor.facts for anchor in self._anchors.get(name, ())), *self._intermediates.get(name, ()))

    def _way(
        self, facts: CertificateFacts, candidates: Candidates, now: datetime
    ) -> tuple[tuple[CertificateFacts, ...], Anchor] | None:
        """The shortest way up to an anchor that is valid now, without that anchor, unless it is the certificate itself.

        The validator gets this way alone: left to itself it tries every one, and a few certificates that a peer made to
        issue each other have more ways than there is time.
        """
        for anchor in self._anchors.get(facts.subject, ()):
            # One that was made an anchor itself. The list vouches for what its authorities issue, not for themselves.
            if anchor.facts.fingerprint == facts.fingerprint and anchor.source is not Source.LIST:
                return ((anchor.facts,), anchor) if self._valid(facts, now) else None
        for way in _ways(facts, candidates):
            for anchor in self._anchors.get(way[-1].issuer, ()):
                if self._valid(anchor.facts, now) and issued(anchor.facts, way[-1]):
                    return way, anchor
        return None

    def _invalid(self, way: Sequence[CertificateFacts], anchor: Anchor, now: datetime) -> str | None:
        """Why the way is not valid under the rules of RFC 5280 section 6."""
        context = ValidationContext(
            trust_roots=[_loaded(anchor.facts)],
            other_certs=[_loaded(other) for other in way[1:]],
            moment=now,
            allow_fetching=False,
            time_tolerance=self.clock_tolerance,
        )
        validator = CertificateValidator(_loaded(way[0]), validation_context=context)
        try:
            _finish(validator.async_validate_path())
        except (ExpiredError, NotYetValidError) as error:
            return f"a certificate of its chain is outside its period ({error})"
        except (PathBuildingError, ValidationError, ValueError, TypeError) as error:
            return f"its chain is not valid ({error})"
        return None

    def _above(self, anchor: CertificateFacts) -> tuple[CertificateFacts, ...]:
        return max(_ways(anchor, self._ours), key=len)[1:]

    def _valid(self, facts: CertificateFacts, now: datetime) -> bool:
        return facts.not_before <= now + self.clock_tolerance and now <= facts.not_after

    def _no_way(self, facts: CertificateFacts, candidates: Candidates, now: datetime) -> str:
        issuers = [anchor.facts for anchor in self._anchors.get(facts.issuer, ())]
        if issuers and not any(self._valid(issuer, now) for issuer in issuers):
            return f"its issuer {facts.issuer} is an anchor that is itself not valid at this time"
        if issuers and not facts.self_signed:
            return f"its chain is not valid ({facts.issuer} is trusted, but did not sign it)"
        for way in _ways(facts, candidates):
            if (what := self.verifying.get(way[-1].fingerprint)) is not None and len(way) > 1:
                how = "issued directly by" if len(way) == _DIRECTLY else "its chain leads to"
                return f"{how} {way[-1].subject}, {what}"
        if self.outside is not None:
            return f"its authority {facts.issuer} {self.outside}"
        return f"its issuer {facts.issuer} is no anchor, and no chain leads from it to one"


_DIRECTLY = 2
"""Certificates in a way from one to its issuer."""


def _ways(facts: CertificateFacts, candidates: Candidates) -> Iterator[tuple[CertificateFacts, ...]]:
    """Ways up from ``facts``, the shortest first; to each certificate there is one at most."""
    seen = {facts.fingerprint}
    ways: deque[tuple[CertificateFacts, ...]] = deque([(facts,)])
    while ways:
        way = ways.popleft()
        yield way
        for above in candidates(way[-1].issuer):
            if above.fingerprint not in seen and issued(above, way[-1]):
                seen.add(above.fingerprint)
                ways.append((*way, above))


def _loaded(facts: CertificateFacts) -> x509.Certificate:
    return x509.Certificate.load(facts.der)


def _finish(coroutine: Coroutine[object, None, _T]) -> _T:
    """Run a coroutine that has nothing to wait for, since nothing is fetched.

    ``asyncio.run`` is no choice: it refuses to work where the reactor's own loop runs.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("path validation waited for something although nothing is fetched")
