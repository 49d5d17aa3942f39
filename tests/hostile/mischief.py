"""What hostile tests share: the station, the other partner, and the proof that the station is none the worse."""

from __future__ import annotations

from pathlib import Path

from oftp2 import commands as c
from oftp2.framing import frame
from oftp2d.ledger import AcxMode, Transport
from tests.exchange.peer import Peer, Tls, responses, session
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, station_a

OTHER = "O0013000003OTHER"
OTHER_PASSWORD = "OTHER-6X"
SUB_STATION = "O0013000002SUBB1"


def furnished(folder: Path) -> Station:
    station = station_a(folder)
    common = {"transport": Transport.TCP, "host": None, "acx": AcxMode.ANNOUNCED}
    station.add_partner(
        CODE_B,
        password_ours=PASSWORD_A,
        password_theirs=PASSWORD_B,
        announce="b.test",
        sub_stations=(SUB_STATION,),
        **common,
    )
    station.add_partner(OTHER, password_ours=PASSWORD_A, password_theirs=OTHER_PASSWORD, **common)
    return station


def raw(text: str | bytes) -> bytes:
    """Octets as one Exchange Buffer on the stream."""
    return frame(text.encode("latin-1") if isinstance(text, str) else text)


def ssid(code: str = CODE_B, password: str = PASSWORD_B, **fields: object) -> c.Ssid:
    usual = {"code": code, "password": password, "buffer_size": 32_768, "credit": 99}
    return c.Ssid(**(usual | fields))  # type: ignore[arg-type]  # as the test gives them


async def greeted(peer: Peer) -> Peer:
    await peer.expect(c.Ssrm)
    return peer


async def serves(station: Station, *, tls: Tls | bool = False) -> None:
    """The station is none the worse: no session is left, and the next partner is served."""
    await station.idle()
    assert not station.running.running.running()
    before = len(station.inbox())
    async with session(station, tls=tls) as peer:
        answer = await peer.send_file(peer.offer("STILL HERE", b"well"), b"well")
        assert isinstance(answer, c.Efpa), answer
        assert any(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    await station.idle()
    assert len(station.inbox()) == before + 1
    assert list((station.home / "spool" / "parts").iterdir()) == []


def one_complaint(log: Log, *words: str) -> str:
    """The one line above level info, with these words in it."""
    (line,) = log.complaints()
    assert all(word in line for word in words), line
    return line
