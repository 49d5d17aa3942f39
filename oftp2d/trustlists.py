"""Keeping the trust list: looked for in the background, taken up as soon as it proves itself, kept for when it cannot be had.

A small file beside the list, the stamp, tells whether it has changed. A list counts when it was signed by the signer that is
pinned: the one of the settings, else the one an operator named, else the one that signed the first list that was read. It
never gives way to one with a lower number of the same scheme. Whatever goes wrong, the list that was read before stays in
use, and what is wrong with it is a warning (acx.md 10.2).

Nothing waits for this: sessions are judged by the list that is there. A new one counts at once, without a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oftp2d.authorities import Authorities
from oftp2d.config import TrustListSettings
from oftp2d.credentials import read_material
from oftp2d.errors import OperatorError
from oftp2d.fetching import Fetcher, FetchError
from oftp2d.ledger import Ledger, TrustListRecord
from oftp2d.ledger.records import Detail
from oftp2d.metrics import Gauge
from oftp2d.planning import Concern
from oftp2d.trustlist import TrustList, TrustListError, UnknownSignerError, read
from oftp2d.workers import Workers

FETCH_SECONDS: Final = 60.0
"""The time that each of the files may take."""
LARGEST_STAMP: Final = 4096
LARGEST_SIGNERS: Final = 256 * 1024
OLD: Final = timedelta(days=183)
"""A list that does not say when the next one comes is told of when it is older: TS 102 231 has a new one every six months."""
LONGEST_STAMP: Final = 200
"""Characters of a stamp that are compared."""

_PIN: Final = "if Odette has announced this signer, say 'oftp2d trust pin {fingerprint}'"
_LATER: Final = "what was read before stays in use, and it is tried again: see 'oftp2d trust list'"
_ENABLE: Final = "set enabled = true in [trust_list] of oftp2d.toml, and start the station again"


class Outcome(StrEnum):
    """What a look for a new list has led to, where nothing went wrong."""

    UNCHANGED = "unchanged"
    TAKEN_UP = "taken up"


class Pinned(StrEnum):
    """Why a signer is the one that counts."""

    NOT_YET = "not yet"
    SETTINGS = "by oftp2d.toml"
    LEDGER = "by the first reading, or by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How it is with the trust list."""

    enabled: bool
    record: TrustListRecord
    """Our copy, without its content."""
    pinned: Pinned
    signer: str
    """The fingerprint of the signer that is pinned; empty while there is none."""
    listed: TrustList | None
    """What counts."""


class _RefusedError(Exception):
    """A list that came, or did not; ``what`` and ``advice`` are for the operator."""

    def __init__(self, what: str, advice: str = _LATER) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


