"""Who is let in and who is called: the certificates of TLS, both ways, and what people are told of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.reasons import EndSessionReason
from oftp2d.ledger import Transport
from tests import pki
from tests.exchange.peer import Tls, answering, call, session
from tests.exchange.station import (
    CODE_A,
    CODE_B,
    PASSWORD_A,
    PASSWORD_B,
    Log,
    Station,
    eventually,
    introduce,
    start,
    station_a,
)
from tests.pki import Issued

OTHER = "O0013000003OTHER"


def of_b(**wanted: object) -> Issued:
    usual = {
        "subject": "CN=b.test,O=Station B,C=FR",
        "station": CODE_B,
        "issuer": pki.issuing("B"),
        "hosts": ("b.test",),
    }
    return pki.make(**(usual | wanted))  # type: ignore[arg-type]  # as the test gives them


def of_other(**wanted: object) -> Issued:
    return of_b(**({"subject": "CN=other.test,O=Other", "station": OTHER, "hosts": ("other.test",)} | wanted))


BAD: dict[str, tuple[Callable[[], Issued], str]] = {
    "another partner's": (of_other, f"nothing says that it is {CODE_B}'s"),
    "untrusted": (lambda: pki.certificate("CB06"), "is not trusted"),
    "issued by the root": (lambda: pki.certificate("CB05"), "is not trusted"),
    "expired": (lambda: of_b(days=(-30, -1)), "outside its period"),
    "not yet valid": (lambda: of_b(days=(2, 30)), "outside its period"),
    "self-signed": (lambda: of_b(issuer=None), "is not trusted"),
}


# --- mutual TLS demanded: who calls -----------------------------------------------------------------------------


@pytest.fixture
def strict(a: Station) -> Station:
    """Station A, which demands a TLS certificate of B."""
    a.add_partner(
        CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, announce="b.test", client_certificate=True
    )
    a.add_partner(OTHER, password_theirs="OTHERPWD", announce="other.test")
    return a


async def refusal(station: Station, tls: Tls | bool) -> c.Esid:
    async with call(station, tls=tls) as peer:
        await peer.expect(c.Ssrm)
        peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5))
        return await peer.ended()


@pytest.mark.parametrize("what", BAD)
@pytest_twisted.ensureDeferred
async def test_where_a_certificate_is_demanded_a_wrong_one_is_refused_with_the_reason(
    what: str, strict: Station, log: Log
) -> None:
    await strict.start()
    make, why = BAD[what]
    esid = await refusal(strict, Tls(make()))
    assert esid.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
    assert esid.text.startswith("a TLS certificate of this partner is required: ")
    assert why in esid.text
    await strict.idle()
    (line,) = log.complaints()
    assert CODE_B in line
    assert why in line


@pytest_twisted.ensureDeferred
async def test_where_a_certificate_is_demanded_none_is_refused_and_plain_tcp_is_too(strict: Station) -> None:
    await strict.start()
    esid = await refusal(strict, tls=True)
    assert esid.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
    assert esid.text == "a TLS certificate of this partner is required: it showed none"
    assert (await refusal(strict, tls=False)).text == "this partner must use TLS"


@pytest_twisted.ensureDeferred
async def test_where_a_certificate_is_demanded_the_partners_own_is_let_in_announced_or_held(strict: Station) -> None:
    await strict.start()
    async with session(strict, tls=Tls(pki.certificate("CB01"))) as peer:
        await peer.deliver(pki.certificate("CB01").der)
        await peer.turn()
    for certificate in (pki.certificate("CB01"), pki.certificate("CB04")):
        async with session(strict, tls=Tls(certificate)) as peer:
            await peer.leave()


@pytest_twisted.ensureDeferred
async def test_a_withdrawn_or_switched_off_certificate_opens_no_door(a: Station) -> None:
    partner = a.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, client_certificate=True)
    own = of_b(issuer=None, subject="CN=b-own.test")
    a.hold(partner, own)
    await a.start()
    async with session(a, tls=Tls(own)) as peer:
        await peer.leave()
    (held,) = await a.certificates(CODE_B)
    await a.db(lambda: a.ledger.certificates.set_active(held.id, active=False))
    assert (await refusal(a, Tls(own))).reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_said_before_a_wrong_certificate_is_looked_at(strict: Station) -> None:
    await strict.start()
    async with call(strict, tls=True) as peer:
        await peer.expect(c.Ssrm)
        peer.send(c.Ssid(code=CODE_B, password="WRONG", buffer_size=4096, credit=5))
        assert (await peer.ended()).reason is EndSessionReason.INVALID_PASSWORD


# --- who answers our call -----------------------------------------------------------------------------------------


SERVERS: dict[str, tuple[Callable[[], Issued], str]] = BAD | {
    "another host of the same authority": (
        lambda: pki.make(subject="CN=c.test", issuer=pki.issuing("B"), hosts=("c.test",)),
        f"nothing says that it is {CODE_B}'s",
    ),
    "for clients only": (
        lambda: of_b(extended=(pki.TLS[1],)),
        "is not made for this end of TLS",
    ),
}


@pytest.mark.parametrize("what", SERVERS)
@pytest_twisted.ensureDeferred
async def test_a_wrong_certificate_of_who_answers_ends_the_call_within_tls_and_says_why(
    what: str, a: Station, log: Log
) -> None:
    make, why = SERVERS[what]
    async with answering(Tls(make())) as desk:
        a.add_partner(
            CODE_B,
            password_ours=PASSWORD_A,
            password_theirs=PASSWORD_B,
            announce="b.test",
            issuer="ca-b",
            host="127.0.0.1",
            server_name="b.test",
            port=desk.port,
        )
        await a.start()
        steps = await a.test(CODE_B)
        assert list(steps) == ["tcp", "tls"]
        assert steps["tcp"][0]
        assert not steps["tls"][0]
        assert why in steps["tls"][1]
        partner = await a.call(CODE_B)
        assert why in str(partner.last_error)
        peer = await desk.answer()
        assert not peer.wire.arrived
    code, printed = await a.run("partner", "show", CODE_B, "--json")
    assert code == 0
    assert why in printed
    assert len([line for line in log.complaints() if why in line and "the call failed" in line]) == 1


@pytest_twisted.ensureDeferred
async def test_each_way_to_know_the_one_who_answers_is_enough(a: Station) -> None:
    by_host = pki.make(subject="CN=x", issuer=pki.issuing("B"), hosts=("b.test",))
    by_code = pki.make(subject="CN=y", station=CODE_B, issuer=pki.issuing("B"), hosts=("y.test",))
    by_announcement = pki.make(subject="CN=announced.test", issuer=pki.issuing("B"), hosts=())
    a.add_partner(
        CODE_B,
        password_ours=PASSWORD_A,
        password_theirs=PASSWORD_B,
        announce="announced.test",
        issuer="ca-b",
        host="127.0.0.1",
        server_name="b.test",
        port=1,
    )
    await a.start()
    for certificate in (by_host, by_code, by_announcement):
        async with answering(Tls(certificate)) as desk:
            await a.set(CODE_B, port=desk.port)
            await a.running.dialler.call(await a.partner(CODE_B))
            peer = await desk.answer()
            await peer.greet()
            await peer.expect(c.Cd)
            await peer.leave()
            await a.idle()

            async def over() -> bool:
                return not a.running.dialler._calling

            await eventually("the end of the call", over)


@pytest_twisted.ensureDeferred
async def test_the_steps_of_a_connection_test_name_what_failed(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    steps = await a.test(CODE_B)
    assert all(ok for ok, _ in steps.values())
    assert list(steps) == ["tcp", "tls", "ready", "code", "password", "level", "leave"]
    good = (await b.partner(CODE_A)).password_theirs
    await b.set(CODE_A, password_theirs=b.vault.seal(b"OTHER"))
    assert [name for name, (ok, _) in (await a.test(CODE_B)).items() if not ok] == ["password"]
    await b.set(CODE_A, password_theirs=good, active=False)
    assert [name for name, (ok, _) in (await a.test(CODE_B)).items() if not ok] == ["code"]
    await b.set(CODE_A, active=True)
    with socket.socket() as deaf:
        # Taken, so that nobody else gets it, but nobody listens.
        deaf.bind(("127.0.0.1", 0))
        await a.set(CODE_B, port=deaf.getsockname()[1])
        ((name, (ok, text)),) = (await a.test(CODE_B)).items()
    assert (name, ok) == ("tcp", False)
    assert "cannot be reached" in text


@pytest_twisted.ensureDeferred
async def test_one_who_answers_without_tls_or_hangs_up_is_told_in_one_line(a: Station, log: Log) -> None:
    async with answering() as desk:
        a.add_partner(
            CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, host="127.0.0.1", port=desk.port, announce="b"
        )
        await a.start()
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await desk.answer()
        peer.send(c.Ssrm())
        await peer.gone()

        async def told() -> bool:
            return (await a.partner(CODE_B)).call_failures == 1

        await eventually("the failed call", told)
    assert "TLS failed" in str((await a.partner(CODE_B)).last_error)
    await a.set(CODE_B, transport=Transport.TCP)
    async with answering() as desk:
        await a.set(CODE_B, port=desk.port, next_call_at=None)
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await desk.answer()
        peer.hang_up()

        async def told_again() -> bool:
            return (await a.partner(CODE_B)).call_failures == 2

        await eventually("the second failed call", told_again)
    assert (await a.partner(CODE_B)).last_error
    assert len([line for line in log.complaints() if "the call failed" in line]) == 2


@pytest_twisted.ensureDeferred
async def test_a_station_without_a_valid_certificate_for_tls_runs_and_answers_as_soon_as_it_has_one(
    tmp_path: Path, log: Log
) -> None:
    station = station_a(tmp_path, certificate=of_b(station=CODE_A, days=(-30, -1)))
    station.add_partner(CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, announce="b.test")
    await station.start()
    try:
        assert log.lines("error", "there is no valid certificate of ours for TLS", "cert generate")
        async with call(station, tls=True) as peer:
            await peer.gone()
        assert log.lines("calls from 127.0.0.1 are not answered", "no certificate of ours that is good for TLS")
        file = tmp_path / "ours.pem"
        file.write_bytes(pki.certificate("CA01").pem)
        key = tmp_path / "ours.key"
        key.write_bytes(pki.certificate("CA01").key_pem)
        code, said = await station.run("cert", "import", str(file), "--own", "--key", str(key))
        assert code == 0, said
        async with session(station, tls=True) as peer:
            await peer.leave()
    finally:
        await station.stop()
