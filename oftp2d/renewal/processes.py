"""Programs that the station runs for a credential set: with a time limit, bounded output, and a surrounding of their own.

A program runs in a session of its own, so that at the end of its time all that it has started can be killed with it. It gets
nothing of the station's environment but where programs are found, and no secret on its command line.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from oftp2d.errors import OperatorError
from oftp2d.vault import Secret

ERRORS_KEPT: Final = 4096
"""Octets of the standard error output; what comes behind them is dropped."""
LONGEST_SAID: Final = 200
"""Characters of what a program said that are told to people."""
NOT_STARTED: Final = 127
"""The exit code of a program that is not there or cannot be run."""

_DRAIN_SECONDS: Final = 1.0
"""How long its output is read behind the end of a program: something that it left behind may hold it open for ever."""
_OWN_SESSION: Final = f"""
import os, resource, sys
os.setsid()
os.umask(0o077)
# What it works with is secret: it is not to be found on the disk when it crashes.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    os.execv(sys.argv[1], sys.argv[1:])
except OSError as error:
    print("it cannot be started:", error.strerror, file=sys.stderr)
    sys.exit({NOT_STARTED})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    code: int | None
    """Its exit code; None where it was killed."""
    signal: int | None
    out: Secret[bytes]
    err: Secret[bytes]
    too_late: bool = False
    """It was killed because its time was over."""
    too_much: bool = False
    """It was killed because it printed more than it may."""


def surrounding(home: Path, **more: str) -> Mapping[str, str]:
    """The environment of a program: PATH, HOME and LANG, and what it is to know."""
    usual = {"PATH": os.environ.get("PATH") or os.defpath, "HOME": str(home), "LANG": "C.UTF-8"}
    # The operating system ends a value at a zero.
    return usual | {name: value.replace("\0", "") for name, value in more.items()}


async def run(
    reactor: Any,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    most: int,
    given: bytes = b"",
) -> Ended:
    """Run a program to its end. ``most`` octets of output are borne; ``given`` is what it reads from its standard input.

    Raises OperatorError where no process can be made. Who cancels it kills the program.
    """
    running = _Running(reactor, most, given)
    try:
        reactor.spawnProcess(
            running,
            sys.executable,
            # Isolated: nothing that lies in the folder is taken for a module.
            [sys.executable, "-I", "-S", "-c", _OWN_SESSION, *command],
            env=dict(environment),
            path=str(folder),
        )
    except OSError as error:
        raise OperatorError(
            f"{command[0]} cannot be started ({error.strerror})", "see what else the machine does"
        ) from None
    running.limit(seconds)
    return await running.over


def said(ended: Ended, secrets: Iterable[Secret[str] | Secret[bytes] | None] = ()) -> str:
    """The first line that a program wrote to its standard error output, short and printable; no secret."""
    lines = (line.strip() for line in ended.err.reveal().decode(errors="replace").splitlines())
    first = next(filter(None, lines), "")
    everything = ended.err.reveal()
    # Where one line holds a secret, another may hold a part of it.
    if b"PRIVATE KEY" in everything or any(octets and octets in everything for octets in map(_octets, secrets)):
        return "(what it said holds a secret and is not shown)"
    return "".join(letter if letter.isprintable() else " " for letter in first)[:LONGEST_SAID]


def how(ended: Ended, seconds: int) -> str:
    """How a program ended, for people, behind its name."""
    if ended.too_late:
        return f"was not done after {seconds} seconds and was killed"
    if ended.too_much:
        return "printed more than it may and was killed"
    if ended.signal is not None:
        return f"was killed by signal {ended.signal}"
    return f"ended with exit code {ended.code}"


def _octets(secret: Secret[str] | Secret[bytes] | None) -> bytes:
    if secret is None:
        return b""
    value = secret.reveal()
    return value.encode() if isinstance(value, str) else value


class _Running(ProcessProtocol):
    """One program while it runs."""

    def __init__(self, reactor: Any, most: int, given: bytes) -> None:
        self.over: Deferred[Ended] = Deferred(lambda _: self._kill())
        self._reactor = reactor
        self._most = most
        self._given = given
        self._out = bytearray()
        self._err = bytearray()
        self._exited = False
        self._too_late = False
        self._too_much = False
        self._timer: IDelayedCall | None = None

    def limit(self, seconds: float) -> None:
        """Kill it when it is not done by then."""
        self._timer = self._reactor.callLater(seconds, self._out_of_time)

    def connectionMade(self) -> None:  # noqa: N802 - twisted's name
        """It was started."""
        self.transport.write(self._given)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - twisted's name
        """It printed something."""
        room = self._most - len(self._out)
        self._out += data[: max(room, 0)]
        if len(data) > room and not self._too_much:
            self._too_much = True
            self._kill()

    def errReceived(self, data: bytes) -> None:  # noqa: N802 - twisted's name
        """It complained."""
        self._err += data[: max(ERRORS_KEPT - len(self._err), 0)]

    def processExited(self, _reason: Failure) -> None:  # noqa: N802 - twisted's name
        """It ended; its output may not be read yet, or something that it started may hold it open."""
        self._exited = True
        self._cancel_timer()
        self._timer = self._reactor.callLater(_DRAIN_SECONDS, self.transport.loseConnection)  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - twisted's name
        """It ended, and all its output was read."""
        self._cancel_timer()
        value = reason.value
        assert isinstance(value, ProcessDone | ProcessTerminated)  # noqa: S101 - what twisted promises
        if self.over.called:
            return
        self.over.callback(
            Ended(
                code=value.exitCode,
                signal=value.signal,
                out=Secret(bytes(self._out)),
                err=Secret(bytes(self._err)),
                too_late=self._too_late,
                too_much=self._too_much,
            )
        )

    def _out_of_time(self) -> None:
        self._timer = None
        self._too_late = True
        self._kill()

    def _kill(self) -> None:
        pid = getattr(self.transport, "pid", None)
        if pid is None or self._exited:
            return
        # Before it has a session of its own there is nothing that it could have started.
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