class TrustLists:
    """The trust list of one station."""

    log = Logger(namespace="trustlists")

    def __init__(
        self,
        reactor: IReactorTime,
        settings: TrustListSettings,
        *,
        ledger: Ledger,
        workers: Workers,
        authorities: Authorities,
        fetcher: Fetcher,
        now: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._ledger = ledger
        self._workers = workers
        self._authorities = authorities
        self._fetcher = fetcher
        self._now = now
        self._changed = changed
        self._record = TrustListRecord(url=self._settings.url)
        self._advice = _LATER
        """What to do about the error in the record."""
        self._lock = DeferredLock()
        self._next: IDelayedCall | None = None
        self._looking: Deferred[Outcome] = succeed(Outcome.UNCHANGED)
        """The look that is under way, or was the last."""
        self._background: Deferred[None] = succeed(None)
        self._stopped = False

    # --- from the start to the end ------------------------------------------------------------------------------

    async def load(self) -> None:
        """Let our copy count, at the start, before anybody calls."""
        if not self._settings.enabled:
            return
        database, lists = self._workers.database, self._ledger.trust_lists
        stored = await database(lists.get, self._settings.url) or self._record
        self._record = replace(stored, content=None)
        if stored.content is None:
            return
        signers = {self._settings.signer} if self._settings.signer else None
        try:
            listed = await self._workers.crypto(read, stored.content, signers=signers, max_octets=len(stored.content))
        except TrustListError as error:
            self._record = replace(self._record, stamp="")
            self.log.warn("our copy of the trust list does not count: {why}; a new one is looked for", why=str(error))
        else:
            self._take_up(listed)

    def start(self) -> None:
        """Look for new lists from now on; the first time at once, if it is time."""
        if self._settings.enabled:
            due = self._record.read_at and self._record.read_at + timedelta(seconds=self._settings.refresh_seconds)
            if self._record.error and self._record.tried_at:
                due = self._record.tried_at + timedelta(seconds=self._settings.retry_seconds)
            if self._authorities.listed is None:
                due = None
            self._wait((due - self._now()).total_seconds() if due else 0)

    async def stop(self) -> None:
        """End; what is being fetched is let go."""
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._looking.cancel()
        await self._background

    def _wait(self, seconds: float) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        if not self._stopped:
            self._next = self._reactor.callLater(max(0.0, seconds), self._begin)

    def _begin(self) -> None:
        def failed(failure: Failure) -> None:
            self.log.failure("looking for a new trust list failed", failure)
            self._wait(self._settings.retry_seconds)

        self._background = Deferred.fromCoroutine(self._in_background()).addErrback(failed)

    async def _in_background(self) -> None:
        try:
            await self.refresh()
        except OperatorError as error:
            # What is wrong is a concern from now on, and told as such.
            self.log.debug("{what}; {advice}", what=error.what, advice=error.advice)

    # --- what an operator asks ----------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """How it is with the list now."""
        enabled, signer = self._settings.enabled, self._settings.signer or self._record.signer or ""
        pinned = Pinned.SETTINGS if self._settings.signer else Pinned.LEDGER if signer else Pinned.NOT_YET
        return Standing(
            enabled=enabled,
            record=self._record,
            pinned=pinned,
            signer=signer,
            listed=self._authorities.listed,
        )

    def concerns(self, now: datetime) -> Iterator[Concern]:
        """What an administrator should look after."""
        if not self._settings.enabled:
            return
        listed, record = self._authorities.listed, self._record
        if record.error and record.tried_at:
            since = f"since {record.read_at:%Y-%m-%d %H:%M}Z" if record.read_at else "yet"
            text = f"no new trust list could be taken up {since}: {record.error}"
            yield Concern(key=f"trust list: {record.error}", text=text, advice=self._advice, at=record.tried_at)
        elif listed is None and record.tried_at:
            text = "there is no trust list that counts"
            yield Concern(key=text, text=text, advice="say 'oftp2d trust refresh'", at=record.tried_at)
        if listed is not None and listed.next_update is not None and listed.overdue(now):
            text = f"the trust list {listed.scheme} should have been renewed by {listed.next_update:%Y-%m-%d}"
            advice = "its authorities are still trusted; ask Odette, and see 'oftp2d trust list'"
            yield Concern(key=text, text=text, advice=advice, at=listed.next_update)
        if listed is not None and listed.next_update is None and now - listed.issued_at > OLD:
            text = f"the trust list {listed.scheme} is of {listed.issued_at:%Y-%m-%d}, and does not say when the next one comes"
            advice = (
                "its authorities are still trusted; see whether Odette has published a newer one: 'oftp2d trust list'"
            )
            yield Concern(key=text, text=text, advice=advice, at=listed.issued_at + OLD)
        if listed is not None and (torn := [entry.name for entry in listed.entries if not entry.complete]):
            text = (
                f"the trust list {listed.scheme} has entries whose certificates cannot all be read: {', '.join(torn)}"
            )
            advice = "these authorities are not trusted by it; import the ones you need as anchors"
            yield Concern(key=text, text=text, advice=advice, at=listed.issued_at)
        if listed is not None and not listed.authorities:
            text = f"the trust list {listed.scheme} names no authority that is accepted"
            yield Concern(key=text, text=text, advice="see 'oftp2d trust list --json'", at=listed.issued_at)

    def gauges(self, now: datetime) -> Iterator[Gauge]:
        """The age of the list and what it says, for monitoring."""
        if self._settings.enabled and self._record.read_at is not None:
            yield Gauge(
                name="oftp2d_trust_list_age_seconds",
                help="Seconds since the trust list was last read with success, or found unchanged",
                labels=("url",),
                values={(self._record.url,): (now - self._record.read_at).total_seconds()},
            )
        listed = self._authorities.listed
        if listed is None:
            return
        yield Gauge(
            name="oftp2d_trust_list_authorities",
            help="Authorities that are trusted because the trust list names them",
            values={(): len(listed.authorities)},
        )
        if listed.next_update is not None:
            yield Gauge(
                name="oftp2d_trust_list_days_to_next_update",
                help="Days until the next trust list should have come; negative when it is overdue",
                values={(): round((listed.next_update - now) / timedelta(days=1), 3)},
            )

    async def refresh(self, *, anew: bool = False) -> Outcome:
        """Look for a new list now, ``anew``: whatever the stamp says. Raises OperatorError when none can be taken up."""
        if not self._settings.enabled:
            raise OperatorError("no trust list is in use", _ENABLE)
        await self._lock.acquire()
        before = self._record.error
        try:
            self._looking = Deferred.fromCoroutine(self._refresh(anew=anew))
            outcome = await self._looking
        except (_RefusedError, CancelledError) as error:
            if self._stopped or isinstance(error, CancelledError):
                raise OperatorError("the station stops", "start it again") from None
            refused = error
            await self._note(refused)
            self._wait(self._settings.retry_seconds)
            raise OperatorError(
                f"the trust list {self._settings.url} is not taken up: {refused.what}", refused.advice
            ) from None
        finally:
            self._lock.release()
        self._wait(self._settings.refresh_seconds)
        if outcome is Outcome.TAKEN_UP or before:
            self._changed()
        return outcome

    async def pin(self, signer: str) -> None:
        """From now on only lists count that this one has signed; the one that is in use stays until the next is read."""
        self._check_free()
        record = await self._stored()
        await self._save(replace(record, signer=signer, stamp=""))
        await self._audit("trust list signer pinned", {"fingerprint": signer})

    async def unpin(self) -> None:
        """Forget the signer and the number: the next list is taken as the first was, and pins its signer."""
        self._check_free()
        record = await self._stored()
        await self._save(replace(record, signer=None, sequence=None, stamp=""))
        await self._audit("trust list signer unpinned", {"fingerprint": record.signer or ""})

    def _check_free(self) -> None:
        if not self._settings.enabled:
            raise OperatorError("no trust list is in use", _ENABLE)
        if self._settings.signer:
            raise OperatorError(
                "the signer of the trust list is set in oftp2d.toml",
                "change signer in [trust_list] there, and start the station again",
            )

    # --- one look -----------------------------------------------------------------------------------------------

    async def _refresh(self, *, anew: bool) -> Outcome:
        if self._stopped:
            raise CancelledError
        settings, now = self._settings, self._now()
        listed = self._authorities.listed
        stamp = await self._stamp()
        known = bool(stamp) and stamp == self._record.stamp and listed is not None and not listed.overdue(now)
        if known and not anew:
            await self._save(replace(await self._stored(), read_at=now, tried_at=now, error=""))
            return Outcome.UNCHANGED
        try:
            octets = await self._fetcher.get(settings.url, limit=settings.max_octets, seconds=FETCH_SECONDS)
        except FetchError as error:
            raise _RefusedError(str(error)) from None
        stored = await self._stored()
        found = await self._read(octets, stored)
        self._check_order(stored, found)
        first = stored.signer is None and not settings.signer
        now = self._now()
        await self._save(
            TrustListRecord(
                url=settings.url,
                name=found.scheme,
                sequence=found.sequence,
                issued_at=found.issued_at,
                next_update=found.next_update,
                signer=found.signer.fingerprint,
                stamp=stamp,
                content=octets,
                read_at=now,
                tried_at=now,
            )
        )
        if first:
            await self._pinned(found)
        if octets == stored.content and listed is not None:
            return Outcome.UNCHANGED
        self._take_up(found)
        await self._audit(
            "trust list taken up",
            {"name": found.scheme, "number": found.sequence, "fingerprint": found.signer.fingerprint},
        )
        return Outcome.TAKEN_UP

    async def _stamp(self) -> str:
        """What the file beside the list says; empty where there is none or it cannot be had: then the list is read."""
        if not self._settings.stamp_url:
            return ""
        try:
            octets = await self._fetcher.get(self._settings.stamp_url, limit=LARGEST_STAMP, seconds=FETCH_SECONDS)
        except FetchError as error:
            self.log.info("{why}; the trust list is read without", why=str(error))
            return ""
        text = octets.decode("utf-8", "replace").strip()[:LONGEST_STAMP]
        return "".join(character if character.isprintable() else " " for character in text)

    async def _read(self, octets: bytes, stored: TrustListRecord) -> TrustList:
        pinned = self._settings.signer or stored.signer
        signers = {pinned} if pinned else await self._published()
        try:
            return await self._workers.crypto(read, octets, signers=signers, max_octets=self._settings.max_octets)
        except UnknownSignerError as error:
            if not pinned:
                what = f"its signer is none of those at {self._settings.signers_url} (SHA-256 {error.fingerprint})"
                raise _RefusedError(what, _PIN.format(fingerprint=error.fingerprint)) from None
            if self._settings.signer:
                advice = "if Odette has announced this signer, change signer in [trust_list] of oftp2d.toml"
                raise _RefusedError(str(error), advice) from None
            raise _RefusedError(str(error), _PIN.format(fingerprint=error.fingerprint)) from None
        except TrustListError as error:
            raise _RefusedError(str(error)) from None

    async def _published(self) -> set[str] | None:
        """The signers that are published beside the list; None where they cannot be had."""
        if not self._settings.signers_url:
            return None
        try:
            octets = await self._fetcher.get(self._settings.signers_url, limit=LARGEST_SIGNERS, seconds=FETCH_SECONDS)
            material = await self._workers.crypto(read_material, octets)
        except (FetchError, OperatorError) as error:
            why = error.what if isinstance(error, OperatorError) else str(error)
            self.log.warn("{why}; who signs the trust list is taken from the list itself", why=why)
            return None
        return {facts.fingerprint for facts in material.certificates}

    def _check_order(self, stored: TrustListRecord, found: TrustList) -> None:
        """A list that is older than the one we have may hide what was taken out of it since."""
        if stored.sequence is None or stored.name != found.scheme:
            return
        if found.sequence < stored.sequence:
            what = f"its number is {found.sequence}, lower than {stored.sequence} of the one that was read before"
        elif found.sequence == stored.sequence and stored.issued_at and found.issued_at < stored.issued_at:
            what = f"it was issued on {found.issued_at:%Y-%m-%d}, before the one of that number that was read before"
        else:
            return
        raise _RefusedError(
            what, "if Odette says that this is right, say 'oftp2d trust unpin' and 'oftp2d trust refresh'"
        )

    def _take_up(self, listed: TrustList) -> None:
        self._authorities.take_up(listed)
        self.log.info(
            "trust list {scheme}, number {number} of {issued:%Y-%m-%d}, counts: {authorities} authorities are trusted by it",
            scheme=listed.scheme,
            number=listed.sequence,
            issued=listed.issued_at,
            authorities=len(listed.authorities),
        )

    async def _pinned(self, found: TrustList) -> None:
        self.log.warn(
            "the signer of the trust list is pinned from now on: {signer}, SHA-256 {fingerprint}; compare it with what"
            " Odette publishes",
            signer=str(found.signer.subject),
            fingerprint=found.signer.fingerprint,
        )
        await self._audit("trust list signer pinned", {"fingerprint": found.signer.fingerprint})

    async def _note(self, refused: _RefusedError) -> None:
        """That it failed, and why: also in the audit trail, once for each reason."""
        again = self._record.error == refused.what
        database, now = self._workers.database, self._now()
        await database(self._ledger.trust_lists.failed, self._settings.url, refused.what, now)
        self._record = replace(self._record, error=refused.what, tried_at=now)
        self._advice = refused.advice
        if not again:
            self._changed()
            await self._audit("trust list not taken up", {"why": refused.what})

    # --- the ledger ---------------------------------------------------------------------------------------------

    async def _stored(self) -> TrustListRecord:
        """Our copy with its content."""
        database, lists = self._workers.database, self._ledger.trust_lists
        return await database(lists.get, self._settings.url) or TrustListRecord(url=self._settings.url)

    async def _save(self, record: TrustListRecord) -> None:
        await self._workers.database(self._ledger.trust_lists.save, record)
        self._record = replace(record, content=None)

    async def _audit(self, event: str, detail: dict[str, Detail]) -> None:
        await self._workers.database(
            self._ledger.audit.record, self._now(), None, event, {"url": self._settings.url, **detail}
        )
