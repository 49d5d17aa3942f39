"""Revocation lists between real stations: what is read, what follows from it, and what nobody has to wait for.

Station A is the one that reads lists; a small server on loopback is its authorities'.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import TLS_USAGES, Usage
from oftp2.reasons import NegativeResponseReason
from oftp2.values import SecurityLevel
from oftp2d.ledger import Authentication, ExchangeState, RevocationListRecord, TransferState
from oftp2d.revocations import HOST_SECONDS, ROUND_SECONDS, Queue
from tests import pki
from tests.authority import Authority, Mischief, serving
from tests.exchange.station import (
    CLOCK,
    CODE_A,
    CODE_B,
    Log,
    Station,
    eventually,
    introduce,
    rewire,
    start,
    station_a,
    station_b,
)
from tests.pki import Issued

CONTENT = b"content" * 1000
QUICK = '[revocation]\nmode = "{mode}"\nrefresh_seconds = 1\nretry_seconds = 1\nmax_age_seconds = {age}\nallow_local = true\n'


@pytest.fixture
def authority() -> Iterator[Authority]:
    with serving() as served:
        yield served


class World:
    """Two stations that know each other, and the lists of their authorities."""

    def __init__(self, folder: Path, authority: Authority, *, mode: str = "tolerate", age: int = 1_000_000) -> None:
        self.authority = authority
        self.of_a = pki.issuing("A", authority.url)
        self.of_b = pki.issuing("B", authority.url)
        self.cert_a = pki.certificate("CA01", authority.url)
        self.cert_b = pki.certificate("CB01", authority.url)
        anchors = (self.of_a, self.of_b)
        settings = QUICK.format(mode=mode, age=age)
        self.a = station_a(folder, certificate=self.cert_a, anchors=anchors, settings=settings)
        self.b = station_b(folder, certificate=self.cert_b, anchors=anchors)
        self.path_a = pki.list_path("A")
        self.path_b = pki.list_path("B")
        self._number = 0
        self.publish()

    def publish(self, *revoked: Issued | int, **options: Any) -> None:
        """Both authorities revoke these, as far as they issued them."""
        self._number += 1
        for path, issuing in ((self.path_a, self.of_a), (self.path_b, self.of_b)):
            theirs = [each for each in revoked if isinstance(each, int) or each.issuer is issuing]
            self.authority.put(path, pki.crl(issuing, revoked=theirs, number=self._number, **options))

    def know(self, **settings: Any) -> None:
        """Make them partners that hold each other's certificates."""
        introduce(self.a, self.b, **settings)
        for station, held in ((self.a, self.cert_b), (self.b, self.cert_a)):
            with station._closed() as (ledger, store):
                partner = ledger.partners.list()[0]
                store.import_partner(held.der, partner_id=partner.id, station=partner.code, now=datetime.now(UTC))
                ledger.certificates.confirm(partner.id, station.certificate.fingerprint, datetime.now(UTC), "manual")

    def divide(self, station: Station, usage: Usage, tls: Issued) -> None:
        """The certificate of a station is for one usage alone, and TLS has another one."""
        with station._closed() as (ledger, store):
            (entry,) = store.own_entries()
            ledger.certificates.remove(entry.id)
            for issued, alias, usages in (
                (station.certificate, "station", frozenset({usage})),
                (tls, "tls", frozenset(TLS_USAGES)),
            ):
                now = datetime.now(UTC)
                store.adopt(issued.key, issued.certificate, alias=alias, now=now, station=station.code, usages=usages)

    async def stop(self) -> None:
        await self.a.stop()
        await self.b.stop()

    async def read(self, path: str, times: int = 1) -> None:
        """Wait until a list was asked for so often, and what came of it is in the ledger."""

        async def asked() -> bool:
            return self.authority.count(path) >= times

        await eventually(f"{path} to be read", asked)

    async def record(self, path: str) -> RevocationListRecord | None:
        return await self.a.db(self.a.ledger.revocation_lists.get, self.authority.url + path)

    async def state(self, station: Station, wanted: TransferState) -> Any:
        async def there() -> Any:
            (transfer,) = await station.transfers()
            return transfer if transfer.state is wanted else None

        return await eventually(f"a transfer that is {wanted}", there)


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path, authority: Authority, log: Log) -> AsyncIterator[World]:
    made = World(tmp_path, authority)
    yield made
    await made.stop()


