"""``trace``: sessions recorded, for those who look for a fault."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import AdminClient, path_of

from .forms import items, moment, size, table
from .options import CODE, DURATION, Section, command, complete_partner, completing, confirmed
from .terminal import Terminal

AGAIN_SECONDS = 0.5
"""How often --follow looks for more."""

_complete_trace = completing("/v1/traces", "traces", "id")
_whose = click.option(
    "--partner", type=CODE, shell_complete=complete_partner, help="Only sessions with this partner; without it, all."
)


def add_to(group: click.Group) -> None:
    """Add the group ``trace``."""

    @group.group("trace", cls=Section)
    def trace() -> None:
        """Record what is said in sessions, to see why one fails.

        A trace shows every command that either side writes, octet by octet, with the names of its fields (RFC 5024,
        section 5.3). Passwords, challenges, and what files hold are not in it, only their sizes: you may show a trace to
        your partner, and send it with a question. Names of files, codes and texts are in it.

        Recording costs little and never disturbs a session. It ends by itself.

        \b
        When sessions with a partner fail:
          oftp2d trace start --partner O0013000002PARTNER --for 10m
          oftp2d call O0013000002PARTNER
          oftp2d trace list
          oftp2d trace show ID
        """

    _add_recording(trace)
    _add_reading(trace)
    _add_removing(trace)


def _add_recording(trace: click.Group) -> None:
    @command(trace, "start")
    @_whose
    @click.option(
        "--for",
        "seconds",
        type=DURATION,
        default="10m",
        show_default=True,
        help="How long to record: 90s, 10m, 2h, at most 7d.",
    )
    def start(terminal: Terminal, partner: str | None, seconds: int) -> None:
        """Record the sessions that begin from now on.

        Each session becomes one trace, of at most 16 MiB. Sessions that are open already are not recorded, since their
        beginning is missing. With --partner calls of others are left alone; a caller that never says who it is, or says
        it wrongly, is recorded only without it. The daemon forgets what is to be recorded when it stops.
        """
        with terminal.client() as client:
            document = client.post("/v1/traces", {"partner": partner, "seconds": seconds})
        until = moment(document.get("until")).plain
        terminal.show(document, lambda: f"recording {_sessions(partner)} that begin until {until}")

    @command(trace, "stop")
    @_whose
    def stop(terminal: Terminal, partner: str | None) -> None:
        """Record no more.

        Without --partner nothing at all is recorded any more, whatever was asked for. Traces that were begun end here.
        """
        with terminal.client() as client:
            document = client.post("/v1/traces/stop", {"partner": partner})
        stopped = [f"{_sessions(each.get('partner'))} are not recorded any more" for each in items(document, "stopped")]
        terminal.show(document, lambda: "\n".join(stopped) or "nothing was being recorded")


def _add_reading(trace: click.Group) -> None:
    @command(trace, "list")
    @_whose
    def listing(terminal: Terminal, partner: str | None) -> None:
        """List the traces, newest first, and say what is being recorded."""
        with terminal.client() as client:
            document = client.get("/v1/traces", partner=partner)
        terminal.show(document, lambda: _listed(document))

    @command(trace, "show")
    @click.argument("trace_id", metavar="ID", shell_complete=_complete_trace)
    @click.option("--follow", is_flag=True, help="Go on while the session is being recorded.")
    def show(terminal: Terminal, trace_id: str, follow: bool) -> None:
        """Print a trace.

        \b
        I>  a command the Initiator wrote, the side that called
        R>  a command the Responder wrote
        Below each stand its octets, and behind # the fields they are.
        xx*8 are eight octets that are not shown.
        """
        if follow and terminal.as_json:
            raise click.UsageError("--follow prints as it comes: it does not go with --json.")
        with terminal.client() as client:
            pages = _pages(client, trace_id, follow=follow)
            if terminal.as_json:
                document = dict(client.get(path_of("traces", trace_id)))
                document["text"] = "".join(pages)
                terminal.show(document, str)
                return
            for text in pages:
                terminal.out.file.write(text)
                terminal.out.file.flush()


def _add_removing(trace: click.Group) -> None:
    @command(trace, "remove")
    @click.argument("trace_id", metavar="ID", required=False, shell_complete=_complete_trace)
    @click.option("--all", "everything", is_flag=True, help="Remove all that are complete.")
    @click.option("--yes", is_flag=True, help="Don't ask, with --all.")
    def remove(terminal: Terminal, trace_id: str | None, everything: bool, yes: bool) -> None:
        """Remove a trace, or all of them. The station keeps at most 1000, and 256 MiB."""
        if everything is (trace_id is not None):
            raise click.UsageError("Say which trace, or --all.")
        if everything and not yes:
            confirmed("Remove all traces?")
        with terminal.client() as client:
            removed = _complete(client) if trace_id is None else [trace_id]
            for each in removed:
                client.delete(path_of("traces", each))
        terminal.show({"removed": removed}, lambda: f"{len(removed)} removed")


def _complete(client: AdminClient) -> list[str]:
    """The traces that do not grow any more."""
    return [str(each.get("id")) for each in items(client.get("/v1/traces"), "traces") if not each.get("recording")]


def _sessions(partner: Any) -> str:
    return f"sessions with {partner}" if partner else "all sessions"


def _pages(client: AdminClient, trace_id: str, *, follow: bool) -> Any:
    """The text of a trace, piece by piece."""
    after = 0
    while True:
        document = client.get(path_of("traces", trace_id), after=after)
        text, before, after = str(document.get("text") or ""), after, int(document.get("next") or 0)
        yield text
        if after > before:
            continue
        if not follow or not document.get("recording"):
            return
        time.sleep(AGAIN_SECONDS)


def _listed(document: Any) -> RenderableType:
    rows = [
        [
            each.get("id"),
            each.get("partner"),
            "called" if each.get("role") == "initiator" else "was called",
            moment(each.get("began_at")),
            size(int(each.get("octets") or 0)),
            "recording" if each.get("recording") else "complete",
        ]
        for each in items(document, "traces")
    ]
    orders = [
        Text(f"recording {_sessions(each.get('partner'))} that begin until {moment(each.get('until')).plain}")
        for each in items(document, "orders")
    ]
    columns = ["id", "partner", "we", "began", "size>", "state"]
    return Group(table(columns, rows, empty="no traces"), *(orders or [Text("nothing is being recorded", style="dim")]))
