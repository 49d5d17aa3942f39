"""What every command works with: where to write, whether as JSON, and the way to the running station.

Also the exit codes and the one way of showing an error. A command returns its exit code, or None when all
is done.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from oftp2d import config
from oftp2d.client import AdminClient, DaemonUnreachableError
from oftp2d.errors import OperatorError
from oftp2d.logs import escaped

UNWRAPPED = 10_000
"""Columns of what is no terminal: a line for a script or a file is never broken."""


class Exit(enum.IntEnum):
    """The exit codes, for scripts. They are part of what we promise."""

    DONE = 0
    FAILED = 1
    """It did not work; the message says why."""
    USAGE = 2
    """The command line itself is wrong."""
    UNREACHABLE = 3
    """The daemon is not running."""
    CONFIGURATION = 4
    """oftp2d.toml has faults."""
    REFUSED = 5
    """The partner refused the file, or it failed for good."""
    TIMEOUT = 6
    """The wait was over before the end was known; the transfer goes on."""
    INTERRUPTED = 130
    """Stopped from the keyboard."""


@dataclass(slots=True, kw_only=True)
class Terminal:
    """The surroundings of one command."""

    out: Console
    err: Console
    serve: Callable[[config.Config], int]
    """Runs the station until it is stopped."""
    as_json: bool = False

    @property
    def home(self) -> Path:
        """The station's home folder."""
        return config.home_folder()

    def client(self) -> AdminClient:
        """The way to the running station; close it."""
        return AdminClient(config.socket_path(self.home))

    def show(self, document: Mapping[str, Any], view: Callable[[], RenderableType]) -> None:
        """Print the result: the document as JSON, or the view of it for people."""
        if self.as_json:
            self.out.file.write(json.dumps(document, indent=2) + "\n")
        else:
            _print(self.out, view())

    def say(self, line: str) -> None:
        """One line for people; nothing when the output is JSON."""
        if not self.as_json:
            _print(self.out, Text(line))

    def hint(self, line: str) -> None:
        """One line beside the result, on the standard error output."""
        self.err.print(Text(line), style="yellow")

    def fail(self, error: OperatorError) -> Exit:
        """Show the error, and the exit code for it."""
        if self.as_json:
            fault: dict[str, Any] = {"what": error.what, "advice": error.advice}
            if isinstance(error, config.ConfigurationError):
                fault["advice"] = error.advice.splitlines()[0]
                fault["faults"] = [
                    {"path": each.path, "what": each.what, "advice": each.advice} for each in error.faults
                ]
            self.out.file.write(json.dumps({"error": fault}, indent=2) + "\n")
        lines = f"{error.what}: {error.advice}".splitlines()
        self.err.print(Text("\n".join(escaped(line) for line in lines)), style="red")
        if isinstance(error, DaemonUnreachableError):
            return Exit.UNREACHABLE
        return Exit.CONFIGURATION if isinstance(error, config.ConfigurationError) else Exit.FAILED


def console(stream: TextIO) -> Console:
    """A console on this stream: as wide as the terminal, or without end where there is none."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else UNWRAPPED)


def _print(console: Console, view: RenderableType) -> None:
    """Print it, wider than the terminal where codes and names would be torn apart otherwise."""
    if not console.is_terminal:
        with console.capture() as captured:
            console.print(view)
        console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
        return
    options = console.options
    needed = Measurement.get(console, options.update(width=UNWRAPPED), view).minimum
    if needed > options.max_width:
        # Broken by the terminal itself a code can still be copied; broken by us it could not.
        usual, console.width = console.width, needed
        try:
            console.print(view, crop=False)
        finally:
            console.width = usual
    else:
        console.print(view)
