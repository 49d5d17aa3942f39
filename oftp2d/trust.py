"""Whether a certificate chains to an anchor of ours (acx.md 4.2 row 6, section 10).

Path building and validation are those of pyhanko-certvalidator, on nothing but the certificates given: it
fetches nothing. An anchor may be an issuing authority; its root is then not needed, and a certificate that
the root issued directly is not trusted (Odette test case 7.3). Intermediates are chain material without
trust of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from asn1crypto import x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import (
    ExpiredError,
    NotYetValidError,
    PathBuildingError,
    ValidationError,
)
from pyhanko_certvalidator.path import ValidationPath

from oftp2.certs.acceptance import TrustVerdict
from oftp2.certs.facts import CertificateFacts
from oftp2d.credentials import issued

CLOCK_TOLERANCE = timedelta(minutes=5)

MAX_CHAIN = 20
"""Certificates of a peer that are looked at for a chain; honest ones bring one to three."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Trust:
    """The anchors and the chain material of one moment; cheap to make anew when either changes."""

    anchors: tuple[CertificateFacts, ...]
    intermediates: tuple[CertificateFacts, ...] = ()
    clock_tolerance: timedelta = CLOCK_TOLERANCE

    @classmethod
    def of(
        cls,
        anchors: Iterable[bytes],
        intermediates: Iterable[bytes] = (),
        *,
        clock_tolerance: timedelta = CLOCK_TOLERANCE,
    ) -> Trust:
        """From DER octets."""
        return cls(
            tuple(CertificateFacts.of(der) for der in anchors),
            tuple(CertificateFacts.of(der) for der in intermediates),
            clock_tolerance,
        )

    def judge(self, facts: CertificateFacts, chain: Sequence[CertificateFacts], now: datetime) -> TrustVerdict:
        """Whether ``facts`` is trusted at ``now``; ``chain`` came with it and is trusted for nothing."""
        if not self.anchors:
            return TrustVerdict(trusted=False, text="no trust anchor is configured")
        standing = [anchor for anchor in self.anchors if self._valid(anchor, now)]
        between = self._between(facts, chain[:MAX_CHAIN], standing, now)
        context = ValidationContext(
            trust_roots=[_loaded(anchor) for anchor in standing],
            other_certs=[_loaded(other) for other in between],
            moment=now,
            allow_fetching=False,
            time_tolerance=self.clock_tolerance,
        )
        validator = CertificateValidator(_loaded(facts), validation_context=context)
        try:
            path = _finish(validator.async_validate_path())
        except (PathBuildingError, ValidationError, ValueError, TypeError) as error:
            return TrustVerdict(trusted=False, text=self._problem(facts, error, now))
        anchor = self._anchor(path)
        return TrustVerdict(trusted=True, text=f"issued under {anchor.subject}", anchor=anchor.fingerprint)

    def _between(
        self,
        facts: CertificateFacts,
        chain: Sequence[CertificateFacts],
        anchors: Sequence[CertificateFacts],
        now: datetime,
    ) -> Sequence[CertificateFacts]:
        """The shortest way up to an anchor, those valid now preferred; none where there is none or none is needed.

        The validator gets this way alone: left to itself it tries every one, and a few certificates that a peer made to
        issue each other have more ways than there is time.
        """
        candidates = sorted((*self.intermediates, *chain), key=lambda other: not self._valid(other, now))
        seen = {facts.fingerprint}
        ways: deque[tuple[CertificateFacts, ...]] = deque([(facts,)])
        while ways:
            way = ways.popleft()
            if any(issued(anchor, way[-1]) for anchor in anchors):
                return way[1:]
            for above in candidates:
                if above.fingerprint not in seen and issued(above, way[-1]):
                    seen.add(above.fingerprint)
                    ways.append((*way, above))
        return ()

    def _anchor(self, path: ValidationPath) -> CertificateFacts:
        key = sha256(path.trust_anchor.authority.public_key.dump()).hexdigest()
        return next(anchor for anchor in self.anchors if anchor.key_fingerprint == key)

    def _valid(self, facts: CertificateFacts, now: datetime) -> bool:
        return facts.not_before <= now + self.clock_tolerance and now <= facts.not_after

    def _problem(self, facts: CertificateFacts, error: Exception, now: datetime) -> str:
        if isinstance(error, ExpiredError | NotYetValidError):
            return f"a certificate of its chain is outside its period ({error})"
        issuers = [anchor for anchor in self.anchors if anchor.subject == facts.issuer]
        if issuers and not any(self._valid(anchor, now) for anchor in issuers):
            return f"its issuer {facts.issuer} is an anchor that is itself not valid at this time"
        if issuers:
            return f"its chain is not valid ({error})"
        return f"its issuer {facts.issuer} is no anchor, and no chain leads from it to one"


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
