"""Nothing secret shows: not in the log, not in an answer of the administration, not in the ledger, not in an exception."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from pathlib import Path

import pytest_twisted
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.logger import Logger

from oftp2 import commands as c
from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2d import config
from oftp2d.ledger import Authentication, NewPartner, Transport
from oftp2d.logs import LineObserver
from tests import pki
from tests.exchange.peer import call, session
from tests.exchange.station import (
    CODE_A,
    CODE_B,
    PASSWORD_A,
    PASSWORD_B,
    Log,
    Station,
    introduce,
    start,
    station_a,
    station_b,
)
from tests.hostile.mischief import greeted, ssid
from tests.pki import Issued


def secrets_of(*stations: Station) -> list[bytes]:
    """Every secret of these stations, as it might show."""
    found = [PASSWORD_A.encode(), PASSWORD_B.encode()]
    for station in stations:
        found += [station.master_key, b64encode(station.master_key), station.vault.passphrase()]
        found += _of_key(station.certificate)
    return found


def _of_key(issued: Issued) -> list[bytes]:
    der = issued.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    numbers = issued.key.private_numbers()
    return [
        der[-200:],
        issued.key_pem.split(b"\n")[5],
        str(numbers.d).encode(),
        str(numbers.p).encode(),
        f"{numbers.d:x}".encode(),
    ]


def everything(log: Log) -> bytes:
    """All that was logged, with every field of every event."""
    shown = "".join(f"{name}={value!r} {value}\n" for event in log.events for name, value in event.items())
    return (log.text + shown).encode()


@pytest_twisted.ensureDeferred
async def test_no_secret_shows_after_an_exchange_with_authentication(log: Log, tmp_path: Path) -> None:
    a, b = station_a(tmp_path), station_b(tmp_path)
    introduce(a, b, authentication=Authentication.PREPARED)
    await start(a, b)
    try:
        await a.running.exchange.request(await a.partner(CODE_B), None, None)
        await a.call(CODE_B)
        await a.queue(CODE_B, b"content")
        await a.call(CODE_B)
        await b.set(CODE_A, password_theirs=b.vault.seal(b"ANOTHER"))
        await a.call(CODE_B)
        answers = [
            json.dumps(await station.ask(path)).encode()
            for station in (a, b)
            for path in ("/v1/status", "/v1/partners", "/v1/certificates", "/v1/exchange", "/v1/audit", "/v1/transfers")
        ]
        printed = [
            (await a.run(*command))[1].encode()
            for command in (["partner", "show", CODE_B], ["cert", "list"], ["status"], ["partner", "list", "--json"])
        ]
    finally:
        await a.stop()
        await b.stop()
    at_rest = [
        path.read_bytes()
        for station in (a, b)
        for path in station.home.rglob("*")
        if path.is_file() and path.name != "master.key" and "inbox" not in path.parts
    ]
    for secret in secrets_of(a, b):
        for place, octets in {
            "the log": everything(log),
            "an answer": b"".join(answers),
            "the terminal": b"".join(printed),
            "the home folder": b"".join(at_rest),
        }.items():
            assert secret not in octets, (place, secret[:8])
    for station in (a, b):
        for name in ("master.key", "ledger.sqlite"):
            assert (station.home / name).exists()
        assert (station.home / "master.key").stat().st_mode & 0o077 == 0
        assert station.home.stat().st_mode & 0o077 == 0


@pytest_twisted.ensureDeferred
async def test_no_password_and_no_challenge_shows_when_sessions_fail(victim: Station, log: Log) -> None:
    await victim.start()
    wrong = "WRONG-5W"
    for octets in (None, b"X5" + b" " * 25 + wrong.encode(), b"A\x00" + wrong.encode()):
        async with call(victim) as peer:
            await greeted(peer)
            if octets is None:
                peer.send(ssid(password=wrong))
            else:
                peer.write(b"\x10" + (len(octets) + 4).to_bytes(3, "big") + octets)
            esid = await peer.ended()
            assert wrong not in esid.text
    await victim.idle()
    assert wrong.encode() not in everything(log)
    assert PASSWORD_B.encode() not in everything(log)


@pytest_twisted.ensureDeferred
async def test_the_octets_of_a_challenge_show_nowhere(victim: Station, log: Log) -> None:
    theirs, ours = pki.certificate("CB01"), pki.certificate("CA01")
    partner = victim.add_partner(
        "O0013000004AUTH",
        password_theirs=PASSWORD_B,
        transport=Transport.TCP,
        authentication=Authentication.ON,
    )
    victim.hold(partner, theirs)
    await victim.start()
    secrets = []
    for wrong in (False, True):
        async with session(victim, code=partner.code, authentication=True) as peer:
            peer.send(c.Secd())
            challenge = await peer.expect(c.Auch)
            secret = open_challenge(challenge.challenge, [theirs.owner])
            peer.send(c.Aurp(response=bytes(20) if wrong else secret))
            secrets.append(secret)
            if wrong:
                await peer.ended()
                continue
            await peer.expect(c.Secd)
            envelope, own = make_challenge(ours.certificate)
            peer.send(c.Auch(challenge=envelope))
            await peer.expect(c.Aurp)
            secrets.append(own)
            await peer.leave()
    await victim.idle()
    written = everything(log)
    for secret in secrets:
        for form in (secret, secret.hex().encode(), b64encode(secret), repr(secret).encode()[2:-1]):
            assert form not in written


def test_a_line_of_the_log_holds_what_a_partner_sends_to_one_short_line() -> None:
    stream = io.StringIO()
    observer = LineObserver(stream, config.LogLevel.INFO, config.LogFormat.TEXT)
    text = "\x1b[2J\r\n2026-01-01 info forged\u2028line\u202e" + "x" * 1_000_000
    Logger(namespace="session", observer=observer).info("{partner}: refused: {text}", partner="P\nQ", text=text)
    written = stream.getvalue()
    assert len(written) < 10_000
    assert written.count("\n") == 1
    assert all(character.isprintable() for character in written[:-1])


def test_the_repr_of_what_holds_secrets_does_not_show_them() -> None:
    shown = repr(
        [
            ssid(password=PASSWORD_B),
            c.Aurp(response=b"S" * 20),
            NewPartner(code="X", name="X", station="Y", password_ours=b"SEALED1", password_theirs=b"SEALED2"),
        ]
    )
    for secret in (PASSWORD_B, "S" * 20, "SEALED1", "SEALED2"):
        assert secret not in shown
