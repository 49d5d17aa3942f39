"""``status``, ``call`` and ``audit``: what the station does, make it call, what happened to certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of

from .forms import Cell, items, moment, properties, table, words
from .options import CODE, command, complete_partner, partner_argument
from .terminal import Terminal


def add_to(group: click.Group) -> None:
    """Add the commands of this module."""

    @command(group, "status")
    @click.option("--metrics", is_flag=True, help="Print numbers for monitoring, in the text format of Prometheus.")
    def status(terminal: Terminal, metrics: bool) -> None:
        """Show whether the station runs, who is connected, what waits, and what to look after.

        End responses owed are receipts (EERP) and refusals (NERP) that partners still have to get from us;
        they leave with the next session.
        """
        with terminal.client() as client:
            if metrics:
                terminal.out.file.write(client.text("/metrics"))
                return
            document = client.get("/v1/status")
        terminal.show(document, lambda: _status(document))

    @command(group, "call")
    @partner_argument
    def call(terminal: Terminal, partner: str) -> None:
        """Call a partner now, without waiting for its time.

        A call sends what is queued and fetches what the partner has for us. It goes on in the background: see
        'oftp2d status', and 'oftp2d partner show' for the outcome.
        """
        with terminal.client() as client:
            document = client.post(path_of("partners", partner, "call"))
        terminal.show(document, lambda: Text(f"calling {partner}"))

    @command(group, "audit")
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner)
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def audit(terminal: Terminal, partner: str | None, limit: int) -> None:
        """Show what happened to certificates and security settings, newest first.

        Each certificate requested, delivered, accepted or refused, with the reason; each change of a
        partner's security; the moment session authentication switched itself on.
        """
        with terminal.client() as client:
            document = client.get("/v1/audit", partner=partner, limit=limit)
        terminal.show(document, lambda: _audit(document))


def _status(document: Mapping[str, Any]) -> RenderableType:
    waiting = document.get("transfers") or {}
    parts: list[RenderableType] = [
        properties(
            {
                "version": document.get("version"),
                "running since": moment(document.get("started_at")),
                "stations": [str(each.get("code")) for each in items(document, "stations")],
                "listening": [
                    f"{each.get('transport')} {each.get('host')}:{each.get('port')}"
                    for each in items(document, "listeners")
                ],
                "transfers": [f"{count} {name}" for name, count in waiting.items() if count],
                "end responses owed": document.get("end_responses_owed"),
                "partners": document.get("partners"),
            }
            | _credentials(document.get("credential_sets") or {})
        )
    ]
    sessions = items(document, "sessions")
    parts.append(
        table(
            ["partner", "role", "state", "since", "address"],
            [
                [
                    each.get("partner"),
                    each.get("role"),
                    each.get("state"),
                    moment(each.get("since")),
                    each.get("remote"),
                ]
                for each in sessions
            ],
            empty="no sessions",
        )
    )
    for each in items(document, "unreachable"):
        when = f"next call {moment(each.get('next_call_at')).plain}" if each.get("next_call_at") else "no call planned"
        told = f"! {each.get('partner')}: calls failed: {each.get('failed_calls')}, {when}: {each.get('last_error')}"
        parts.append(Text(words(told).plain, style="red"))
    failed = waiting.get("failed")
    if failed:
        parts.append(Text(f"! {failed} failed, see 'oftp2d transfer list --state failed'", style="red"))
    if unopened := document.get("unopened"):
        told = f"! could not be opened within the last day and refused: {unopened} of partners' files"
        parts.append(Text(f"{told}, see 'oftp2d transfer list --direction in --state refused'", style="red"))
    parts += [Text(f"! {words(warning).plain}", style="yellow") for warning in document.get("warnings") or []]
    return Group(*parts)


def _credentials(counts: Mapping[str, Any]) -> dict[str, Cell]:
    """A line about credential sets, where there are any."""
    told = [f"{count} {name}" for name, count in counts.items() if name != "total"]
    return {"credential sets": told} if counts.get("total") else {}


def _audit(document: Mapping[str, Any]) -> RenderableType:
    rows = []
    for entry in items(document, "entries"):
        detail = entry.get("detail") or {}
        told = [f"{name}: {value}" for name, value in detail.items() if value not in {None, ""}]
        rows.append([moment(entry.get("at")), entry.get("partner"), entry.get("event"), told])
    return table(["time", "partner", "event~", "details~"], rows, empty="nothing yet")
