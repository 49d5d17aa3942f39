"""A small HTTP server on loopback that publishes what authorities do: revocation lists, trust lists, stamps.

``with serving() as authority`` runs one in a thread on a free port. ``put`` says what a path answers; ``fail`` and the
``Mischief`` of ``misbehave`` make it answer as no honest server does; ``requests`` and ``count`` tell what was asked. A path that
nothing was put under answers 404.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

PIECE = bytes(16 * 1024)


class Mischief(Enum):
    """What a server may do instead of answering."""

    HANG = auto()
    """Take the request and say nothing."""
    SLOW = auto()
    """Begin an answer and send one octet of it now and then."""
    ENDLESS = auto()
    """Send zeros without end, and without a length."""
    BOASTING = auto()
    """Announce a length of a terabyte, and send zeros."""
    SHORT = auto()
    """Announce more octets than come before the connection closes."""
    RUBBISH = auto()
    """Answer what is no HTTP."""
    CLOSE = auto()
    """Close without an answer."""


@dataclass(frozen=True)
class Answer:
    """What a path answers."""

    content: bytes = b""
    status: int = 200
    kind: str = "application/octet-stream"
    location: str | None = None
    mischief: Mischief | None = None


class Authority:
    """The server, as a test sees it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.stopped = Event()
        self._lock = Lock()
        self._answers: dict[str, Answer] = {}
        self._asked: list[str] = []

    def put(self, path: str, content: bytes, kind: str = "application/octet-stream") -> str:
        """Publish octets under a path such as ``/a.crl``; returns its URL."""
        return self._set(path, Answer(content=content, kind=kind))

    def fail(self, path: str, status: int = 404) -> str:
        """Answer with an error from now on."""
        return self._set(path, Answer(content=b"no", status=status))

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Send whoever asks elsewhere."""
        return self._set(path, Answer(status=status, location=location))

    def misbehave(self, path: str, mischief: Mischief) -> str:
        """Answer in a way that a client must not wait for."""
        return self._set(path, Answer(mischief=mischief))

    def _set(self, path: str, answer: Answer) -> str:
        with self._lock:
            self._answers[path] = answer
        return self.url + path

    @property
    def requests(self) -> list[str]:
        """The paths that were asked for, in this order."""
        with self._lock:
            return list(self._asked)

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return self.requests.count(path)

    def answer(self, path: str) -> Answer:
        """What this path answers now; that it was asked for is noted."""
        with self._lock:
            self._asked.append(path)
            return self._answers.get(path, Answer(content=b"there is nothing here", status=404))


@contextmanager
def serving() -> Iterator[Authority]:
    """Run one until the end of the block, which waits for nobody that still reads or writes."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    authority = Authority(server.server_address[1])
    Handler.authority = authority
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        authority.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    authority: Authority

    def do_GET(self) -> None:
        """Answer one request."""
        answer = self.authority.answer(self.path)
        # The client leaves when it has had enough; that is its right.
        with suppress(OSError):
            if answer.mischief is None:
                self._answer(answer)
            else:
                self._misbehave(answer.mischief)

    def _answer(self, answer: Answer) -> None:
        self._head(answer.status, len(answer.content), answer.kind, answer.location)
        self.wfile.write(answer.content)

    def _head(self, status: int, length: int | None, kind: str = "text/plain", location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        if length is not None:
            self.send_header("Content-Length", str(length))
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()

    def _misbehave(self, mischief: Mischief) -> None:
        self.close_connection = True
        stopped = self.authority.stopped
        match mischief:
            case Mischief.HANG:
                stopped.wait()
            case Mischief.SLOW:
                self._head(200, 1000)
                while not stopped.wait(0.1):
                    self.wfile.write(b"0")
            case Mischief.ENDLESS | Mischief.BOASTING:
                self._head(200, 10**12 if mischief is Mischief.BOASTING else None)
                while not stopped.is_set():
                    self.wfile.write(PIECE)
                    time.sleep(0.001)
            case Mischief.SHORT:
                self._head(200, 1000)
                self.wfile.write(b"less than that")
            case Mischief.RUBBISH:
                self.wfile.write(b"220 mail.test ESMTP ready\r\n")
            case Mischief.CLOSE:
                pass

    def log_message(self, *_: object) -> None:
        """Nothing: the test asks for what it wants to know."""