async def logged(log: Log, *words: str) -> str:
    async def there() -> list[str]:
        return log.lines(*words)

    return (await eventually(f"a line with {words}", there))[0]


@pytest_twisted.ensureDeferred
async def test_a_partners_certificate_is_revoked_while_the_station_runs_and_nothing_goes_under_it_any_more(
    world: World, log: Log
) -> None:
    world.know(a_encrypt_files=True)
    await start(world.a, world.b)
    assert (await world.a.call(CODE_B)).last_error is None

    world.publish(world.cert_b)
    line = await logged(log, f"the certificate of {CODE_B} b.test is used for nothing: revoked on ")

    assert "CN=" in line
    assert f"'oftp2d exchange request {CODE_B}'" in line
    status = await world.a.ask("/v1/status")
    assert any("revoked on" in warning for warning in status["warnings"])
    (entry,) = await world.a.audit("certificate revoked")
    assert entry.detail["fingerprint"] == world.cert_b.fingerprint
    # Neither a session by the one that answers with it ...
    refused = await world.a.call(CODE_B)
    assert "revoked on" in str(refused.last_error)
    # ... nor a file for its key.
    queued = await world.a.queue(CODE_B, CONTENT, security=SecurityLevel.ENCRYPTED, cipher=4, envelope=1)
    world.a.running.securing.nudge()
    failed = await world.state(world.a, TransferState.FAILED)
    assert failed.id == queued.id
    assert "revoked on" in failed.text
    assert "oftp2d exchange request" in failed.text


@pytest_twisted.ensureDeferred
async def test_a_caller_that_shows_a_revoked_certificate_is_not_let_in(world: World, log: Log) -> None:
    world.publish(world.cert_b)
    world.know()
    await start(world.a, world.b)
    await logged(log, "is used for nothing: revoked on ")

    await world.b.call(CODE_A)

    assert log.lines("TLS: its certificate", "revoked on")


@pytest_twisted.ensureDeferred
async def test_a_file_that_waits_to_go_is_secured_anew_when_its_certificate_is_revoked(world: World, log: Log) -> None:
    other = pki.make(
        subject="CN=b-older.test,O=Station B,C=FR", station=CODE_B, issuer=world.of_b, days=(-50, 300), points=()
    )
    world.know()
    with world.a._closed() as (ledger, store):
        partner = ledger.partners.list()[0]
        held = ledger.certificates.list()
        store.import_partner(other.der, partner_id=partner.id, station=CODE_B, now=datetime.now(UTC))
        for entry in [*held, *ledger.certificates.list(partner_id=partner.id)]:
            if entry.fingerprint == world.cert_b.fingerprint and entry.partner_id:
                store.import_partner(world.cert_b.der, partner_id=partner.id, station=CODE_B, now=datetime.now(UTC))
    await world.a.start()
    await world.a.set(CODE_B, host=None)
    await world.a.queue(CODE_B, CONTENT, security=SecurityLevel.ENCRYPTED, cipher=4, envelope=1)
    world.a.running.securing.nudge()
    queued = await world.state(world.a, TransferState.QUEUED)
    assert queued.recipients == (world.cert_b.fingerprint,)

    world.publish(world.cert_b)
    await logged(log, "is secured anew before it goes", queued.id)
    failed = await world.state(world.a, TransferState.FAILED)

    assert "revoked on" in failed.text


@pytest_twisted.ensureDeferred
async def test_a_delivered_certificate_that_is_revoked_is_refused_although_its_list_was_never_read_before(
    world: World, log: Log
) -> None:
    introduce(world.a, world.b)
    successor = pki.make(
        subject="CN=b.test,O=Station B,C=FR",
        station=CODE_B,
        issuer=world.of_b,
        hosts=("b.test",),
        points=(f"{world.authority.url}/other.crl",),
    )
    world.authority.put("/other.crl", pki.crl(world.of_b, revoked=[successor]))
    with world.b._closed() as (_, store):
        store.adopt(
            successor.key, successor.certificate, alias="successor", now=datetime.now(UTC), station=CODE_B, usages=None
        )
    await start(world.a, world.b)

    assert (await world.b.run("exchange", "deliver", CODE_A, "--certificate", "successor"))[0] == 0
    await world.b.call(CODE_A)

    async def refused() -> bool:
        return [each.state for each in await world.a.exchanges()] == [ExchangeState.REFUSED]

    await eventually("the refusal", refused)
    (record,) = await world.a.exchanges()
    assert "revoked on" in record.text


