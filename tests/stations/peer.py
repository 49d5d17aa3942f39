"""A partner that a test plays word by word, over a real TCP or TLS connection: rightly, slowly, or wrongly."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.framing import FrameReader, frame
from oftp2.reasons import EndSessionReason
from oftp2.values import Level
from oftp2d.ledger import Transport
from tests import pki
from tests.stations.house import Station, password, vanish

C = TypeVar("C", bound=c.Command)

SECONDS: Final = 15.0
"""How long the station may take for anything it says."""

_counter = count(1)


class HungError(AssertionError):
    """The station said nothing, or something else than expected."""


@dataclass
class Talk:
    """One connection with a station."""

    plug: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    heard: list[c.Command] = field(default_factory=list)
    """All that the station has said, DATA left out."""
    buffer_size: int = 4096
    credit: int = 64
    level: Level = Level.REVISION_2_0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    # --- words -------------------------------------------------------------------------------------------------

    def say(self, *commands: c.Command) -> None:
        self.say_octets(b"".join(frame(codec.encode(command, self.level)) for command in commands))

    def say_octets(self, octets: bytes) -> None:
        self.plug.sendall(octets)

    def say_content(self, content: bytes, *, last: bool = True) -> None:
        """DATA, waiting for credit whenever it is used up."""
        window = buffers.capacity(self.buffer_size) * self.credit
        at = 0
        while True:
            piece = content[at : at + window]
            at += len(piece)
            self.say_octets(bytes(buffers.encode(piece, self.buffer_size, last=last and at == len(content)).stream))
            if len(piece) == window:
                self.hear(c.Cdt)
            if at >= len(content):
                return

    def next(self, *, seconds: float = SECONDS) -> c.Command | None:
        """What the station says next; None when it has closed the connection."""
        self.plug.settimeout(seconds)
        while (buffer := self.reader.take()) is None:
            try:
                octets = self.plug.recv(65_536)
            except TimeoutError:
                raise HungError(f"nothing was said for {seconds:g} seconds after {self.heard[-3:]}") from None
            except (ConnectionError, ssl.SSLError):
                return None
            if not octets:
                return None
            self.reader.feed(octets)
        command = codec.decode(buffer, self.level)
        if not isinstance(command, c.Data):
            self.heard.append(command)
        return command

    def hear(self, kind: type[C], *, seconds: float = SECONDS) -> C:
        """The next command, which must be of this kind."""
        command = self.next(seconds=seconds)
        if not isinstance(command, kind):
            raise HungError(f"{kind.__name__} was expected, not {command}")
        return command

    def hear_content(self) -> tuple[bytes, c.Efid]:
        """DATA up to EFID, with credit given whenever it is used up."""
        pieces, buffers_left = [], self.credit
        while isinstance(command := self.next(), c.Data):
            pieces.append(bytes(buffers.decode(command.payload).octets))
            buffers_left -= 1
            if not buffers_left:
                self.say(c.Cdt())
                buffers_left = self.credit
        if not isinstance(command, c.Efid):
            raise HungError(f"EFID was expected, not {command}")
        return b"".join(pieces), command

    def hear_end(self, reason: EndSessionReason, *, seconds: float = SECONDS) -> c.Esid:
        """ESID with this reason, then the end of the connection."""
        esid = self.hear(c.Esid, seconds=seconds)
        assert esid.reason is reason, esid
        self.plug.close()
        return esid

    def vanish(self) -> None:
        """Be gone, as after a crash."""
        vanish(self.plug)

    # --- sentences ---------------------------------------------------------------------------------------------

    def ssid(self, code: str, **more: Any) -> c.Ssid:
        usual = c.Ssid(
            level=self.level, code=code, password=password(code), buffer_size=self.buffer_size, credit=self.credit
        )
        return replace(usual, **more)

    def agree(self, theirs: c.Ssid) -> None:
        """The smaller of both offers counts."""
        self.buffer_size = min(self.buffer_size, theirs.buffer_size)
        self.credit = min(self.credit, theirs.credit)

    def send(self, sfid: c.Sfid, content: bytes) -> c.Command | None:
        """Offer a file and send it; the answer, an SFNA, EFPA or EFNA."""
        self.say(sfid)
        answer = self.next()
        if not isinstance(answer, c.Sfpa):
            return answer
        self.say_content(content)
        self.say(c.Efid(octets=len(content)))
        return self.next()

    def receive(self) -> tuple[c.Sfid, bytes]:
        """Take the file that is offered next, up to EFID; EFPA or EFNA is for the test to say."""
        sfid = self.hear(c.Sfid)
        self.say(c.Sfpa())
        content, efid = self.hear_content()
        assert efid.octets == len(content)
        return sfid, content

    def leave(self) -> None:
        """With the turn just received: ESID normal."""
        self.say(c.Esid(reason=EndSessionReason.NORMAL))
        self.plug.close()


class Peer:
    """A partner of stations, without a daemon: it calls, and it can be called."""

    def __init__(self, certificate: str = "CB01", *, transport: Transport = Transport.TCP) -> None:
        self.credential = pki.certificate(certificate)
        self.transport = transport
        self._talks: list[Talk] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    @property
    def code(self) -> str:
        assert self.credential.station is not None
        return self.credential.station

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for talk in self._talks:
            talk.vanish()

    def introduce(self, station: Station, *, callable_: bool = False, **more: Any) -> None:
        """Let a station know us."""
        station.know(self.code, port=self.port if callable_ else None, transport=self.transport, **more)

    def connect(self, station: Station) -> Talk:
        """A connection, and nothing said."""
        plug = socket.create_connection(("127.0.0.1", station.port(self.transport)), timeout=SECONDS)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._talk(plug, server=False)

    def call(
        self,
        station: Station,
        *,
        buffer_size: int = 4096,
        credit: int = 64,
        level: Level = Level.REVISION_2_0,
        **more: Any,
    ) -> Talk:
        """A session, in which we have the turn; ``more`` is for our SSID."""
        talk = self.connect(station)
        talk.buffer_size, talk.credit, talk.level = buffer_size, credit, level
        talk.hear(c.Ssrm)
        talk.say(talk.ssid(self.code, **more))
        talk.agree(talk.hear(c.Ssid))
        return talk

    def accept(self, *, seconds: float = SECONDS) -> Talk:
        """The next call, and nothing said."""
        self._server.settimeout(seconds)
        try:
            plug, _ = self._server.accept()
        except TimeoutError:
            raise HungError(f"nobody called within {seconds:g} seconds") from None
        plug.settimeout(SECONDS)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._talk(plug, server=True)

    def answer(self, *, seconds: float = SECONDS, buffer_size: int = 4096, credit: int = 64, **more: Any) -> Talk:
        """The next call as a session, in which the station has the turn; ``more`` is for our SSID."""
        talk = self.accept(seconds=seconds)
        talk.buffer_size, talk.credit = buffer_size, credit
        talk.say(c.Ssrm())
        talk.agree(talk.hear(c.Ssid))
        talk.say(talk.ssid(self.code, **more))
        return talk

    def sfid(self, station: Station, dataset: str, content: bytes, **more: Any) -> c.Sfid:
        """An offer of a file, with a stamp of its own."""
        blocks = -(-len(content) // 1024)
        usual = c.Sfid(
            dataset=dataset,
            date=f"{datetime.now(UTC):%Y%m%d}",
            time=f"{datetime.now(UTC):%H%M%S}{next(_counter):04}",
            destination=station.code,
            originator=self.code,
            size=blocks,
            original_size=blocks,
        )
        return replace(usual, **more)

    def _talk(self, plug: socket.socket, *, server: bool) -> Talk:
        talk = Talk(self._tls(plug, server=server) if self.transport is Transport.TLS else plug)
        self._talks.append(talk)
        return talk

    def _tls(self, plug: socket.socket, *, server: bool) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with _pem(self.credential) as path:
            context.load_cert_chain(path)
        return context.wrap_socket(plug, server_side=server)


def eerp(sfid: c.Sfid) -> c.Eerp:
    """The acknowledgement of a file."""
    return c.Eerp(
        dataset=sfid.dataset,
        date=sfid.date,
        time=sfid.time,
        user=sfid.user,
        destination=sfid.originator,
        originator=sfid.destination,
    )


@contextlib.contextmanager
def _pem(credential: pki.Issued) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(credential.key_pem + credential.pem)
        file.flush()
        yield Path(file.name)
