"""What every command works with: where to write, whether as JSON, and the way to the running station.

Also the exit codes and the one way of showing an error. A command returns its exit code, or None when all
is done. The screen and the client are loaded when they are first needed: a daemon, which begins as the command ``run``,
would hold both until it ends, and shows nothing and asks nobody.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from oftp2d import config
from oftp2d.errors import DaemonUnreachableError, OperatorError
from oftp2d.logs import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

    from oftp2d.client import AdminClient

    from .screen import Screen


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


class Terminal:
    """The surroundings of one command. ``serve`` runs the station until it is stopped, and returns its exit code."""

    def __init__(
        self, *, out: Callable[[], Screen], err: Callable[[], Screen], serve: Callable[[config.Config], int]
    ) -> None:
        self.serve = serve
        self.as_json = False
        self._make_out = out
        self._make_err = err

    @cached_property
    def out(self) -> Screen:
        """For the result; made when something is first shown."""
        return self._make_out()

    @cached_property
    def err(self) -> Screen:
        """For hints and errors; made when something is first shown."""
        return self._make_err()

    @property
    def home(self) -> Path:
        """The station's home folder."""
        return config.home_folder()

    def client(self) -> AdminClient:
        """The way to the running station; close it."""
        from oftp2d.client import AdminClient  # noqa: PLC0415 - see the top of the module

        return AdminClient(config.socket_path(self.home))

    def show(self, document: Mapping[str, Any], view: Callable[[], RenderableType]) -> None:
        """Print the result: the document as JSON, or the view of it for people."""
        if self.as_json:
            self.out.file.write(json.dumps(document, indent=2) + "\n")
        else:
            self.out.display(view())

    def say(self, line: str) -> None:
        """One line for people; nothing when the output is JSON."""
        if not self.as_json:
            self.out.say(line)

    def hint(self, line: str) -> None:
        """One line beside the result, on the standard error output."""
        self.err.remark(line, "yellow")

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
        self.err.remark("\n".join(escaped(line) for line in lines), "red")
        if isinstance(error, DaemonUnreachableError):
            return Exit.UNREACHABLE
        return Exit.CONFIGURATION if isinstance(error, config.ConfigurationError) else Exit.FAILED


def console(stream: TextIO) -> Screen:
    """A screen on this stream: as wide as the terminal, or without end where there is none."""
    from .screen import UNWRAPPED, Screen  # noqa: PLC0415 - see the top of the module

    return Screen(file=stream, highlight=False, width=None if stream.isatty() else UNWRAPPED)