async def refused_stranger(world: World) -> None:
    """B delivers a certificate that its authority has issued, and that A refuses: it is not the announced one."""
    introduce(world.a, world.b)
    point = world.authority.put("/other.crl", pki.crl(world.of_b))
    stranger = pki.make(subject="CN=stranger.test", station=CODE_B, issuer=world.of_b, points=(point,))
    with world.b._closed() as (_, store):
        store.adopt(
            stranger.key, stranger.certificate, alias="stranger", now=datetime.now(UTC), station=CODE_B, usages=None
        )
    await start(world.a, world.b)
    assert (await world.b.run("exchange", "deliver", CODE_A, "--certificate", "stranger"))[0] == 0
    await world.b.call(CODE_A)

    async def refused() -> bool:
        return [each.state for each in await world.a.exchanges()] == [ExchangeState.REFUSED]

    await eventually("the refusal", refused)


@pytest_twisted.ensureDeferred
async def test_a_list_that_a_peer_made_us_ask_about_is_kept_young_and_forgotten_in_the_end(
    tmp_path: Path, authority: Authority, log: Log
) -> None:
    world = World(tmp_path, authority, age=3)
    try:
        await refused_stranger(world)
        await world.read("/other.crl", times=2)

        async def gone() -> bool:
            return await world.record("/other.crl") is None

        await eventually("the list to be forgotten", gone)
    finally:
        await world.stop()


