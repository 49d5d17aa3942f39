"""``exchange renewal`` and ``exchange renewals``: one certificate for all partners, and how they take it up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from oftp2d.client import AdminClient, path_of
from oftp2d.errors import OperatorError
from oftp2d.retries import span

from .forms import Cell, day, items, moment, state, table, words
from .options import command
from .terminal import Exit, Terminal

POLL_SECONDS: Final = 1.0

_LOOKS: Final = {
    "confirmed": ("✓", "green"),
    "inactive": ("-", "dim"),
    "sent": ("→", "cyan"),
    "offered": ("·", "cyan"),
    "waiting": ("·", "cyan"),
    "by hand": ("!", "yellow"),
    "out of reach": ("!", "yellow"),
    "failed": ("✗", "red"),
    "refused": ("✗", "red"),
}
"""How a stage looks: a sign, and a colour for those who see it."""
_SETTLED: Final = frozenset({"confirmed", "inactive"})
_AROUND: Final = 9
"""Lines of the live view beside those of the partners."""
_ENDS: Final = {"finished": Exit.DONE, "cancelled": Exit.FAILED}

Watching = Callable[[Mapping[str, Any]], None]


def add_to(exchange: click.Group) -> None:
    """Add the commands of this module to the group ``exchange``."""

    @command(exchange, "renewal")
    @click.argument("number", metavar="[ID]", type=click.IntRange(1), required=False)
    @click.option("--watch", is_flag=True, help="Stay, and show how partners take it up, until it has ended.")
    @click.option("--cancel", is_flag=True, help="Offer it to nobody else. Partners that have it keep it.")
    def renewal(terminal: Terminal, number: int | None, watch: bool, cancel: bool) -> int:
        """Show how far partners have taken up a new certificate of yours; without ID the latest renewal.

        Whoever needs your hand stands first, with what to do: who refused it, who cannot be reached, and who cannot take
        it by the automatic exchange. A renewal begins with 'oftp2d exchange deliver --all' or, by itself, with the
        import of a certificate that follows another. It ends when every partner has the new certificate.
        """
        with terminal.client() as client:
            number = number or _latest(client)
            if cancel:
                document = client.post(path_of("renewals", str(number), "cancel"))
                terminal.show(document, lambda: view(document))
                return Exit.DONE
            document = client.get(path_of("renewals", str(number)))
            if watch:
                return follow(terminal, client, document, None)
        terminal.show(document, lambda: view(document))
        return Exit.DONE

    @command(exchange, "renewals")
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def renewals(terminal: Terminal, limit: int) -> None:
        """List the renewals, newest first, with how many partners are still without the new certificate."""
        with terminal.client() as client:
            document = client.get("/v1/renewals", limit=limit)
        rows: list[list[Cell]] = [
            [
                each.get("id"),
                _name(each.get("certificate")),
                _name(each.get("previous")),
                state(str(each.get("state"))),
                moment(each.get("started_at")),
                moment(each.get("ended_at")),
                f"{_having(each)} of {each.get('partners_total')}",
                each.get("text"),
            ]
            for each in items(document, "renewals")
        ]
        columns = ["id>", "certificate", "follows", "state", "began", "ended", "have it>", "text~"]
        terminal.show(document, lambda: table(columns, rows, empty="no renewals yet"))


def deliver_to_all(
    terminal: Terminal, certificate: str, previous: str | None, until: str | None, *, wait: bool, timeout: int
) -> int:
    """Begin a renewal, and follow it if it is waited for; the exit code."""
    body = {"certificate": certificate, "previous": previous, "until": until}
    with terminal.client() as client:
        document = client.post("/v1/renewals", {name: value for name, value in body.items() if value is not None})
        if wait:
            return follow(terminal, client, document, timeout)
    terminal.show(document, lambda: view(document))
    return Exit.DONE


def follow(terminal: Terminal, client: AdminClient, document: Mapping[str, Any], timeout: int | None) -> int:
    """Stay with a renewal until it has ended, or for so many seconds; the exit code."""
    end = None if timeout is None else time.monotonic() + timeout
    path = path_of("renewals", str(document.get("id")))
    try:
        with _watching(terminal) as show:
            show(document)
            while str(document.get("state")) not in _ENDS and (end is None or time.monotonic() < end):
                time.sleep(POLL_SECONDS)
                document = client.get(path)
                show(document)
    except KeyboardInterrupt:
        terminal.hint(f"the renewal goes on: see 'oftp2d exchange renewal {document.get('id')}'")
        raise
    if terminal.as_json:
        terminal.show(document, lambda: view(document))
    return _ENDS.get(str(document.get("state")), Exit.TIMEOUT)


@contextmanager
def _watching(terminal: Terminal) -> Iterator[Watching]:
    """Where what is followed is shown: a table that lives on a terminal, and else a line for each step of a partner."""
    if terminal.as_json or not terminal.out.is_terminal:
        yield _Lines(terminal)
        return
    with Live(console=terminal.out, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda document: live.update(
            view(document, rows=shutil.get_terminal_size().lines - _AROUND), refresh=True
        )


class _Lines:
    """Says what has changed, one line each; nothing where the output is JSON."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._known: dict[str, str] = {}

    def __call__(self, document: Mapping[str, Any]) -> None:
        for each in reversed(items(document, "partners")):
            partner, stage = str(each.get("partner")), str(each.get("stage"))
            if self._known.get(partner) != stage:
                self._known[partner] = stage
                self._terminal.say(f"{partner}: {stage}, {each.get('text')}")
        ended = str(document.get("state"))
        if ended in _ENDS:
            self._terminal.say(f"{ended}: {document.get('text')}")


