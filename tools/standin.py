"""What tools/nmvs-standin does: run the stand-in for an NMVS until it is told to stop."""

from __future__ import annotations

import argparse
import json
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nmvs.standin import StandIn
from twisted.internet import protocol, stdio, task
from twisted.internet.defer import Deferred

EPILOG = """\
When it is ready it prints one line of JSON: the addresses, the profile, and the CA bundle. It ends on SIGTERM, on Ctrl-C, or when
its standard input ends. The control port is explained at the top of tools/nmvs/control.py, and by example:

  curl -d '{"login": "PHARMACY-1", "user": "machine", "password": "Secret-123"}' $CONTROL/users
  curl -d '{"days": 670}' $CONTROL/clock
  curl -d '{"fault": "hang", "calls": 1}' $CONTROL/faults

It is made from what is public about NMVS. It proves how that was read, not that the real contract is so.
"""


class _Input(protocol.Protocol):
    """Standard input: nothing is read from it, its end is the end."""

    def __init__(self, ended: Deferred[None]) -> None:
        self._ended = ended

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002, N802
        """The other side is gone."""
        if not self._ended.called:
            self._ended.callback(None)


async def _run(running: Any, folder: Path, now: datetime) -> None:
    ended: Deferred[None] = Deferred()
    # Before anybody is told that it runs, and so may want to end it; but behind the reactor, which has handlers of its own.
    await task.deferLater(running, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.callFromThread(lambda: None if ended.called else ended.callback(None)))
    standin = StandIn(running, folder, now=now)
    addresses = await standin.start()
    stdio.StandardIO(_Input(ended))
    told = asdict(addresses) | {"profile": str(standin.profile_path), "ca_bundle": str(standin.bundle_path)}
    print(json.dumps(told | {"now": now.isoformat()}), flush=True)
    await ended
    await standin.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/nmvs-standin",
        description="Run a stand-in for the credential service of an NMVS on loopback, on free ports.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the profile, the CA bundle and the users' certificates go")
    parser.add_argument("--now", type=datetime.fromisoformat, help="the virtual time, such as 2026-03-01T12:00:00Z")
    arguments = parser.parse_args()
    now = arguments.now or datetime.now(UTC)
    if now.tzinfo is None:
        parser.error("--now needs a zone, such as the Z of 2026-03-01T12:00:00Z")
    arguments.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    task.react(lambda running: Deferred.fromCoroutine(_run(running, arguments.folder.resolve(), now)))


if __name__ == "__main__":
    main()
