"""The trust list is looked for, proves itself, counts at once, and stays what it was where anything is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from oftp2.certs.facts import CertificateFacts
from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.errors import OperatorError
from oftp2d.fetching import Fetcher
from oftp2d.ledger import Ledger, TrustListRecord
from oftp2d.trustlists import Outcome, Pinned, TrustLists
from oftp2d.vault import Vault
from oftp2d.workers import Workers
from tests import pki
from tests.authority import Authority, Mischief, serving
from tests.exchange.station import Log, eventually, watching

LIST, STAMP, SIGNERS = "/TSL_OFTP2.XML", "/TSL_OFTP2.UPD", "/TSL_signing.P7B"


@pytest.fixture
def authority() -> Iterator[Authority]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    with watching() as seen:
        yield seen


@dataclass
class House:
    """A ledger and workers, and the trust lists of one run after the other in them."""

    home: Path
    authority: Authority
    ledger: Ledger
    workers: Workers
    timer: Clock = field(default_factory=Clock)
    ahead: timedelta = timedelta()
    """How far the clock of the station is ahead."""
    changes: int = 0

    def open(self, **settings: object) -> TrustLists:
        """As a daemon does that starts: with a store of its own."""
        given = {
            "enabled": True,
            "url": self.authority.url + LIST,
            "stamp_url": self.authority.url + STAMP,
            "signers_url": "",
        } | settings
        lines = "".join(
            f"{name} = {str(value).lower() if isinstance(value, int) else f'{chr(34)}{value}{chr(34)}'}\n"
            for name, value in given.items()
        )
        self.certificates = Certificates(self.ledger, Vault(bytes(32)))

        def changed() -> None:
            self.changes += 1

        return TrustLists(
            self.timer,
            config.parse(f"[trust_list]\n{lines}", self.home).trust_list,
            ledger=self.ledger,
            workers=self.workers,
            authorities=self.certificates.authorities,
            fetcher=Fetcher(reactor, allow_local=True),
            now=lambda: datetime.now(UTC) + self.ahead,
            changed=changed,
        )

    def publish(self, content: bytes, stamp: str = "1") -> None:
        self.authority.put(LIST, content)
        self.authority.put(STAMP, stamp.encode())

    def trusted(self, name: str) -> bool:
        facts = CertificateFacts.of(pki.certificate(name).der)
        return self.certificates.trust().judge(facts, (), pki.NOW).trusted

    def record(self) -> TrustListRecord:
        found = self.ledger.trust_lists.get(self.authority.url + LIST)
        assert found is not None
        return found

    def audited(self) -> list[str]:
        return [entry.event for entry in reversed(self.ledger.audit.list())]


@asynccontextmanager
async def opened(home: Path, authority: Authority) -> AsyncIterator[House]:
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    workers = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    workers.start()
    try:
        yield House(home, authority, ledger, workers)
    finally:
        await workers.stop()
        ledger.close()


@pytest.fixture
def house(tmp_path: Path, authority: Authority) -> Iterator[House]:
    made = opened(tmp_path, authority)
    yield pytest_twisted.blockon(Deferred.fromCoroutine(made.__aenter__()))
    pytest_twisted.blockon(Deferred.fromCoroutine(made.__aexit__(None, None, None)))


def lines(lists: TrustLists) -> list[str]:
    return [concern.line for concern in lists.concerns(pki.NOW)]


async def refused(lists: TrustLists, **how: bool) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await lists.refresh(**how)
    return caught.value


@pytest_twisted.ensureDeferred
async def test_a_list_counts_at_once_pins_its_signer_and_counts_after_a_restart_without_the_network(
    house: House, log: Log
) -> None:
    lists = house.open()
    house.publish(pki.trust_list(sequence=4), "2026-01-01")
    await lists.load()
    assert not house.trusted("CA01")
    assert await lists.refresh() is Outcome.TAKEN_UP
    assert house.trusted("CA01")
    assert not house.trusted("CB05")
    assert house.changes == 1
    record = house.record()
    assert (record.name, record.sequence, record.stamp) == ("OFTP2 Test Trust List", 4, "2026-01-01")
    signer = pki.list_signer().fingerprint
    assert (record.signer, lists.standing().signer, lists.standing().pinned) == (signer, signer, Pinned.LEDGER)
    assert log.lines("the signer of the trust list is pinned from now on", signer)
    assert log.lines("number 4", "counts: 2 authorities")
    assert house.audited() == ["trust list signer pinned", "trust list taken up"]
    asked = len(house.authority.requests)
    again = house.open()
    await again.load()
    assert house.trusted("CA01")
    assert again.standing().record.content is None
    assert len(house.authority.requests) == asked


@pytest_twisted.ensureDeferred
async def test_the_list_is_read_only_when_its_stamp_has_changed(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list(), "1")
    await lists.refresh()
    house.publish(pki.trust_list([pki.service("A")], sequence=2), "1")
    assert await lists.refresh() is Outcome.UNCHANGED
    assert house.authority.count(LIST) == 1
    assert house.trusted("CB01")
    house.authority.put(STAMP, b"2\n")
    assert await lists.refresh() is Outcome.TAKEN_UP
    assert not house.trusted("CB01"), "an authority that was taken out of the list is not trusted any more"
    assert house.trusted("CA01")


@pytest_twisted.ensureDeferred
async def test_a_list_is_read_in_spite_of_its_stamp_when_it_is_overdue_or_asked_for(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list())
    await lists.refresh()
    assert await lists.refresh(anew=True) is Outcome.UNCHANGED
    assert house.authority.count(LIST) == 2
    house.ahead = timedelta(days=31)
    assert await lists.refresh() is Outcome.UNCHANGED
    assert house.authority.count(LIST) == 3


@pytest_twisted.ensureDeferred
async def test_without_a_stamp_the_list_is_read_each_time(house: House, log: Log) -> None:
    lists = house.open(stamp_url="")
    house.publish(pki.trust_list())
    await lists.refresh()
    await lists.refresh()
    assert house.authority.count(LIST) == 2
    assert house.authority.count(STAMP) == 0
    lists = house.open()
    house.authority.fail(STAMP)
    assert await lists.refresh() is Outcome.TAKEN_UP
    assert log.lines("the trust list is read without")


@pytest_twisted.ensureDeferred
async def test_a_list_that_is_overdue_still_counts_and_is_a_warning(house: House, log: Log) -> None:
    lists = house.open()
    house.publish(pki.trust_list(issued=-40, next_update=-5))
    await lists.refresh()
    assert house.trusted("CA01")
    (warning,) = lines(lists)
    assert "should have been renewed by" in warning
    read_at = lists.standing().record.read_at
    assert read_at is not None
    numbers = {gauge.name: gauge.values for gauge in lists.gauges(read_at + timedelta(hours=1))}
    url = house.authority.url + LIST
    assert numbers["oftp2d_trust_list_age_seconds"] == {(url,): 3600}
    assert numbers["oftp2d_trust_list_authorities"] == {(): 2}
    assert -6 < numbers["oftp2d_trust_list_days_to_next_update"][()] < -5


@pytest_twisted.ensureDeferred
async def test_a_list_that_does_not_say_when_the_next_one_comes_is_a_warning_once_it_is_old(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list(next_update=None))
    await lists.refresh()
    assert [*lists.concerns(pki.NOW + timedelta(days=180))] == []
    (concern,) = lists.concerns(pki.NOW + timedelta(days=190))
    assert "does not say when the next one comes" in concern.text
    assert house.trusted("CA01")


@pytest_twisted.ensureDeferred
async def test_a_list_of_another_signer_is_refused_until_it_is_pinned(house: House) -> None:
    """TSL signer change refused (acx.md 12)."""
    lists, other = house.open(), pki.list_signer("other")
    house.publish(pki.trust_list())
    await lists.refresh()
    house.publish(pki.trust_list([pki.service("outside")], sequence=2, signer=other), "2")
    error = await refused(lists)
    assert "it is signed by another than before: CN=" in error.what
    assert error.advice == f"if Odette has announced this signer, say 'oftp2d trust pin {other.fingerprint}'"
    assert (house.trusted("CA01"), house.trusted("CB06")) == (True, False)
    assert "signed by another" in house.record().error
    assert any("signed by another" in warning for warning in lines(lists))
    await refused(lists)
    assert house.audited().count("trust list not taken up") == 1
    await lists.pin(other.fingerprint)
    assert house.trusted("CA01"), "what was read before stays in use until the next is read"
    assert await lists.refresh() is Outcome.TAKEN_UP
    assert (house.trusted("CA01"), house.trusted("CB06")) == (False, True)
    assert lines(lists) == []
    assert house.changes == 3, "taken up, refused, taken up; not for each attempt"
    assert house.record().signer == other.fingerprint


@pytest_twisted.ensureDeferred
async def test_a_list_with_a_lower_number_is_refused(house: House) -> None:
    """TSL sequence rollback refused (acx.md 12)."""
    lists = house.open()
    house.publish(pki.trust_list([pki.service("A")], sequence=7))
    await lists.refresh()
    house.publish(pki.trust_list(sequence=6), "2")
    error = await refused(lists)
    assert "its number is 6, lower than 7" in error.what
    assert "trust unpin" in error.advice
    house.publish(pki.trust_list(sequence=7, issued=-1), "3")
    assert "before the one of that number" in (await refused(lists)).what
    assert not house.trusted("CB01")
    again = house.open()
    await again.load()
    assert "lower than 7" in (await _with(house, again, sequence=6)).what, "after a restart too"
    await again.unpin()
    assert await again.refresh() is Outcome.TAKEN_UP
    assert house.trusted("CB01")
    assert house.record().sequence == 6
    assert house.audited()[-3:] == ["trust list signer unpinned", "trust list signer pinned", "trust list taken up"]


async def _with(house: House, lists: TrustLists, **more: int) -> OperatorError:
    house.publish(pki.trust_list(**more), str(more))  # type: ignore[arg-type]
    return await refused(lists)


@pytest_twisted.ensureDeferred
async def test_the_numbers_of_another_scheme_are_counted_apart(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list(sequence=7))
    await lists.refresh()
    house.publish(pki.trust_list(sequence=1, scheme="Another"), "2")
    assert await lists.refresh() is Outcome.TAKEN_UP


@pytest_twisted.ensureDeferred
async def test_the_signer_of_the_settings_counts_before_any_other(house: House, log: Log) -> None:
    other = pki.list_signer("other")
    lists = house.open(signer=other.fingerprint)
    house.publish(pki.trust_list())
    error = await refused(lists)
    assert error.advice == "if Odette has announced this signer, change signer in [trust_list] of oftp2d.toml"
    with pytest.raises(OperatorError, match=r"set in oftp2d\.toml"):
        await lists.pin(pki.list_signer().fingerprint)
    with pytest.raises(OperatorError, match=r"set in oftp2d\.toml"):
        await lists.unpin()
    house.publish(pki.trust_list(signer=other))
    await lists.refresh()
    assert lists.standing().pinned is Pinned.SETTINGS
    assert not log.lines("is pinned from now on")
    changed = house.open(signer=pki.list_signer().fingerprint)
    await changed.load()
    assert not house.trusted("CA01")
    assert log.lines("our copy of the trust list does not count", "signed by another")
    house.publish(pki.trust_list(sequence=2))
    assert await changed.refresh() is Outcome.TAKEN_UP, "whatever its stamp says"


@pytest_twisted.ensureDeferred
async def test_the_first_signer_must_be_among_those_that_are_published(house: House, log: Log) -> None:
    lists, other = house.open(signers_url=house.authority.url + SIGNERS), pki.list_signer("other")
    house.authority.put(SIGNERS, pkcs7.serialize_certificates([other.certificate], Encoding.DER))
    house.publish(pki.trust_list())
    error = await refused(lists)
    assert f"its signer is none of those at {house.authority.url}" in error.what
    assert not house.trusted("CA01")
    house.publish(pki.trust_list(signer=other), "2")
    assert await lists.refresh() is Outcome.TAKEN_UP
    house.publish(pki.trust_list(signer=pki.list_signer(), sequence=2), "3")
    house.authority.put(SIGNERS, pkcs7.serialize_certificates([pki.list_signer().certificate], Encoding.PEM))
    assert "signed by another" in (await refused(lists)).what, "the published ones speak only of the first"
    assert house.authority.count(SIGNERS) == 2
    assert not log.lines("is taken from the list itself")


@pytest.mark.parametrize("content", [None, b"rubbish"])
@pytest_twisted.ensureDeferred
async def test_where_no_signers_are_published_the_first_list_says_who_signs_it(
    content: bytes | None, house: House, log: Log
) -> None:
    lists = house.open(signers_url=house.authority.url + SIGNERS)
    if content is not None:
        house.authority.put(SIGNERS, content)
    house.publish(pki.trust_list())
    assert await lists.refresh() is Outcome.TAKEN_UP
    assert log.lines("who signs the trust list is taken from the list itself")


@pytest.mark.parametrize(
    ("mischief", "what"),
    [(404, "404"), (Mischief.CLOSE, "cannot be had"), (Mischief.ENDLESS, "more than the 200000 octets")],
)
@pytest_twisted.ensureDeferred
async def test_a_list_that_cannot_be_had_leaves_the_one_that_was_read_before(
    mischief: Mischief | int, what: str, house: House
) -> None:
    lists = house.open(max_octets=200_000)
    house.publish(pki.trust_list())
    await lists.refresh()
    house.authority.put(STAMP, b"2")
    if isinstance(mischief, Mischief):
        house.authority.misbehave(LIST, mischief)
    else:
        house.authority.fail(LIST, mischief)
    error = await refused(lists)
    assert what in error.what
    assert house.trusted("CA01")
    (warning,) = lines(lists)
    assert what in warning
    house.publish(pki.trust_list(sequence=2), "3")
    await lists.refresh()
    assert (lines(lists), house.record().error) == ([], "")


@pytest_twisted.ensureDeferred
async def test_a_first_list_that_cannot_be_had_is_a_warning(house: House) -> None:
    lists = house.open()
    await lists.load()
    assert lines(lists) == list(lists.gauges(pki.NOW)) == []
    await refused(lists)
    (warning,) = lines(lists)
    assert "no new trust list could be taken up yet" in warning
    assert lists.standing().pinned is Pinned.NOT_YET


@pytest_twisted.ensureDeferred
async def test_a_list_that_accepts_nobody_is_a_warning(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list([pki.service("A", status=pki.WITHDRAWN)]))
    await lists.refresh()
    (warning,) = lines(lists)
    assert "names no authority that is accepted" in warning


@pytest_twisted.ensureDeferred
async def test_an_entry_that_cannot_be_read_as_a_whole_is_a_warning(house: House) -> None:
    lists = house.open()
    torn = pki.unsigned_trust_list(pki.listed()).replace(b"<X509Certificate>MII", b"<X509Certificate>AAA", 1)
    house.publish(pki.sign_trust_list(torn, pki.list_signer()))
    await lists.refresh()
    (warning,) = lines(lists)
    assert (
        "has entries whose certificates cannot all be read: Hierarchy A; these authorities are not trusted" in warning
    )
    assert (house.trusted("CA01"), house.trusted("CB01")) == (False, True)


@pytest_twisted.ensureDeferred
async def test_a_copy_that_was_damaged_does_not_count_and_is_read_anew(house: House, log: Log) -> None:
    lists = house.open()
    house.publish(pki.trust_list())
    await lists.refresh()
    record = house.record()
    assert record.content is not None
    house.ledger.trust_lists.save(replace(record, content=record.content.replace(b"Hierarchy A", b"Hierarchy X")))
    again = house.open()
    await again.load()
    assert not house.trusted("CA01")
    assert log.lines("our copy of the trust list does not count", "its signature does not hold")
    (warning,) = lines(again)
    assert "there is no trust list that counts" in warning
    assert await again.refresh() is Outcome.TAKEN_UP
    assert house.trusted("CA01")


@pytest_twisted.ensureDeferred
async def test_a_list_that_is_not_enabled_is_neither_read_nor_looked_for(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list())
    await lists.refresh()
    await lists.stop()
    asked = len(house.authority.requests)
    off = house.open(enabled=False)
    await off.load()
    off.start()
    assert not house.timer.getDelayedCalls()
    assert not house.trusted("CA01")
    assert lines(off) == list(off.gauges(pki.NOW)) == []
    assert "no trust list is in use" in (await refused(off)).what
    with pytest.raises(OperatorError, match="no trust list is in use"):
        await off.pin("ab" * 32)
    assert len(house.authority.requests) == asked
    await off.stop()


@pytest_twisted.ensureDeferred
async def test_it_is_looked_for_in_the_background_once_a_day_and_sooner_after_a_failure(house: House, log: Log) -> None:
    lists = house.open()
    await lists.load()
    lists.start()
    (call,) = house.timer.getDelayedCalls()
    assert call.getTime() == 0, "at once, where there is none"
    house.timer.advance(0)

    async def waits() -> list[float]:
        return [each.getTime() - house.timer.seconds() for each in house.timer.getDelayedCalls()]

    assert await eventually("the failure", waits) == [3600]
    assert "404" in house.record().error
    house.publish(pki.trust_list())
    house.timer.advance(3600)
    assert await eventually("the list", waits) == [86_400]
    assert house.trusted("CA01")
    await lists.stop()
    assert await waits() == []


@pytest_twisted.ensureDeferred
async def test_after_a_restart_it_is_looked_for_when_it_is_time(house: House) -> None:
    lists = house.open()
    house.publish(pki.trust_list())
    await lists.refresh()

    async def first_wait() -> float:
        house.timer = Clock()
        again = house.open()
        await again.load()
        again.start()
        (call,) = house.timer.getDelayedCalls()
        await again.stop()
        return call.getTime()

    assert 86_300 < await first_wait() <= 86_400
    house.ahead = timedelta(hours=20)
    assert 14_300 < await first_wait() <= 14_400
    house.ahead = timedelta(hours=30)
    assert await first_wait() == 0
    house.ahead = timedelta()
    house.authority.fail(STAMP)
    house.authority.fail(LIST)
    await refused(lists)
    assert 3500 < await first_wait() <= 3600


@pytest_twisted.ensureDeferred
async def test_stopping_waits_for_no_server(house: House, log: Log) -> None:
    lists = house.open()
    house.authority.misbehave(STAMP, Mischief.HANG)
    lists.start()
    house.timer.advance(0)

    async def asked() -> int:
        return house.authority.count(STAMP)

    await eventually("the request", asked)
    await lists.stop()
    assert not log.lines("warn")
    assert (await refused(lists)).what == "the station stops"
    assert house.timer.getDelayedCalls() == []
