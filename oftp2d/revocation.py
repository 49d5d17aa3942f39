"""Revocation lists (CRLs): what they say of the certificates of a proven way (RFC 5280 sections 5 and 6.3, acx.md 10.3).

A certificate names where the list of its issuer is (distribution points); only those of a way that was proven are looked
at, so that nobody untrusted sends us anywhere. A list counts when its issuer signed it, and names itself as its issuer does.
Lists that speak for other authorities (indirect), that tell only what has changed (delta), or only some of the reasons, are
not used. Of a list is kept what answers the question: 13 octets for each certificate in it, however long its number is.

Nothing here fetches or waits; ``revocations`` does, and puts what it has read into :class:`Lists`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from asn1crypto import pem
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from oftp2.certs.acceptance import Limits
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.names import DistinguishedName
from oftp2d.config import RevocationMode as Mode
from oftp2d.retries import span
from oftp2d.trust import CLOCK_TOLERANCE, Path

MOST_POINTS: Final = 4
"""Addresses of lists that are taken from one certificate."""
MOST_LISTS: Final = 500
"""Lists that are kept: a trust list names some dozen authorities."""
_MOST_ASKED: Final = 1000
_LATEST: Final = 2**32 - 1
"""The latest date that an entry of a list can have here, in 2106."""

_REASONS: Final = (None, *x509.ReasonFlags)
"""By the number that is kept for each."""
_OF_REASON: Final = {reason: number for number, reason in enumerate(_REASONS)}
_IN_WORDS: Final = {
    x509.ReasonFlags.key_compromise: "key compromise",
    x509.ReasonFlags.ca_compromise: "compromise of the authority",
    x509.ReasonFlags.affiliation_changed: "affiliation changed",
    x509.ReasonFlags.superseded: "superseded",
    x509.ReasonFlags.cessation_of_operation: "cessation of operation",
    x509.ReasonFlags.certificate_hold: "on hold",
    x509.ReasonFlags.privilege_withdrawn: "privilege withdrawn",
    x509.ReasonFlags.aa_compromise: "compromise of the authority",
}

_UNREADABLE: Final = (
    Warning,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    OverflowError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


class UnusableListError(Exception):
    """What came is no revocation list that counts; the text is one sentence that says why."""


# --- one list --------------------------------------------------------------------------------------------------------


class Coverage(Enum):
    """Which certificates of its issuer a list speaks of."""

    ALL = auto()
    STATIONS = auto()
    """No authorities."""
    AUTHORITIES = auto()
    """Nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """That a certificate was revoked."""

    at: datetime
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d}{f' ({self.reason})' if self.reason else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """One list as it is kept in memory."""

    issuer: DistinguishedName
    key_fingerprint: str
    """That of the issuer's key which signed it (SHA-256 of the SubjectPublicKeyInfo)."""
    number: int | None
    this_update: datetime
    next_update: datetime | None
    coverage: Coverage
    points: frozenset[str]
    """The addresses that it says it is for; none if it says nothing."""
    entries: int
    _serials: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False)
    """Hashes of the serial numbers, sorted: two of a million are the same once in a million lists."""
    _dates: np.ndarray[Any, np.dtype[np.uint32]] = field(repr=False)
    _reasons: np.ndarray[Any, np.dtype[np.int8]] = field(repr=False)

    def of_key(self, issuer: CertificateFacts) -> bool:
        """Whether this authority issued it, under whichever of its certificates."""
        return issuer.subject == self.issuer and issuer.key_fingerprint == self.key_fingerprint

    def covers(self, subject: CertificateFacts, urls: Iterable[str]) -> bool:
        """Whether it speaks of a certificate that names these addresses (RFC 5280 section 6.3.3 b)."""
        if self.coverage is not Coverage.ALL and subject.is_ca is (self.coverage is Coverage.STATIONS):
            return False
        return not self.points or not self.points.isdisjoint(urls)

    def revoked(self, serial: int) -> Revoked | None:
        """What it says of a certificate; None where it is not in it."""
        at = int(np.searchsorted(self._serials, hash(serial)))
        if at == len(self._serials) or self._serials[at] != hash(serial):
            return None
        reason = _REASONS[self._reasons[at]]
        return Revoked(
            at=datetime.fromtimestamp(int(self._dates[at]), UTC), reason=_IN_WORDS.get(reason, "") if reason else ""
        )

    def follows(self, other: RevocationList) -> bool:
        """Whether it may take the place of another one of its issuer: it is not older."""
        if self.number is not None and other.number is not None and self.number < other.number:
            return False
        return self.this_update >= other.this_update