@pytest_twisted.ensureDeferred
async def test_a_peer_cannot_make_us_read_ever_more_lists(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oftp2d.revocations.MOST_LISTS", 1)
    await refused_stranger(world)
    await world.read(world.path_a, times=2)
    assert world.authority.count("/other.crl") == 0


@pytest_twisted.ensureDeferred
async def test_a_host_that_hangs_holds_up_no_news_of_another(world: World, log: Log) -> None:
    slow = [
        world.authority.misbehave(f"/slow{n}.crl", Mischief.HANG).replace("127.0.0.1", "localhost") for n in range(4)
    ]
    hanging = pki.make(subject="CN=slow.test", station=CODE_B, issuer=world.of_b, days=(-50, 300), points=slow)
    introduce(world.a, world.b)
    with world.a._closed() as (ledger, store):
        partner = ledger.partners.list()[0]
        for octets in (hanging.der, world.cert_b.der):
            store.import_partner(octets, partner_id=partner.id, station=CODE_B, now=datetime.now(UTC))
    world.publish(world.cert_b)
    await world.a.start()

    await logged(log, f"the certificate of {CODE_B} b.test is used for nothing: revoked on ")

    async def hangs() -> list[str]:
        return [path for path in world.authority.requests if path.startswith("/slow")]

    assert len(await eventually("the first that hangs", hangs)) == 1


def test_lists_are_read_first_in_first_out_one_of_each_host_at_a_time_and_for_so_long_only() -> None:
    clock = Clock()
    issuer = CertificateFacts.of(pki.issuing("A").der)
    urls = [f"http://{name}.test/{n}" for n in range(3) for name in ("one", "two")]
    queue = Queue([(url, issuer) for url in urls], clock.seconds)

    def taken() -> str | None:
        found = queue.take()
        return found and found[0]

    assert [taken(), taken(), taken()] == [urls[0], urls[1], None]
    queue.over(urls[1])
    assert [taken(), taken()] == [urls[3], None]
    clock.advance(HOST_SECONDS)
    queue.over(urls[0])
    queue.over(urls[3])
    assert (taken(), len(queue)) == (None, 3)

    queue = Queue([(url, issuer) for url in urls], clock.seconds)
    clock.advance(ROUND_SECONDS)
    assert taken() is None


@pytest_twisted.ensureDeferred
async def test_our_own_certificate_is_revoked_and_people_are_told_what_to_do(world: World, log: Log) -> None:
    world.publish(world.cert_a)
    world.know()
    await start(world.a, world.b)

    line = await logged(log, "our certificate station is used for nothing: revoked on ")
    assert "'oftp2d cert import'" in line

    code, said = await world.a.run("exchange", "deliver", CODE_B, "--certificate", "station")
    assert code != 0
    assert "is used for nothing: revoked on" in said
    # The administration goes on: another one is imported, and calls are answered again.
    another = pki.make(
        subject="CN=a0.test,O=Station A,C=DE", station=CODE_A, issuer=world.of_a, hosts=("a0.test",), points=()
    )
    file = world.a.home / "another.p12"
    file.write_bytes(another.pem + another.key_pem)
    code, said = await world.a.run("cert", "import", str(file), "--own")
    assert code == 0, said
    await world.b.set(CODE_A, server_name="a0.test")
    await rewire(world.a, world.b)
    await world.b.call(CODE_A)
    assert (await world.b.partner(CODE_A)).last_error is None


@pytest_twisted.ensureDeferred
async def test_what_was_read_counts_after_a_restart_although_nothing_can_be_read_then(world: World, log: Log) -> None:
    world.publish(world.cert_b)
    world.know()
    await start(world.a, world.b)
    await logged(log, "is used for nothing: revoked on ")
    world.authority.fail(world.path_b)
    world.authority.fail(world.path_a)

    await world.a.restart()
    await rewire(world.a, world.b)
    refused = await world.a.call(CODE_B)

    assert "revoked on" in str(refused.last_error)
    assert len(log.lines(" error ", "is used for nothing: revoked on ")) == 1, "it is told once"
    assert len(await world.a.audit("certificate revoked")) == 1


@pytest_twisted.ensureDeferred
async def test_a_list_that_cannot_be_renewed_grows_too_old_and_counts_again_when_it_can(
    tmp_path: Path, authority: Authority, log: Log
) -> None:
    world = World(tmp_path, authority, age=2)
    world.know()
    try:
        await start(world.a, world.b)
        await world.read(world.path_b)
        authority.fail(world.path_b, 503)
        await logged(log, CODE_B, "is used for nothing: the revocation list of", "old, it could not be renewed")
        assert "answered with 503" in await logged(log, "a revocation list cannot be read")
        refused = await world.a.call(CODE_B)
        assert "it could not be renewed" in str(refused.last_error)

        world.publish()
        await logged(log, "counts again")
        assert (await world.a.call(CODE_B)).last_error is None
    finally:
        await world.stop()


@pytest_twisted.ensureDeferred
async def test_a_list_that_was_never_read_is_tolerated_and_told_of(world: World, log: Log) -> None:
    world.authority.fail(world.path_b)
    world.know()
    await start(world.a, world.b)

    line = await logged(log, "a revocation list cannot be read", "answered with 404")
    assert world.path_b in line
    assert (await world.a.call(CODE_B)).last_error is None
    status = await world.a.ask("/v1/status")
    assert any("could not be read yet" in warning for warning in status["warnings"])
    await world.read(world.path_b, 3)
    assert len(log.lines("a revocation list cannot be read", world.path_b)) == 1


@pytest_twisted.ensureDeferred
async def test_strict_refuses_who_has_a_list_that_was_never_read(
    tmp_path: Path, authority: Authority, log: Log
) -> None:
    world = World(tmp_path, authority, mode="strict")
    authority.fail(world.path_b)
    world.know()
    try:
        await start(world.a, world.b)
        await logged(log, "is used for nothing: the revocation list of", "was not read yet")
        refused = await world.a.call(CODE_B)
        assert "was not read yet" in str(refused.last_error)
    finally:
        await world.stop()


@pytest.mark.parametrize("mischief", [Mischief.HANG, Mischief.ENDLESS])
@pytest_twisted.ensureDeferred
async def test_no_session_waits_for_a_server_that_never_ends(world: World, mischief: Mischief) -> None:
    world.authority.misbehave(world.path_b, mischief)
    world.authority.misbehave(world.path_a, mischief)
    world.know()
    await start(world.a, world.b)
    await world.read(world.path_a)
    before = CLOCK.seconds()

    assert (await world.a.call(CODE_B)).last_error is None

    # What they wait for would take minutes.
    assert CLOCK.seconds() - before < 20


@pytest_twisted.ensureDeferred
async def test_a_list_that_somebody_else_signed_or_an_older_one_changes_nothing(world: World, log: Log) -> None:
    world.publish()
    world.know()
    await start(world.a, world.b)
    await world.read(world.path_b)
    first = await world.record(world.path_b)

    world.authority.put(world.path_b, pki.crl(world.of_b, revoked=[world.cert_b], signer=world.of_a, number=9))
    await logged(log, "a revocation list cannot be read", "did not sign the list")
    world.authority.put(world.path_b, pki.crl(world.of_b, revoked=[world.cert_b], number=0, issued=-3))
    await logged(log, "a revocation list cannot be read", "older than the one that was read before")

    assert first is not None
    kept = await world.record(world.path_b)
    assert kept is not None
    assert kept.number == first.number
    assert (await world.a.call(CODE_B)).last_error is None


@pytest_twisted.ensureDeferred
async def test_a_list_that_is_switched_off_is_not_read(tmp_path: Path, authority: Authority, log: Log) -> None:
    world = World(tmp_path, authority, mode="off")
    world.publish(world.cert_b)
    world.know()
    try:
        await start(world.a, world.b)
        assert (await world.a.call(CODE_B)).last_error is None
        assert authority.requests == []
    finally:
        await world.stop()


@pytest_twisted.ensureDeferred
async def test_a_file_that_was_signed_with_a_revoked_certificate_is_refused_and_the_text_says_why(
    world: World, log: Log
) -> None:
    """Signed while nobody knew, opened when everybody does."""
    world.know(b_sign_files=True, b_client_certificate=False)
    tls = pki.make(
        subject="CN=b.test TLS,O=Station B,C=FR", station=CODE_B, issuer=world.of_b, hosts=("b.test",), points=()
    )
    world.divide(world.b, Usage.SIGNATURE, tls)
    await start(world.a, world.b)
    await world.read(world.path_b)
    world.publish(world.cert_b)
    await logged(log, "is used for nothing: revoked on ")

    await world.b.queue(CODE_A, CONTENT, security=SecurityLevel.SIGNED, cipher=4, envelope=1)
    world.b.running.securing.nudge()
    await world.state(world.b, TransferState.QUEUED)
    await world.b.call(CODE_A)

    refused = await world.state(world.a, TransferState.REFUSED)
    assert refused.reason == f"NERP {NegativeResponseReason.INVALID_SIGNATURE:02}"
    assert "b.test" in refused.text
    assert "revoked on" in refused.text
    assert world.a.inbox() == []


@pytest_twisted.ensureDeferred
async def test_a_file_that_was_encrypted_for_our_revoked_certificate_is_not_opened(world: World, log: Log) -> None:
    world.know(b_encrypt_files=True)
    tls = pki.make(
        subject="CN=a0.test TLS,O=Station A,C=DE", station=CODE_A, issuer=world.of_a, hosts=("a0.test",), points=()
    )
    world.divide(world.a, Usage.ENCRYPTION, tls)
    world.publish(world.cert_a)
    await start(world.a, world.b)
    await logged(log, "our certificate station is used for nothing: revoked on ")

    await world.b.queue(CODE_A, CONTENT, security=SecurityLevel.ENCRYPTED, cipher=4, envelope=1)
    world.b.running.securing.nudge()
    await world.state(world.b, TransferState.QUEUED)
    await world.b.call(CODE_A)

    refused = await world.state(world.a, TransferState.REFUSED)
    assert refused.reason == f"NERP {NegativeResponseReason.DECRYPTION_FAILED:02}"
    assert "revoked on" in refused.text


@pytest_twisted.ensureDeferred
async def test_the_lists_are_shown_with_their_age_and_read_on_request(world: World, log: Log) -> None:
    world.a.settings = world.a.settings.replace("refresh_seconds = 1", "refresh_seconds = 3600")
    world.publish(7, next_update=30)
    world.authority.fail(world.path_a)
    world.know()
    await start(world.a, world.b)
    await logged(log, "read the revocation list of", world.path_b)
    await logged(log, "a revocation list cannot be read", "answered with 404")

    code, shown = await world.a.run("trust", "list")
    document = await world.a.ask("/v1/trust")
    asked = world.authority.count(world.path_b)
    world.publish(next_update=30)
    refreshed, said = await world.a.run("trust", "refresh")

    assert (code, refreshed) == (0, 0)
    assert str(world.of_b.certificate.subject.rfc4514_string()).split(",")[0] in shown
    assert "not read yet" in shown
    assert "404" in shown
    (of_b,) = (each for each in document["revocation"]["lists"] if each["url"].endswith(world.path_b))
    assert (of_b["revoked"], of_b["number"], of_b["error"], of_b["too_old"]) == (1, "2", None, False)
    assert of_b["age_seconds"] < 60
    assert world.authority.count(world.path_b) == asked + 1
    assert "404" not in said


@pytest_twisted.ensureDeferred
async def test_lists_that_nobody_wants_any_more_are_forgotten(tmp_path: Path, authority: Authority, log: Log) -> None:
    world = World(tmp_path, authority, age=2)
    world.know()
    try:
        await start(world.a, world.b)
        await logged(log, "read the revocation list of", world.path_b)
        (held,) = await world.a.certificates(CODE_B)
        await world.a.db(world.a.ledger.certificates.remove, held.id)

        async def gone() -> bool:
            return await world.record(world.path_b) is None

        await eventually("the list to be forgotten", gone)
        assert await world.record(world.path_a) is not None
    finally:
        await world.stop()


@pytest_twisted.ensureDeferred
async def test_a_signed_receipt_counts_as_soon_as_the_list_of_its_signers_authority_can_be_read_again(
    tmp_path: Path, authority: Authority, log: Log
) -> None:
    world = World(tmp_path, authority, age=2)
    world.know(a_signed_receipts=True)
    tls = pki.make(
        subject="CN=b.test TLS,O=Station B,C=FR", station=CODE_B, issuer=world.of_b, hosts=("b.test",), points=()
    )
    world.divide(world.b, Usage.EERP_SIGNATURE, tls)
    try:
        await start(world.a, world.b)
        await logged(log, "read the revocation list of", world.path_b)
        authority.fail(world.path_b, 503)
        await logged(log, CODE_B, "is used for nothing: the revocation list of")

        await world.a.queue(CODE_B, CONTENT, cipher=4, signed_response=True)
        world.a.running.securing.nudge()
        await world.state(world.a, TransferState.QUEUED)
        await world.a.call(CODE_B)
        line = await logged(log, "the EERP for ORDERS does not count")
        assert "the revocation list of" in line
        assert (await world.state(world.a, TransferState.SENT)).text

        world.publish()
        await world.state(world.a, TransferState.ACKNOWLEDGED)
        assert log.lines("that did not count before counts now")
    finally:
        await world.stop()


@pytest_twisted.ensureDeferred
async def test_no_session_is_authenticated_with_a_revoked_certificate(world: World, log: Log) -> None:
    world.know(authentication=Authentication.ON)
    tls = pki.make(
        subject="CN=b.test TLS,O=Station B,C=FR", station=CODE_B, issuer=world.of_b, hosts=("b.test",), points=()
    )
    world.divide(world.b, Usage.AUTHENTICATION, tls)
    await start(world.a, world.b)
    assert (await world.a.call(CODE_B)).last_error is None

    world.publish(world.cert_b)
    await logged(log, "is used for nothing: revoked on ")
    await world.a.call(CODE_B)

    assert log.lines(f"there is no certificate of {CODE_B} for session authentication", "revoked on")
    listed, shown = await world.a.run("cert", "list")
    assert listed == 0
    assert "(barred)" in shown
    code, shown = await world.a.run("cert", "show", world.cert_b.fingerprint[:16])
    assert code == 0
    assert "revoked on" in shown
