"""Keeps revocation lists: reads them in the background, and tells what follows from them (acx.md 10.3).

Wanted are the lists that certificates of the store name whose way to an anchor is proven, and those about which somebody
asked meanwhile, as of a certificate that a peer showed in TLS. They are read when nobody has, when they are a day old, and when
they say that there is a newer one; what fails is tried again after a while. Those of the store come first, one of each host at
a time, and what a list says counts as soon as it was read: no slow server holds up the news of the others. What was read is in
the ledger and holds over a restart. No session ever waits for a list; only the verdict on a certificate that the exchange
brought waits a few seconds for the first reading.

When a list says that a certificate in the store was revoked, an error line says so, once, its history has an entry, and the
status warns of it for as long as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, succeed
from twisted.logger import Logger

from oftp2.certs.facts import CertificateFacts
from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.errors import OperatorError
from oftp2d.fetching import Fetcher, FetchError
from oftp2d.ledger import Ledger, RevocationListRecord, Slot, StoredCertificate
from oftp2d.retries import span
from oftp2d.revocation import (
    MOST_LISTS,
    Finding,
    Lists,
    Question,
    Reading,
    RevocationList,
    UnusableListError,
    questions,
    read_list,
    stored_list,
)
from oftp2d.trust import Path, Trust
from oftp2d.workers import Workers

AT_ONCE: Final = 3
"""Lists that are fetched at the same time."""
SECONDS: Final = 120
"""The longest that reading one may take."""
HOST_SECONDS: Final = 60.0
"""So long further lists of one host are begun in one round; the others of it have their turn in the next."""
ROUND_SECONDS: Final = 300.0
"""So long further lists are begun at all in one round: then it is looked anew which of them is the first."""
FIRST_SECONDS: Final = 5.0
"""So long the verdict on a certificate waits for a list that was never read."""

_LONGEST_PAUSE: Final = 60.0
_SHORTEST_PAUSE: Final = 0.5
_TOGETHER: Final = 25
"""Certificates that are looked at in one go of the database worker: others have their turn between."""

_REVOKED: Final = "certificate revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """A certificate of the store that is used for nothing, and why."""

    stored: StoredCertificate
    partner: str | None
    """The code of the partner whose it is; None for one of ours."""
    finding: Finding

    @property
    def text(self) -> str:
        """For people."""
        whose = "our certificate" if self.partner is None else f"the certificate of {self.partner}"
        return f"{whose} {self.stored.alias} is used for nothing: {self.finding}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        if not self.finding.revoked:
            return "see why its list cannot be read ('oftp2d trust list'), then say 'oftp2d trust refresh'"
        if self.partner is None:
            return "import another one with 'oftp2d cert import', and offer it with 'oftp2d exchange deliver'"
        return (
            f"import another one with 'oftp2d cert import FILE --partner {self.partner}', or ask for it with 'oftp2d exchange"
            f" request {self.partner}' if sessions with it need no authentication"
        )


class Queue:
    """Lists that wait to be read in one round: first in, first out, but one of each host at a time, and not for ever."""

    def __init__(self, lists: Iterable[tuple[str, CertificateFacts]], seconds: Callable[[], float]) -> None:
        self._waiting = dict(lists)
        self._seconds = seconds
        self._until = seconds() + ROUND_SECONDS
        self._begun: dict[str, float] = {}
        """When a list of a host that is being read was begun, by the host."""
        self._spent: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> tuple[str, CertificateFacts] | None:
        """The next one; None where all that wait are of hosts that are being read, or have had their time."""
        if self._seconds() >= self._until:
            return None
        for url in self._waiting:
            host = _host(url)
            if host not in self._begun and self._spent.get(host, 0.0) < HOST_SECONDS:
                self._begun[host] = self._seconds()
                return url, self._waiting.pop(url)
        return None

    def over(self, url: str) -> None:
        """One that was taken is read, or is not to be had."""
        host = _host(url)
        self._spent[host] = self._spent.get(host, 0.0) + self._seconds() - self._begun.pop(host)


class Revocations:
    """The revocation lists of the station, from ``start`` to ``stop``."""

    log = Logger(namespace="revocation")

    def __init__(
        self,
        reactor: Any,
        workers: Workers,
        ledger: Ledger,
        certificates: Certificates,
        lists: Lists,
        *,
        settings: config.Revocation,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        fetcher: Fetcher | None = None,
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._ledger = ledger
        self._certificates = certificates
        self._lists = lists
        self._settings = settings
        self._now = now
        self._fetcher = fetcher or Fetcher(reactor, allow_local=settings.allow_local)
        self.changed: Callable[[Sequence[Barred], Sequence[Barred]], Coroutine[Any, Any, None]] = _ignore
        """Called with what is barred from now on, and with what is not any more."""
        self._barred: Mapping[tuple[int, str], Barred] = {}
        self._names: dict[str, datetime] = {}
        """When a list was last wanted, by its address."""
        self._issuers: dict[str, CertificateFacts] = {}
        """Of the lists that were wanted by somebody who asked, and not by the store: who issues each."""
        self._watched: frozenset[str] = frozenset()
        """The lists that are read anew when they are due."""
        self._waiting: dict[str, list[Deferred[None]]] = {}
        """Who waits for a list that is being read, by its address."""
        self._reading: set[Deferred[None]] = set()
        self._looking = DeferredLock()
        self._unseen = False
        """Whether something was read that nobody has looked at."""
        self._running = False
        self._round_over: Deferred[None] = succeed(None)
        self._again = False
        self._next: Any = None

    # --- from start to stop -------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up what was read before the station was started: it counts from now on."""
        if self._lists.read:
            await self._load()

    def start(self) -> None:
        """Begin to read, and to tell what follows."""
        if self._lists.read:
            self._running = True
            self._lists.asked = self._asked
            self.nudge()

    async def stop(self) -> None:
        """Read no more, and wait until nothing is under way."""
        self._running = False
        if self._next is not None and self._next.active():
            self._next.cancel()
        under_way = list(self._reading)
        for reading in under_way:
            reading.cancel()
        await DeferredList(under_way)
        await self._round_over

    def nudge(self) -> None:
        """Look now what is wanted and what follows. Never blocks."""
        if not self._running:
            return
        if not self._round_over.called:
            self._again = True
            return
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._round_over = Deferred.fromCoroutine(self._round())

    def _asked(self) -> None:
        self._reactor.callFromThread(self.nudge)

    # --- what others want to know -------------------------------------------------------------------------------

    @property
    def read(self) -> bool:
        """Whether lists are read at all."""
        return self._lists.read

    @property
    def mode(self) -> config.RevocationMode:
        """What is thought of a certificate whose list was never read."""
        return self._lists.mode

    def too_old(self, reading: Reading) -> bool:
        """Whether it was read, and is too old to say for whom it does not name that they were not revoked."""
        age = self.age(reading)
        return age is not None and age > self._lists.max_age

    @property
    def readings(self) -> Sequence[Reading]:
        """What is known of every list, by address."""
        return [reading for _, reading in sorted(self._lists.readings.items())]

    def age(self, reading: Reading) -> timedelta | None:
        """How old a list is; None for one that was never read."""
        return None if reading.list is None else self._lists.age(reading, self._now())

    def due(self, reading: Reading) -> datetime:
        """When it is read next."""
        return self._due(reading, self._now())

    def warnings(self) -> Sequence[str]:
        """What an administrator should look after."""
        # Where another one has taken its place there is nothing left to do.
        standing = (each for each in self._barred.values() if each.stored.slot is Slot.CURRENT)
        barred = [f"{each.text}; {each.advice}" for each in standing]
        unread = [
            f"the revocation list {reading.url} {self._since(reading)}: {reading.error}"
            for reading in self.readings
            if reading.error
        ]
        return [*barred, *unread]

    def _since(self, reading: Reading) -> str:
        if reading.read_at is None:
            return "could not be read yet"
        return f"could not be read for {span(self._now() - reading.read_at)}"

    async def refresh(self) -> None:
        """Read every list that is wanted now, whenever it was read last; for a few minutes, where servers are slow."""
        if not self._lists.read:
            raise OperatorError("revocation lists are switched off", 'set mode = "tolerate" in [revocation]')
        await self._read_all((await self._wanted()).items())
        await self._look()

    async def first_readings(
        self, trust: Trust, facts: CertificateFacts, chain: Sequence[CertificateFacts], seconds: float = FIRST_SECONDS
    ) -> None:
        """Wait, but not long, for the lists that a certificate's way names and nobody has tried to read yet."""
        if not self._running:
            return
        path = await self._workers.crypto(trust.path, facts, chain, self._now())
        if not isinstance(path, Path):
            return
        known = self._lists.readings
        new = [
            (url, asked.issuer)
            for asked in self._lists.unread(questions(path))
            for url in asked.urls
            if url not in known
        ]
        reading = [self._fetch(url, issuer) for url, issuer in self._noted(dict(new)).items()]
        if reading:
            await self._at_most(DeferredList(reading), seconds)

    async def _at_most(self, work: Deferred[Any], seconds: float) -> None:
        """Wait for it; it goes on all the same when that was too short."""
        over: Deferred[None] = Deferred()
        late = self._reactor.callLater(seconds, _finish, over)
        work.addCallback(lambda _: _finish(over))
        await over
        if late.active():
            late.cancel()

    # --- rounds -------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Read what is due, and look what follows; again, when somebody asked meanwhile."""
        try:
            self._again = True
            while self._again and self._running:
                self._again = False
                now = self._now()
                known = self._lists.readings
                wanted = await self._wanted()
                await self._read_all(
                    (url, issuer)
                    for url, issuer in wanted.items()
                    if url not in known or self._due(known[url], now) <= now
                )
                await self._look()
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
        except Exception:  # noqa: BLE001 - the next round tries again
            if self._running:
                self.log.failure("revocation lists could not be looked after")
        finally:
            if self._running:
                self._next = self._reactor.callLater(self._pause(), self.nudge)

    def _pause(self) -> float:
        """Seconds until something is due, or until it is time to look whether something grew too old."""
        now = self._now()
        watched = (reading for reading in self.readings if reading.url in self._watched)
        waits = [(self._due(reading, now) - now).total_seconds() for reading in watched]
        return min(max(min(waits, default=_LONGEST_PAUSE), _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _due(self, reading: Reading, now: datetime) -> datetime:
        """When it is to be read: daily, and when it says that there is a newer one; after a failure a while later."""
        again = timedelta(seconds=self._settings.retry_seconds)
        if reading.tried_at is None:
            return now
        if reading.error or reading.read_at is None or reading.list is None:
            return reading.tried_at + again
        due = reading.read_at + timedelta(seconds=self._settings.refresh_seconds)
        if reading.list.next_update is not None:
            due = min(due, max(reading.list.next_update, reading.read_at + again))
        return due

    async def _wanted(self) -> Mapping[str, CertificateFacts]:
        """The lists to be read, with who issues each; those that nobody wants any more are forgotten."""
        now, asked = self._now(), self._lists.wanted()
        wanted: dict[str, CertificateFacts] = {}
        for some in await self._in_use():
            for question in await self._workers.database(self._asked_of, some, now):
                wanted.update(dict.fromkeys(question.urls, question.issuer))
        self._names.update(dict.fromkeys(wanted, now))
        self._noted(asked)
        for url, at in list(self._names.items()):
            if now - at > self._lists.max_age:
                await self._forget(url)
        # Those of the store come first: whoever asks about many others must not keep these from being read.
        everything = [*wanted.items(), *((url, of) for url, of in self._issuers.items() if url not in wanted)]
        chosen = dict(everything[:MOST_LISTS])
        self._watched = frozenset(chosen)
        return chosen

    def _noted(self, asked: Mapping[str, CertificateFacts]) -> Mapping[str, CertificateFacts]:
        """Those of the lists asked about that there is room for: no peer makes us keep ever more of them."""
        room = MOST_LISTS - len(self._names)
        new = [url for url in asked if url not in self._names]
        taken = {url: issuer for url, issuer in asked.items() if url not in new[max(room, 0) :]}
        self._names.update(dict.fromkeys(taken, self._now()))
        self._issuers.update(taken)
        return taken

    async def _forget(self, url: str) -> None:
        del self._names[url]
        self._issuers.pop(url, None)
        self._lists.drop(url)
        await self._workers.database(self._ledger.revocation_lists.remove, url)

    async def _in_use(self) -> Sequence[Sequence[StoredCertificate]]:
        """The certificates of the store that are looked at, few together."""
        found = await self._workers.database(self._certificates.in_use)
        return [found[at : at + _TOGETHER] for at in range(0, len(found), _TOGETHER)]

    def _asked_of(self, stored: Sequence[StoredCertificate], now: datetime) -> Sequence[Question]:
        return [question for _, asked in self._certificates.asked(stored, now) for question in asked]

    # --- reading ------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        lists = self._ledger.revocation_lists
        for record in await self._workers.database(lists.list):
            reading = Reading(url=record.url, tried_at=record.tried_at, error=record.error)
            self._names[record.url] = record.read_at or record.tried_at or self._now()
            if record.read_at is not None and record.issuer is not None:
                whole = await self._workers.database(lists.get, record.url)
                content = b"" if whole is None else whole.content or b""
                try:
                    found = await self._workers.crypto(stored_list, content, record.issuer)
                except UnusableListError as error:
                    reading = replace(reading, error=str(error))
                else:
                    reading = replace(reading, list=found, read_at=record.read_at)
            self._lists.put(reading)

    async def _read_all(self, wanted: Iterable[tuple[str, CertificateFacts]]) -> None:
        """Read these, a few at once, and look after each what follows."""
        queue = Queue(wanted, self._reactor.seconds)

        async def some() -> None:
            # Who finds none leaves: the others that wait are of hosts that somebody else is reading, and goes on with.
            while self._running and (taken := queue.take()) is not None:
                await self._fetch(*taken)
                queue.over(taken[0])
                await self._look_at_news()

        await DeferredList([Deferred.fromCoroutine(some()) for _ in range(min(AT_ONCE, len(queue)))])

    def _fetch(self, url: str, issuer: CertificateFacts) -> Deferred[None]:
        """Read one; who wants one that is being read already waits for that. Never fails."""
        over: Deferred[None] = Deferred()
        waiting = self._waiting.setdefault(url, [])
        waiting.append(over)
        if len(waiting) == 1:
            reading = Deferred.fromCoroutine(self._read(url, issuer))
            self._reading.add(reading)
            reading.addBoth(lambda _: self._reading.discard(reading))
        return over

    async def _read(self, url: str, issuer: CertificateFacts) -> None:
        try:
            await self._take(url, issuer)
        except FetchError as error:
            await self._failed(url, str(error))
        except UnusableListError as error:
            await self._failed(url, f"{url}: {error}")
        except CancelledError:
            # The station stops.
            pass
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
        except Exception:  # noqa: BLE001 - whatever a server sent: the others are read all the same
            self.log.failure("the revocation list {url} cannot be read", url=url)
            await self._failed(url, f"{url} cannot be read, the log says more")
        finally:
            for each in self._waiting.pop(url):
                each.callback(None)

    async def _take(self, url: str, issuer: CertificateFacts) -> None:
        """Fetch one, look whether it counts, and keep it."""
        octets = await self._fetcher.get(url, limit=self._settings.max_octets, seconds=SECONDS)
        found = await self._workers.crypto(read_list, octets, issuer, self._now())
        before = self._lists.readings.get(url)
        _check_follows(before, found, issuer)
        now = self._now()
        record = RevocationListRecord(
            url=url,
            content=octets,
            issuer=issuer.key_fingerprint,
            number="" if found.number is None else str(found.number),
            this_update=found.this_update,
            next_update=found.next_update,
            read_at=now,
            tried_at=now,
        )
        await self._workers.database(self._ledger.revocation_lists.save, record)
        self._lists.put(Reading(url=url, list=found, read_at=now, tried_at=now))
        is_news = before is None or before.list is None or bool(before.error)
        self._unseen = self._unseen or is_news or not _is_same(before, found)
        told = self.log.info if is_news else self.log.debug
        told(
            "read the revocation list of {issuer}: {entries} revoked, from {url}",
            issuer=str(issuer.subject),
            entries=found.entries,
            url=url,
        )

    async def _failed(self, url: str, error: str) -> None:
        """What was read before stays, and grows old."""
        if not self._running:
            return
        before = self._lists.readings.get(url, Reading(url=url))
        now = self._now()
        self._lists.put(replace(before, tried_at=now, error=error))
        await self._workers.database(self._ledger.revocation_lists.failed, url, error, now)
        if error != before.error:
            self.log.warn("a revocation list cannot be read: {error}; it is tried again", error=error)

    # --- what follows -------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """See what is barred by now, and tell what has changed; one look at a time."""
        self._unseen = True
        await self._look_once()

    async def _look_at_news(self) -> None:
        """The same where something new was read. Never fails: the look at the end of the round does."""
        try:
            await self._look_once()
        except Exception:  # noqa: BLE001 - see above
            self._unseen = True

    async def _look_once(self) -> None:
        await self._looking.acquire()
        try:
            # Else a look that began later has seen it.
            if self._unseen:
                self._unseen = False
                await self._see()
        finally:
            self._looking.release()

    async def _see(self) -> None:
        found: dict[tuple[int, str], Barred] = {}
        for some in await self._in_use():
            found.update(await self._workers.database(self._findings, some))
        before, self._barred = self._barred, found
        new = [
            each
            for key, each in found.items()
            if key not in before or before[key].finding.revoked != each.finding.revoked
        ]
        gone = [each for key, each in before.items() if key not in found]
        for each in new:
            await self._tell(each)
        for each in gone:
            self.log.info(
                "the certificate {alias} of {whose} counts again, or is gone",
                alias=each.stored.alias,
                whose=each.partner or "ours",
            )
        if new or gone:
            await self.changed(new, gone)

    def _findings(self, stored: Sequence[StoredCertificate]) -> Mapping[tuple[int, str], Barred]:
        findings = self._certificates.barred(stored, self._now())
        found = {}
        for entry in stored:
            if entry.id in findings:
                partner = None if entry.partner_id is None else self._ledger.partners.get(entry.partner_id).code
                found[_key(entry)] = Barred(stored=entry, partner=partner, finding=findings[entry.id])
        return found

    async def _tell(self, barred: Barred) -> None:
        if not barred.finding.revoked:
            self.log.warn("{text}; {advice}", text=barred.text, advice=barred.advice)
        elif await self._workers.database(self._note, barred):
            self.log.error("{text}; {advice}", text=barred.text, advice=barred.advice)

    def _note(self, barred: Barred) -> bool:
        """Enter into its history that it was revoked; whether that is news. In the database worker."""
        audit, fingerprint = self._ledger.audit, barred.stored.fingerprint
        if audit.list(event=_REVOKED, fingerprint=fingerprint, limit=1):
            return False
        audit.record(
            self._now(),
            barred.partner,
            _REVOKED,
            {"certificate": barred.stored.alias, "fingerprint": fingerprint, "text": barred.finding.text},
        )
        return True


def _key(stored: StoredCertificate) -> tuple[int, str]:
    """By which a certificate of one holder is known, however many entries it has."""
    return stored.partner_id or 0, stored.fingerprint


def _check_follows(before: Reading | None, found: RevocationList, issuer: CertificateFacts) -> None:
    """Raises ``UnusableListError`` for a list that is older than the one that is there."""
    if before is None or before.list is None or not before.list.of_key(issuer):
        return
    if not found.follows(before.list):
        raise UnusableListError("it is older than the one that was read before")


def _is_same(before: Reading | None, found: RevocationList) -> bool:
    """Whether a list says what it said when it was read before."""
    if before is None or before.list is None:
        return False
    was = before.list
    return (was.number, was.this_update, was.entries) == (found.number, found.this_update, found.entries)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _finish(over: Deferred[None]) -> None:
    if not over.called:
        over.callback(None)


async def _ignore(_new: Sequence[Barred], _gone: Sequence[Barred]) -> None:
    pass
