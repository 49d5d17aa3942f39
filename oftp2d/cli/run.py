"""``run``: the command that becomes the daemon.

What this module imports a daemon holds until it ends, for which reason it stands alone.
"""

from __future__ import annotations

import click

from oftp2d import config

from .terminal import Terminal


def add_to(group: click.Group) -> None:
    """Add the command of this module."""

    @group.command("run")
    @click.pass_obj
    def run(terminal: Terminal) -> int:
        """Run the station until it is stopped (SIGTERM or Ctrl-C).

        The log goes to the standard error output. On SIGTERM running sessions may finish their file first; a
        second signal stops at once. SIGHUP takes up certificates that were changed. For a changed oftp2d.toml stop
        the station and start it again.
        """
        return terminal.serve(config.load(terminal.home))
