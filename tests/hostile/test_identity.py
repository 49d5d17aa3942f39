"""Who may connect: codes, passwords, how often one may guess, and how many may stand in the door."""

from __future__ import annotations

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import Deferred, gatherResults

from oftp2 import commands as c
from oftp2.reasons import EndSessionReason as End
from tests.exchange.peer import GoneError, Peer, Tls, call, session
from tests.exchange.station import CODE_A, CODE_B, PASSWORD_B, Log, Station, eventually, pause
from tests.hostile.mischief import OTHER, SUB_STATION, greeted, one_complaint, serves, ssid


async def answer(station: Station, **fields: object) -> c.Command:
    """What the station says to this SSID; the connection is closed then."""
    async with call(station) as peer:
        await greeted(peer)
        peer.send(ssid(**fields))  # type: ignore[arg-type]  # as the test gives them
        said = await peer.command()
        peer.hang_up()
        await peer.gone()
    return said


@pytest.mark.rfc("5.3.11")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code": "O0013000009NOBODY"}, End.USER_CODE_NOT_KNOWN),
        ({"code": ""}, End.USER_CODE_NOT_KNOWN),
        ({"code": CODE_A}, End.USER_CODE_NOT_KNOWN),
        ({"code": CODE_B.lower()}, End.USER_CODE_NOT_KNOWN),
        ({"code": SUB_STATION}, End.USER_CODE_NOT_KNOWN),
        ({"code": "' OR 1=1 --"}, End.USER_CODE_NOT_KNOWN),
        ({"code": "../../etc/passwd"}, End.USER_CODE_NOT_KNOWN),
        ({"code": "{partner}%s%n"}, End.USER_CODE_NOT_KNOWN),
        ({"password": ""}, End.INVALID_PASSWORD),
        ({"password": "bravo-7y"}, End.INVALID_PASSWORD),
        ({"password": PASSWORD_B[:-1]}, End.INVALID_PASSWORD),
        ({"code": OTHER}, End.INVALID_PASSWORD),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_code_or_password_is_refused_and_named_in_one_line(
    fields: dict[str, str], reason: End, victim: Station, log: Log
) -> None:
    await victim.start()
    said = await answer(victim, **fields)
    assert isinstance(said, c.Esid)
    assert said.reason is reason
    await victim.idle()
    one_complaint(log, fields.get("code", CODE_B) or "unknown", "session 1 with 127.0.0.1:", f"ESID {reason.value:02}")
    assert fields.get("password") in {None, ""} or str(fields["password"]) not in log.text
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_one_that_guesses_too_often_is_not_answered_for_a_while(victim: Station, log: Log) -> None:
    victim.settings = "[limits]\nbad_passwords = 3\nbad_password_seconds = 2"
    await victim.start()
    for password in ("A", "B", "C"):
        assert isinstance(await answer(victim, password=password), c.Esid)
    for _ in range(2):
        with pytest.raises(GoneError):
            await answer(victim)
    # Once a minute is enough: who is not answered shall not write the log either.
    assert len(log.lines("warn", "calls from 127.0.0.1 are not answered: too many wrong codes or passwords")) == 1
    await pause(2.1)
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_guesses_made_at_once_are_counted_too(victim: Station) -> None:
    victim.settings = "[limits]\nbad_passwords = 3\nmax_sessions_per_peer_address = 50"
    await victim.start()
    connections = [call(victim) for _ in range(12)]
    peers = [await greeted(await each.__aenter__()) for each in connections]
    for index, peer in enumerate(peers[:-1]):
        peer.send(ssid(password=f"TRY{index}"))
    said = [await peer.command() for peer in peers[:-1]]
    peers[-1].send(ssid())
    said.append(await peers[-1].command())
    for each in connections:
        await each.__aexit__(None, None, None)
    told_wrong = [esid for esid in said if isinstance(esid, c.Esid) and esid.reason is End.INVALID_PASSWORD]
    assert len(told_wrong) == 3
    assert isinstance(said[-1], c.Esid)
    assert said[-1].reason is End.RESOURCES_NOT_AVAILABLE


@pytest_twisted.ensureDeferred
async def test_a_partner_that_is_inactive_or_removed_is_a_stranger(victim: Station) -> None:
    await victim.start()
    await victim.set(CODE_B, active=False)
    said = await answer(victim)
    assert isinstance(said, c.Esid)
    assert said.reason is End.USER_CODE_NOT_KNOWN
    await victim.idle()
    await victim.db(victim.ledger.partners.remove, (await victim.partner(CODE_B)).id, victim.running.context.now())
    said = await answer(victim)
    assert isinstance(said, c.Esid)
    assert said.reason is End.USER_CODE_NOT_KNOWN