def read_list(octets: bytes, issuer: CertificateFacts, now: datetime) -> RevocationList:
    """A list as it came, DER or PEM, that ``issuer`` must have signed.

    Takes about a second for 20 MiB, and lets other threads go on meanwhile. Raises :class:`UnusableListError`.
    """
    read, der = _loaded(octets)
    name = _named(read)
    if name != issuer.subject:
        raise UnusableListError(f"the list is by {name}, and not by {issuer.subject}")
    if issuer.key_usage is not None and "cRLSign" not in issuer.key_usage:
        raise UnusableListError(f"the key usage of {issuer.subject} does not allow it to sign revocation lists")
    _check_signature(read, der, issuer)
    if read.last_update_utc > now + CLOCK_TOLERANCE:
        raise UnusableListError(f"the list of {issuer.subject} is from the future ({read.last_update_utc:%F %T}Z)")
    return _taken(read, issuer.key_fingerprint)


def stored_list(octets: bytes, key_fingerprint: str) -> RevocationList:
    """A list of the ledger, whose signature was verified when it came. Raises :class:`UnusableListError`."""
    return _taken(_loaded(octets)[0], key_fingerprint)


def _loaded(octets: bytes) -> tuple[x509.CertificateRevocationList, bytes]:
    try:
        der = pem.unarmor(octets)[2] if pem.detect(octets) else octets
        return x509.load_der_x509_crl(der), der
    except _UNREADABLE:
        raise UnusableListError("what came is no revocation list") from None


def _named(read: x509.CertificateRevocationList) -> DistinguishedName:
    """Who says to have issued it; the library reads that only now."""
    try:
        return DistinguishedName.of(read.issuer)
    except _UNREADABLE:
        raise UnusableListError("what came is no revocation list") from None


def _check_signature(read: x509.CertificateRevocationList, der: bytes, issuer: CertificateFacts) -> None:
    try:
        algorithm = read.signature_hash_algorithm
        if algorithm is None or algorithm.name in Limits().weak_hashes:
            name = "an unknown algorithm" if algorithm is None else algorithm.name
            raise UnusableListError(f"the list of {issuer.subject} is signed with {name}, which is not accepted")
        # As it came, and by hashlib: that lets other threads go on, where the library holds them up.
        digest = hashlib.new(algorithm.name.replace("-", "_"), _signed(der)).digest()
        match issuer.certificate.public_key():
            case rsa.RSAPublicKey() as key:
                scheme = read.signature_algorithm_parameters
                assert isinstance(scheme, padding.PKCS1v15 | padding.PSS)  # noqa: S101 - else what came is no list
                key.verify(read.signature, digest, scheme, Prehashed(algorithm))
            case ec.EllipticCurvePublicKey() as key:
                key.verify(read.signature, digest, ec.ECDSA(Prehashed(algorithm)))
            case _:
                raise UnusableListError(f"the key of {issuer.subject} is of a kind that signs no revocation lists")
    except (InvalidSignature, AssertionError, *_UNREADABLE):
        raise UnusableListError(f"{issuer.subject} did not sign the list") from None


def _signed(der: bytes) -> memoryview:
    """What of a list is signed, as it came: the first element in it. That it is DER has been looked at."""
    inner = memoryview(der)[_content(der)[0] :]
    return inner[: _content(inner)[1]]


def _content(octets: bytes | memoryview) -> tuple[int, int]:
    """Where the content of the element that begins there begins and ends."""
    start, length = 2, octets[1]
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    return start, start + length


def _taken(read: x509.CertificateRevocationList, key_fingerprint: str) -> RevocationList:
    try:
        coverage, points, number = _scope(read.extensions)
        serials, dates, reasons = _entries(read)
        return RevocationList(
            issuer=DistinguishedName.of(read.issuer),
            key_fingerprint=key_fingerprint,
            number=number,
            this_update=read.last_update_utc,
            next_update=read.next_update_utc,
            coverage=coverage,
            points=points,
            entries=len(serials),
            _serials=serials,
            _dates=dates,
            _reasons=reasons,
        )
    except _UNREADABLE as error:
        raise UnusableListError(f"the list cannot be read ({error})") from None


