"""The other end of the administration interface: what commands use to talk to the running station.

Synchronous, over the UNIX socket in the home folder. Whatever goes wrong becomes an ``OperatorError``; what
the station itself refuses comes with the station's own words.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import quote

from .config import FILE_NAME
from .errors import DaemonUnreachableError, OperatorError

if TYPE_CHECKING:
    import httpx

Document = dict[str, Any]
"""A JSON object of the interface, as it stands on the wire."""

Progress = Callable[[int], None]
"""Told the octets moved since the last time."""

PIECE = 256 * 1024
"""Octets read and written at once."""

USUAL_SECONDS = 60.0
CALL_SECONDS = 300.0
"""The wait for an answer that includes a call to a partner."""


class RefusedError(OperatorError):
    """The station answered, and refused; ``status`` is the HTTP status."""

    def __init__(self, status: int, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.status = status


class AdminClient:
    """A connection to the station whose administration socket has this path."""

    def __init__(self, path: Path) -> None:
        import httpx  # noqa: PLC0415 - takes as long to load as all else that --help needs

        self._path = path
        self._reached = False
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)),
            base_url="http://oftp2d",
            timeout=httpx.Timeout(USUAL_SECONDS, connect=10.0),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str, **parameters: str | int | None) -> Document:
        """Ask for something; a parameter that is None is left out."""
        return self._ask("GET", path, parameters)

    def text(self, path: str) -> str:
        """Ask for what is no JSON."""
        self._reach()
        with _broken_off():
            answer = self._http.get(path)
        if answer.is_error:
            _document(answer)
        return answer.text

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, calls: bool = False) -> Document:
        """Make or do something; ``calls`` says that the answer waits for a call to a partner."""
        return self._ask("POST", path, {}, body or {}, CALL_SECONDS if calls else USUAL_SECONDS)

    def patch(self, path: str, body: Mapping[str, Any]) -> Document:
        """Change something."""
        return self._ask("PATCH", path, {}, body)

    def delete(self, path: str) -> Document:
        """Remove something."""
        return self._ask("DELETE", path, {})

    def upload(
        self, path: str, source: BinaryIO, octets: int, progress: Progress, **parameters: str | int | bool | None
    ) -> Document:
        """Send a file of so many octets as the body; a file that changes its size meanwhile is an error."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(octets)}
        self._reach()
        with _broken_off():
            answer = self._http.post(
                path,
                params=_given(parameters),
                headers=headers,
                content=_pieces(source, octets, progress),
                timeout=CALL_SECONDS,
            )
        return _document(answer)

    def download(self, path: str, progress: Progress) -> Iterator[bytes]:
        """The octets of an answer, piece by piece; raises before the first one if the station refuses."""
        self._reach()
        with _broken_off(), self._http.stream("GET", path) as answer:
            if answer.is_error:
                answer.read()
                _document(answer)
            for piece in answer.iter_bytes(PIECE):
                progress(len(piece))
                yield piece

    def _reach(self) -> None:
        """Find out whether anybody listens; httpx leaves its socket open when a connection is refused."""
        if self._reached:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except OSError as error:
                raise _unreached(error, self._path) from None
        self._reached = True

    def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int | None],
        body: Mapping[str, Any] | None = None,
        seconds: float = USUAL_SECONDS,
    ) -> Document:
        self._reach()
        with _broken_off():
            answer = self._http.request(method, path, params=_given(parameters), json=body, timeout=seconds)
        return _document(answer)


def path_of(*segments: str) -> str:
    """The path of a resource: its segments quoted, for a code may hold a slash or a blank."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def _given(parameters: Mapping[str, str | int | bool | None]) -> dict[str, str | int | bool]:
    """What is not None; truth values become true and false."""
    return {name: value for name, value in parameters.items() if value is not None}


def _pieces(source: BinaryIO, octets: int, progress: Progress) -> Iterator[bytes]:
    left = octets
    while left:
        piece = source.read(min(PIECE, left))
        if not piece:
            raise OperatorError("the file became shorter while it was sent", "send it again once it is complete")
        left -= len(piece)
        progress(len(piece))
        yield piece
    if source.read(1):
        raise OperatorError("the file became longer while it was sent", "send it again once it is complete")


def _unreached(error: OSError, path: Path) -> DaemonUnreachableError:
    if isinstance(error, PermissionError):
        return DaemonUnreachableError(
            "this user may not speak to the daemon", "use the account that runs it, for example with sudo -u"
        )
    if not (path.parent / FILE_NAME).exists():
        return DaemonUnreachableError(
            f"there is no station in {path.parent}", "make one with 'oftp2d init', or set OFTP2D_HOME to its folder"
        )
    return DaemonUnreachableError("the daemon is not running", "start it with 'oftp2d run'")


@contextmanager
def _broken_off() -> Iterator[None]:
    """Say in our own words that an exchange with the station ended too early. Raises OperatorError."""
    import httpx  # noqa: PLC0415 - as above

    try:
        yield
    except httpx.TimeoutException:
        raise OperatorError(
            "the daemon did not answer in time", "see 'oftp2d status' and the log of the daemon"
        ) from None
    except httpx.HTTPError:
        raise DaemonUnreachableError(
            "the daemon broke off the connection", "see its log, and 'oftp2d status' whether it still runs"
        ) from None


def _document(answer: httpx.Response) -> Document:
    """The JSON object of an answer; an answer that is an error becomes one."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise OperatorError(
            f"the daemon answered something else than JSON (HTTP {answer.status_code})",
            "check that command and daemon are the same version",
        )
    if answer.is_error:
        fault = document.get("error")
        fault = fault if isinstance(fault, dict) else {}
        what = str(fault.get("what", f"the daemon refused (HTTP {answer.status_code})"))
        raise RefusedError(answer.status_code, what, str(fault.get("advice", "see the log of the daemon")))
    return document