def view(document: Mapping[str, Any], *, rows: int | None = None, now: datetime | None = None) -> RenderableType:
    """A renewal for people. With ``rows`` it has at most so many lines for partners, those that need a hand first."""
    partners = items(document, "partners")
    open_ = [each for each in partners if each.get("stage") not in _SETTLED]
    settled = [each for each in partners if each.get("stage") in _SETTLED]
    advised = any(each.get("advice") for each in partners)
    room = len(partners) if rows is None else max(rows // 2 if advised else rows, 3)
    shown = (open_ + settled)[:room]
    parts: list[RenderableType] = [_headline(document), _bar(document)]
    if shown:
        parts += [Text(""), _partners(shown, now or datetime.now(UTC))]
    if len(shown) < len(partners):
        parts.append(Text(f"  and {len(partners) - len(shown)} more", style="dim"))
    advice = [each for each in shown if each.get("advice")]
    if advice:
        parts += [Text(""), Text("What to do", style="bold"), _advice(advice)]
    return Group(*parts)


def _headline(document: Mapping[str, Any]) -> RenderableType:
    certificate, previous = document.get("certificate") or {}, document.get("previous")
    title = Text(f"Renewal {document.get('id')}: ", style="bold")
    title.append_text(words(_name(certificate)))
    if previous:
        title.append(" takes the place of ")
        title.append_text(words(_name(previous)))
    lines = [title, Text(f"{document.get('state')}, begun {moment(document.get('started_at')).plain}", style="dim")]
    if previous and document.get("state") == "running":
        until = document.get("until")
        planned = f", and is used at least until {moment(until).plain}" if until else ""
        ends = f"{_name(previous)} is valid until {day(previous.get('valid_until')).plain}{planned}"
        lines.append(Text(words(ends).plain, style="dim"))
    if document.get("ended_at"):
        ended = f"{document.get('state')} {moment(document.get('ended_at')).plain}: {document.get('text')}"
        lines[1] = Text(words(ended).plain, style="green" if document.get("state") == "finished" else "yellow")
    return Group(*lines)


def _bar(document: Mapping[str, Any]) -> RenderableType:
    total, having = int(document.get("partners_total") or 0), _having(document)
    if not total:
        return Text("no partner needs it", style="dim")
    grid = Table.grid(padding=(0, 2))
    told = f"{having} of {total} partners have it"
    grid.add_row(ProgressBar(total=total, completed=having, width=40, finished_style="green"), Text(told, style="bold"))
    return grid


def _partners(partners: list[dict[str, Any]], now: datetime) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for each in partners:
        stage = str(each.get("stage"))
        sign, style = _LOOKS.get(stage, ("?", ""))
        grid.add_row(
            Text(f"  {sign}", style=style),
            words(each.get("partner")),
            Text(words(stage).plain, style=style),
            Text(_age(each.get("since"), now), style="dim"),
            words(each.get("text")),
        )
    return grid


def _advice(partners: list[dict[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for each in partners:
        grid.add_row(Text("  ").append_text(words(each.get("partner"))), words(each.get("advice")))
    return grid


def _age(since: object, now: datetime) -> str:
    try:
        elapsed = now - datetime.fromisoformat(str(since))
    except ValueError:
        return ""
    return span(max(elapsed, timedelta()))


def _having(document: Mapping[str, Any]) -> int:
    return int((document.get("counts") or {}).get("confirmed") or 0)


def _name(certificate: Mapping[str, Any] | None) -> str | None:
    """What people know it by; where it is no longer in the store, the beginning of its fingerprint."""
    if not certificate:
        return None
    return str(certificate.get("alias") or str(certificate.get("fingerprint"))[:16])


def _latest(client: AdminClient) -> int:
    found = items(client.get("/v1/renewals", limit=1), "renewals")
    if not found:
        raise OperatorError(
            "there is no renewal yet", "begin one with 'oftp2d exchange deliver --all --certificate NEW'"
        )
    return int(found[0]["id"])