def _scope(extensions: x509.Extensions) -> tuple[Coverage, frozenset[str], int | None]:
    coverage, points, number = Coverage.ALL, frozenset[str](), None
    for extension in extensions:
        match extension.value:
            case x509.CRLNumber(crl_number=found):
                number = found
            case x509.DeltaCRLIndicator():
                raise UnusableListError("it tells only what has changed (delta), and such lists are not used")
            case x509.IssuingDistributionPoint() as point:
                if point.indirect_crl or point.only_contains_attribute_certs or point.only_some_reasons:
                    raise UnusableListError(
                        "it is indirect, or tells only some of the reasons, and such lists are not used"
                    )
                if point.only_contains_user_certs or point.only_contains_ca_certs:
                    coverage = Coverage.STATIONS if point.only_contains_user_certs else Coverage.AUTHORITIES
                points = frozenset(_addresses(point.full_name))
            case _ if extension.critical:
                raise UnusableListError(
                    f"it has a critical extension that is not known ({extension.oid.dotted_string})"
                )
    return coverage, points, number


def _entries(read: x509.CertificateRevocationList) -> tuple[Any, Any, Any]:
    """Hashes of serial numbers, seconds and reasons, sorted by the first."""
    count = len(read)
    serials = np.empty(count, np.int64)
    dates = np.empty(count, np.uint32)
    reasons = np.zeros(count, np.int8)
    for at, entry in enumerate(read):
        serials[at] = hash(entry.serial_number)
        dates[at] = min(max(int(entry.revocation_date_utc.timestamp()), 0), _LATEST)
        if len(entry.extensions):
            reasons[at] = _reason(entry.extensions)
    order = np.argsort(serials, kind="stable")
    return serials[order], dates[order], reasons[order]


def _reason(extensions: x509.Extensions) -> int:
    reason = 0
    for extension in extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = _OF_REASON[extension.value.reason]
        elif extension.critical:
            raise UnusableListError(f"an entry has a critical extension ({extension.oid.dotted_string})")
    return reason


def _addresses(names: Iterable[x509.GeneralName] | None) -> Iterator[str]:
    return (name.value for name in names or () if isinstance(name, x509.UniformResourceIdentifier))


# --- what is asked of them -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A certificate of a proven way, the authority that issued it, and where its list is."""

    subject: CertificateFacts
    issuer: CertificateFacts
    urls: tuple[str, ...]
    """Each alone would do; none that can be fetched where it is empty."""
    above: bool = False
    """Whether it is an authority of the certificate that the way is of."""


def questions(path: Path) -> tuple[Question, ...]:
    """Everything that lists can tell about a way: of its certificates, its anchor, and what is known above."""
    return tuple(
        Question(subject=subject, issuer=issuer, urls=urls, above=subject is not path.certificates[0])
        for subject, issuer in path.links
        if (urls := distribution_points(subject)) is not None
    )


def distribution_points(facts: CertificateFacts) -> tuple[str, ...] | None:
    """The addresses of its list, http and https alone, a few at most; None where it names no list at all.

    Points that speak for other authorities, or of some reasons only, are left out.
    """
    try:
        extension = facts.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    except x509.ExtensionNotFound:
        return None
    points = (point for point in extension.value if point.crl_issuer is None and point.reasons is None)
    urls = (url for point in points for url in _addresses(point.full_name))
    return tuple(dict.fromkeys(url for url in urls if _is_web(url)))[:MOST_POINTS]


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


# --- all lists -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known of one list: what was read last, and what came of the last try."""

    url: str
    list: RevocationList | None = None
    read_at: datetime | None = None
    """When it was read last, the same or another one than before."""
    tried_at: datetime | None = None
    error: str = ""
    """Why the last try failed; empty if it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a certificate is used for nothing."""

    text: str
    revoked: bool
    """A list says so; else it is that no list is there that could say otherwise."""

    def __str__(self) -> str:
        return self.text


