"""The command line of the station: ``oftp2d``, or python -m oftp2d.

The only place that installs the global reactor (asyncio on uvloop, see ``loop``) and the global log observer, and only for
``oftp2d run``.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import Any

from oftp2d.cli.app import execute
from oftp2d.cli.terminal import Terminal, console
from oftp2d.config import Config


def main() -> None:
    """Carry out the command line of the process and leave with its exit code."""
    terminal = Terminal(out=partial(console, sys.stdout), err=partial(console, sys.stderr), serve=serve)
    sys.exit(execute(sys.argv[1:], terminal))


def serve(config: Config, **injected: Any) -> int:
    """Run the station until it is stopped; the exit code. What is ``injected`` is for ``daemon.run``, such as a clock."""
    # Everything here takes time to load, and some of it may only be imported once the reactor is installed.
    from twisted.logger import globalLogBeginner  # noqa: PLC0415

    from oftp2d import heap, loop  # noqa: PLC0415
    from oftp2d.logs import LineObserver  # noqa: PLC0415

    heap.share()
    # What is loaded stays: it is searched for garbage neither while it is loaded nor by a daemon that runs.
    gc.disable()
    loop.install()
    observer = LineObserver(sys.stderr, config.logging.level, config.logging.format)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)

    from twisted.internet import reactor  # noqa: PLC0415

    from oftp2d.daemon import run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    return run(reactor, config, **injected)


if __name__ == "__main__":
    main()