@pytest_twisted.ensureDeferred
async def test_of_fifty_connections_of_one_address_ten_are_heard(victim: Station, log: Log) -> None:
    await victim.start()
    connections = [call(victim) for _ in range(50)]
    peers = await gatherResults([Deferred.fromCoroutine(each.__aenter__()) for each in connections])
    heard = [peer for peer in peers if await _hears(peer)]
    assert len(heard) == 10
    assert len(victim.running.sessions()) == 10
    assert len(log.lines("warn", "are not answered: 10 sessions of this address are open")) == 1
    for each in connections:
        await each.__aexit__(None, None, None)
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_connections_that_were_told_to_go_and_stay_still_count(victim: Station) -> None:
    await victim.start()
    connections = [call(victim) for _ in range(30)]
    heard = 0
    for each in connections:
        peer = await each.__aenter__()
        if await _hears(peer):
            heard += 1
            peer.write(b"garbage")
            await peer.expect(c.Esid)
    assert heard == 10
    for each in connections:
        await each.__aexit__(None, None, None)
    await victim.idle()

    async def forgotten() -> bool:
        return not victim.running.running.from_address("127.0.0.1")

    await eventually("the end of all connections", forgotten)
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_more_sessions_than_the_station_bears_are_told_so(victim: Station) -> None:
    victim.settings = "[limits]\nmax_sessions = 1"
    await victim.start()
    async with session(victim) as first:
        said = await answer(victim, code=OTHER, password="OTHER-6X")
        assert isinstance(said, c.Esid)
        assert said.reason is End.RESOURCES_NOT_AVAILABLE
        await first.leave()
    await serves(victim)


# --- slowness and TLS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest_twisted.ensureDeferred
async def test_one_that_says_who_it_is_octet_by_octet_is_cut_off_in_time(tls: bool, victim: Station, log: Log) -> None:
    victim.settings = "[limits]\nhandshake_seconds = 1"
    await victim.start()
    async with call(victim, tls=tls) as peer:
        await greeted(peer)
        for octet in b"\x10\x00\x00\x41X5":
            peer.write(bytes([octet]))
            await pause(0.3)
        esid = await peer.ended()
        assert esid.reason is End.TIME_OUT
    await victim.idle()
    one_complaint(log, "session 1 with 127.0.0.1:", "within 1 seconds")
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_one_that_says_nothing_at_all_is_cut_off_in_time_before_and_within_tls(victim: Station, log: Log) -> None:
    victim.settings = "[limits]\nhandshake_seconds = 1"
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        assert (await peer.ended()).reason is End.TIME_OUT
    async with call(victim, port=victim.port("tls")) as peer:
        await peer.gone()
    await victim.idle()
    lines = log.complaints()
    assert len(lines) == 2, lines
    assert "the handshake took more than 1 seconds" in lines[1]
    await serves(victim, tls=True)


def _old(tls: SSL.Context) -> None:
    tls.set_cipher_list(b"ALL:@SECLEVEL=0")
    tls.set_min_proto_version(SSL.TLS1_VERSION)
    tls.set_max_proto_version(SSL.TLS1_1_VERSION)


def _without_secrecy(tls: SSL.Context) -> None:
    tls.set_max_proto_version(SSL.TLS1_2_VERSION)
    tls.set_cipher_list(b"AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0")


def _null(tls: SSL.Context) -> None:
    tls.set_max_proto_version(SSL.TLS1_2_VERSION)
    tls.set_cipher_list(b"aNULL:eNULL:@SECLEVEL=0")


@pytest.mark.rfc("2.3")
@pytest.mark.interop(8)
@pytest.mark.parametrize("shape", [_old, _without_secrecy, _null])
@pytest_twisted.ensureDeferred
async def test_old_or_weak_tls_gets_no_session_and_one_line(shape: object, victim: Station, log: Log) -> None:
    await victim.start()
    async with call(victim, tls=Tls(shape=shape)) as peer:  # type: ignore[arg-type]  # one of the above
        await peer.gone()
        assert not peer.wire.arrived
    await victim.idle()
    one_complaint(log, "127.0.0.1", "TLS failed")
    await serves(victim, tls=True)


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(2000), b"\x16\x03\x01\x40\x00" + b"\x01" * 20_000])
@pytest_twisted.ensureDeferred
async def test_garbage_on_the_tls_port_gets_no_session_and_one_line(octets: bytes, victim: Station, log: Log) -> None:
    await victim.start()
    async with call(victim, port=victim.port("tls")) as peer:
        peer.write(octets)
        await peer.gone()
    await victim.idle()
    one_complaint(log, "127.0.0.1", "TLS failed")
    await serves(victim, tls=True)


@pytest_twisted.ensureDeferred
async def test_tls_on_the_plain_port_is_no_command(victim: Station, log: Log) -> None:
    await victim.start()
    async with call(victim, tls=True, port=victim.port("tcp")) as peer:
        await peer.gone()
    await victim.idle()
    one_complaint(log, "session 1 with 127.0.0.1:", "ESID 01")
    await serves(victim)


@pytest.mark.interop(8)
@pytest_twisted.ensureDeferred
async def test_renegotiation_is_not_done(victim: Station) -> None:
    def only_1_2(tls: SSL.Context) -> None:
        tls.set_max_proto_version(SSL.TLS1_2_VERSION)

    await victim.start()
    async with session(victim, tls=Tls(shape=only_1_2)) as peer:
        connection: SSL.Connection = peer.wire.transport.getHandle()
        connection.renegotiate()
        peer.send(c.Cd())
        try:
            said = await peer.command()
        except GoneError:
            said = None
        assert said is None or isinstance(said, c.Esid)
        assert connection.total_renegotiations() <= 1
    await serves(victim, tls=True)


async def _hears(peer: Peer) -> bool:
    try:
        await greeted(peer)
    except GoneError:
        return False
    return True