class Lists:
    """All that was read, as every thread may look at it: each entry is put in its place as a whole."""

    def __init__(self, mode: Mode = Mode.OFF, max_age: timedelta = timedelta(days=15)) -> None:
        self.mode = mode
        self.max_age = max_age
        self.asked: Callable[[], None] = lambda: None
        """Called from any thread when a list is wanted that nobody knows yet."""
        self._readings: dict[str, Reading] = {}
        self._wanted: dict[str, CertificateFacts] = {}

    @property
    def read(self) -> bool:
        """Whether lists are read at all."""
        return self.mode is not Mode.OFF

    @property
    def readings(self) -> Mapping[str, Reading]:
        """By address."""
        return dict(self._readings)

    def put(self, reading: Reading) -> None:
        """Take up what came of a try."""
        self._readings[reading.url] = reading

    def drop(self, url: str) -> None:
        """Forget one."""
        self._readings.pop(url, None)

    def wanted(self) -> Mapping[str, CertificateFacts]:
        """The lists that were asked about, with who issues them; that they were is forgotten with this."""
        wanted, self._wanted = self._wanted, {}
        return dict(wanted)

    def barred(self, path: Path, now: datetime) -> str | None:
        """Why a way does not count, as :class:`oftp2d.trust.Trust` asks it."""
        found = self.finding(questions(path), now)
        return None if found is None else found.text

    def finding(self, asked: Iterable[Question], now: datetime) -> Finding | None:
        """Why a certificate whose way is proven is used for nothing; None when nothing speaks against it."""
        if not self.read:
            return None
        found = [finding for question in asked if (finding := self._answer(question, now)) is not None]
        return min(found, key=lambda finding: not finding.revoked, default=None)

    def unread(self, asked: Iterable[Question]) -> tuple[Question, ...]:
        """What no list has answered yet, although there should be one."""
        if not self.read:
            return ()
        return tuple(question for question in asked if question.urls and not self._speaking(question))

    def _answer(self, asked: Question, now: datetime) -> Finding | None:
        self._ask(asked)
        speaking = self._speaking(asked)
        who = f"its authority {asked.subject.subject} was " if asked.above else ""
        for reading in speaking:
            assert reading.list is not None  # noqa: S101 - it speaks
            if (revoked := reading.list.revoked(asked.subject.serial)) is not None:
                return Finding(text=f"{who}revoked on {revoked} by {asked.issuer.subject}", revoked=True)
        if speaking:
            return self._too_old(asked, speaking, now)
        return self._never_read(asked) if self.mode is Mode.STRICT else None

    def _speaking(self, asked: Question) -> list[Reading]:
        """The readings that tell about a certificate."""
        found = (self._readings.get(url) for url in asked.urls)
        return [
            reading
            for reading in found
            if reading is not None
            and reading.list is not None
            and reading.list.of_key(asked.issuer)
            and reading.list.covers(asked.subject, asked.urls)
        ]

    def _too_old(self, asked: Question, speaking: list[Reading], now: datetime) -> Finding | None:
        ages = [self.age(reading, now) for reading in speaking]
        age = min(ages)
        if age <= self.max_age:
            return None
        youngest = speaking[ages.index(age)]
        failed = f" ({youngest.error})" if youngest.error else ""
        text = f"the revocation list of {asked.issuer.subject} is {span(age)} old, it could not be renewed{failed}"
        return Finding(text=text, revoked=False)

    def age(self, reading: Reading, now: datetime) -> timedelta:
        """How old what was read is: since its last successful reading, or since it should have had a successor.

        One that does not say when it has a successor is as old as what it says: else it could be shown to us for ever.
        """
        assert reading.list is not None  # noqa: S101 - it was read
        assert reading.read_at is not None  # noqa: S101
        age = now - reading.read_at
        renewed = reading.list.next_update or reading.list.this_update
        return max(age, now - renewed, timedelta())

    def _ask(self, asked: Question) -> None:
        """Have its lists read, and renewed in time for as long as they are asked: a peer's need not be those of the store."""
        missing = any(url not in self._readings and url not in self._wanted for url in asked.urls)
        if len(self._wanted) < _MOST_ASKED:
            self._wanted.update(dict.fromkeys(asked.urls, asked.issuer))
            if missing:
                self.asked()

    def _never_read(self, asked: Question) -> Finding:
        if not asked.urls:
            why = "it names no address of http or https"
        else:
            tried = (self._readings.get(url) for url in asked.urls)
            errors = [reading.error for reading in tried if reading is not None and reading.error]
            why = errors[0] if errors else "it is being fetched"
        return Finding(text=f"the revocation list of {asked.issuer.subject} was not read yet: {why}", revoked=False)
