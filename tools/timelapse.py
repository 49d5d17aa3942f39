"""A station whose clock is set by a file: two years pass in a minute for whoever writes it.

The file holds the seconds by which the machine's clock is ahead, so that time goes on from where it was set. Beside that it is
the real daemon.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from oftp2d.__main__ import serve
from oftp2d.cli.app import execute
from oftp2d.cli.terminal import Terminal, console

VARIABLE = "TIMELAPSE_CLOCK"
"""The environment variable with the path of the file."""
UPKEEP = timedelta(seconds=1)
"""How often a station under such a clock looks after what is due: a minute of real time may be a month."""


def told(path: Path) -> datetime:
    """The time of the file."""
    return datetime.now(UTC) - timedelta(seconds=float(path.read_text("ascii")))


def set_clock(path: Path, now: datetime) -> None:
    """Whoever reads the file has this time from now on, and goes on from there."""
    beside = path.with_suffix(".new")
    beside.write_text(repr((datetime.now(UTC) - now).total_seconds()), "ascii")
    beside.replace(path)


def main() -> int:
    clock = partial(told, Path(os.environ[VARIABLE]))
    terminal = Terminal(
        out=console(sys.stdout), err=console(sys.stderr), serve=partial(serve, clock=clock, upkeep=UPKEEP)
    )
    return execute(["run"], terminal)


if __name__ == "__main__":
    sys.exit(main())
