"""``oftp2d run`` under the clock of a file: beside that it is the real daemon."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

from clockfile import VARIABLE, told

from oftp2d.__main__ import serve
from oftp2d.cli.app import execute
from oftp2d.cli.terminal import Terminal, console

UPKEEP = timedelta(seconds=1)
"""How often a station under such a clock looks after what is due: a minute of real time may be a month."""


def main() -> int:
    clock = partial(told, Path(os.environ[VARIABLE]))
    terminal = Terminal(
        out=partial(console, sys.stdout),
        err=partial(console, sys.stderr),
        serve=partial(serve, clock=clock, upkeep=UPKEEP),
    )
    return execute(["run"], terminal)


if __name__ == "__main__":
    sys.exit(main())
