"""Octets that are no OFTP, or no good OFTP: each ends its session with the right reason and one line, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted

from oftp2 import codec
from oftp2 import commands as c
from oftp2.framing import frame
from oftp2.reasons import EndSessionReason as End
from oftp2.values import SecurityLevel
from tests.exchange.peer import Peer, call, session
from tests.exchange.station import CODE_A, CODE_B, Log, Station
from tests.hostile.mischief import greeted, one_complaint, raw, serves, ssid


def encoded(command: c.Command) -> bytes:
    return codec.encode(command)


SSID = encoded(ssid())
SFID = encoded(
    c.Sfid(
        dataset="ORDERS",
        date="20260102",
        time="0304050001",
        destination=CODE_A,
        originator=CODE_B,
        size=1,
        original_size=1,
    )
)


def at(octets: bytes, position: int, piece: bytes) -> bytes:
    return octets[:position] + piece + octets[position + len(piece) :]


# In the layout of RFC 5024 5.3.2: level 1, code 2, password 27, buffer 35, mode 40, compression, restart, logic, credit 44.
UNIDENTIFIED: dict[str, tuple[bytes, End]] = {
    "http": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", End.COMMAND_NOT_RECOGNISED),
    "a tls hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), End.COMMAND_NOT_RECOGNISED),
    "another version in the header": (b"\x20\x00\x00\x05F", End.COMMAND_NOT_RECOGNISED),
    "flags in the header": (b"\x11\x00\x00\x05F", End.COMMAND_NOT_RECOGNISED),
    "an empty buffer": (b"\x10\x00\x00\x04", End.BUFFER_SIZE_ERROR),
    "less than its own header": (b"\x10\x00\x00\x00", End.BUFFER_SIZE_ERROR),
    "16 MiB announced": (b"\x10\xff\xff\xff", End.BUFFER_SIZE_ERROR),
    "100,000 octets announced": (b"\x10\x01\x86\xa4", End.BUFFER_SIZE_ERROR),
    "an unknown command": (raw(b"Zwhatever"), End.COMMAND_NOT_RECOGNISED),
    "a command that is not ascii": (raw(b"\xff\x00"), End.COMMAND_NOT_RECOGNISED),
    "an ssid cut short": (raw(SSID[:40]), End.BUFFER_SIZE_ERROR),
    "an ssid too long": (raw(SSID + b"more"), End.BUFFER_SIZE_ERROR),
    "letters for the buffer size": (raw(at(SSID, 35, b"12x45")), End.INVALID_DATA),
    "a negative credit": (raw(at(SSID, 44, b"-01")), End.INVALID_DATA),
    "no such mode": (raw(at(SSID, 40, b"X")), End.INVALID_DATA),
    "neither yes nor no": (raw(at(SSID, 41, b"?")), End.INVALID_DATA),
    "control characters in the code": (raw(at(SSID, 2, b"O\r\nESID 00\x1b[2J")), End.INVALID_DATA),
    "octets above ascii in the code": (raw(at(SSID, 2, "Ö".encode())), End.INVALID_DATA),
    "a buffer of 127 octets": (raw(at(SSID, 35, b"00127")), End.INVALID_DATA),
    "a buffer of no octets": (raw(at(SSID, 35, b"00000")), End.INVALID_DATA),
    "no credit": (raw(at(SSID, 44, b"000")), End.INVALID_DATA),
    "level 3": (raw(at(SSID, 1, b"3")), End.INCOMPATIBLE),
    "level 0": (raw(at(SSID, 1, b"0")), End.INCOMPATIBLE),
    "a file before who it is from": (raw(SFID), End.PROTOCOL_VIOLATION),
    "the turn first": (raw(b"R"), End.PROTOCOL_VIOLATION),
    "our own greeting": (raw(encoded(c.Ssrm())), End.PROTOCOL_VIOLATION),
    "an answer to no challenge": (raw(encoded(c.Aurp(response=bytes(20)))), End.PROTOCOL_VIOLATION),
    "data first": (raw(b"D\x83abc"), End.PROTOCOL_VIOLATION),
}


@pytest.mark.rfc("5.3.11")
@pytest.mark.interop(7)
@pytest.mark.parametrize("what", UNIDENTIFIED)
@pytest_twisted.ensureDeferred
async def test_before_anybody_is_identified_nonsense_is_answered_with_its_reason(
    what: str, victim: Station, log: Log
) -> None:
    octets, reason = UNIDENTIFIED[what]
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        peer.write(octets)
        esid = await peer.ended()
        assert esid.reason is reason, esid
    await victim.idle()
    line = one_complaint(log, "session 1 with 127.0.0.1:")
    assert "\x1b" not in line
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_over_tls_the_same_nonsense_is_answered_the_same_way(victim: Station, log: Log) -> None:
    await victim.start()
    for octets, reason in UNIDENTIFIED.values():
        async with call(victim, tls=True) as peer:
            await greeted(peer)
            peer.write(octets)
            assert (await peer.ended()).reason is reason
    await victim.idle()
    assert len(log.complaints()) == len(UNIDENTIFIED)
    await serves(victim, tls=True)


# Sent by the Speaker of a session that stands.
IDENTIFIED: dict[str, tuple[bytes, End]] = {
    "another ssid": (raw(SSID), End.PROTOCOL_VIOLATION),
    "data without a file": (raw(b"D\x83abc"), End.PROTOCOL_VIOLATION),
    "the end of no file": (raw(encoded(c.Efid(octets=1))), End.PROTOCOL_VIOLATION),
    "credit for nothing": (raw(encoded(c.Cdt())), End.PROTOCOL_VIOLATION),
    "an answer to no file": (raw(encoded(c.Sfpa())), End.PROTOCOL_VIOLATION),
    "a confirmation of no file": (raw(encoded(c.Efpa())), End.PROTOCOL_VIOLATION),
    "readiness nobody asked for": (raw(encoded(c.Rtr())), End.PROTOCOL_VIOLATION),
    "a challenge nobody agreed on": (raw(encoded(c.Secd())), End.PROTOCOL_VIOLATION),
    "an unknown command": (raw(b"~"), End.COMMAND_NOT_RECOGNISED),
    "a buffer of 99,999 octets that is no command": (raw(b"?" * 99_999), End.COMMAND_NOT_RECOGNISED),
    "an sfid cut short": (raw(SFID[:-1]), End.BUFFER_SIZE_ERROR),
    "an sfid too long": (raw(SFID + b"x"), End.BUFFER_SIZE_ERROR),
    "a description longer than its length": (raw(SFID[:-3] + b"999short"), End.BUFFER_SIZE_ERROR),
    "letters for a size": (raw(SFID.replace(b"0000000000001", b"000000000000x", 1)), End.INVALID_DATA),
    "a date of letters": (raw(SFID.replace(b"20260102", b"2026JAN1")), End.INVALID_DATA),
    "control characters in the name": (raw(at(SFID, 1, b"A\x00\x1b[2J\r\n")), End.INVALID_DATA),
    "octets above ascii in the name": (raw(at(SFID, 1, "ÄÖÜ".encode())), End.INVALID_DATA),
    "no such format": (raw(at(SFID, SFID.index(CODE_B.encode()) + 25, b"Q")), End.INVALID_DATA),
    "no stream header": (b"F", End.COMMAND_NOT_RECOGNISED),
}


@pytest.mark.parametrize("what", IDENTIFIED)
@pytest_twisted.ensureDeferred
async def test_a_partner_that_breaks_the_rules_is_told_how_and_named_in_the_log(
    what: str, victim: Station, log: Log
) -> None:
    octets, reason = IDENTIFIED[what]
    await victim.start()
    async with session(victim) as peer:
        peer.write(octets)
        esid = await peer.ended()
        assert esid.reason is reason, esid
    await victim.idle()
    line = one_complaint(log, CODE_B, "session 1 with 127.0.0.1:", f"ESID {reason.value:02}")
    assert "\x1b" not in line
    await serves(victim)


async def receiving(peer: Peer) -> None:
    """The station receives a file from us."""
    peer.send(replace(peer.offer("ORDERS"), size=1, security=SecurityLevel.NONE))
    await peer.expect(c.Sfpa)


WITHIN_A_FILE: dict[str, tuple[bytes, End]] = {
    "a subrecord longer than its buffer": (raw(b"D\xbfabc"), End.BUFFER_SIZE_ERROR),
    "compressed octets that were not agreed": (raw(b"D\xc5x"), End.INVALID_DATA),
    "a buffer larger than agreed": (
        raw(b"D" + b"\x3f" + bytes(63) + (b"\x3f" + bytes(63)) * 600),
        End.BUFFER_SIZE_ERROR,
    ),
    "another file": (raw(SFID), End.PROTOCOL_VIOLATION),
    "the turn": (raw(encoded(c.Cd())), End.PROTOCOL_VIOLATION),
    "an end response": (
        raw(encoded(c.Eerp(dataset="X", date="20260102", time="0304050001", destination=CODE_A, originator=CODE_B))),
        End.PROTOCOL_VIOLATION,
    ),
    "more than the credit": ((raw(b"D\x81x")) * 400, End.PROTOCOL_VIOLATION),
    "goodbye": (raw(encoded(c.Esid(reason=End.NORMAL))), End.NORMAL),
}


@pytest.mark.parametrize("what", WITHIN_A_FILE)
@pytest_twisted.ensureDeferred
async def test_nonsense_within_a_file_ends_the_session_and_leaves_the_file_for_another_try(
    what: str, victim: Station, log: Log
) -> None:
    octets, reason = WITHIN_A_FILE[what]
    await victim.start()
    async with session(victim) as peer:
        await receiving(peer)
        peer.write(octets)
        if reason is not End.NORMAL:
            while isinstance(answer := await peer.command(), c.Cdt):
                pass
            assert isinstance(answer, c.Esid)
            assert answer.reason is reason, answer
        peer.hang_up()
        await peer.gone()
    await victim.idle()
    if reason is End.NORMAL:
        one_complaint(log, CODE_B, "session 1 with 127.0.0.1:", "ended by the peer, ESID 00")
    else:
        one_complaint(log, CODE_B, "session 1 with 127.0.0.1:")
    (transfer,) = await victim.transfers()
    assert transfer.state == "interrupted"
    await victim.db(victim.ledger.transfers.cancel, transfer.id, victim.running.context.now())
    for part in (victim.home / "spool" / "parts").iterdir():
        part.unlink()
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_level_of_the_future_is_answered_with_ours(victim: Station) -> None:
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        peer.write(raw(at(SSID, 1, b"9")))
        assert (await peer.expect(c.Ssid)).level == 5
        await peer.leave()


@pytest_twisted.ensureDeferred
async def test_octets_one_at_a_time_make_a_session_like_any_other(victim: Station) -> None:
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        for octet in frame(SSID):
            peer.write(bytes([octet]))
        await peer.expect(c.Ssid)
        await peer.leave()
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_what_comes_behind_the_end_is_not_even_looked_at(victim: Station, log: Log) -> None:
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        peer.write(b"\x00" * 4 + frame(SSID) + frame(SFID) + bytes(500_000))
        assert (await peer.expect(c.Esid)).reason is End.COMMAND_NOT_RECOGNISED
        peer.write(bytes(500_000))
        peer.hang_up()
        await peer.gone()
    await victim.idle()
    one_complaint(log, "session 1 with 127.0.0.1:")
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_flood_behind_the_end_of_a_session_keeps_the_station_free_for_others(victim: Station) -> None:
    await victim.start()
    async with call(victim) as peer:
        await greeted(peer)
        peer.send(c.Cd())
        assert (await peer.expect(c.Esid)).reason is End.PROTOCOL_VIOLATION
        peer.write(frame(SFID) * 100_000)
        for _ in range(5):
            async with session(victim) as other:
                await other.leave()
        peer.hang_up()
        await peer.gone()
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_one_that_vanishes_at_any_point_of_the_opening_leaves_one_line(victim: Station, log: Log) -> None:
    await victim.start()
    octets = frame(SSID)
    for index, length in enumerate((0, 1, 4, 30, len(octets)), 1):
        async with call(victim) as peer:
            await greeted(peer)
            peer.write(octets[:length])
            if length == len(octets):
                await peer.expect(c.Ssid)
            peer.wire.transport.abortConnection()
            await peer.gone()
        await victim.idle()
        assert len(log.complaints()) == index, log.text
    await serves(victim)
