"""``exchange status``, ``show``, ``list``, ``accept`` and ``reject``: what was exchanged, and the word of an operator."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of

from .certificates import USAGES, all_or_some
from .forms import day, items, moment, properties, state, table, words
from .options import CODE, command, complete_partner
from .terminal import Terminal

_NUMBER = click.argument("number", type=click.IntRange(min=1), metavar="ID")


def add_to(exchange: click.Group) -> None:
    """Add the commands of this module to the group ``exchange``."""
    _add_deciding(exchange)
    _add_reading(exchange)


def _add_deciding(exchange: click.Group) -> None:
    @command(exchange, "accept")
    @_NUMBER
    @click.option(
        "--usage",
        "usages",
        type=click.Choice(USAGES),
        multiple=True,
        help="What it is used for; repeat for several. Without it: what the one it follows was used for, what was announced,"
        " or else all that nothing is used for yet.",
    )
    def accept(terminal: Terminal, number: int, usages: tuple[str, ...]) -> None:
        """Accept a certificate that is held for you; the partner gets its EERP.

        Certificates are held where 'oftp2d partner change PARTNER --hold-certificates' says so. Compare the
        fingerprint with the partner before ('oftp2d exchange show ID'): your word also stands for a certificate
        that nobody vouches for. The ID is that of 'oftp2d exchange list'.
        """
        with terminal.client() as client:
            document = client.post(
                path_of("exchange", str(number), "accept"), {"usages": list(usages)} if usages else {}
            )
        terminal.show(document, lambda: words(f"accepted: {document.get('text')}; {document.get('partner')} is told"))

    @command(exchange, "reject")
    @_NUMBER
    @click.option("--text", metavar="WORDS", help="Why, for the partner: it reads this in the NERP.")
    def reject(terminal: Terminal, number: int, text: str | None) -> None:
        """Refuse a certificate that is held for you; the partner gets a NERP with your words."""
        with terminal.client() as client:
            document = client.post(path_of("exchange", str(number), "reject"), {"text": text} if text else {})
        terminal.show(document, lambda: words(f"refused: {document.get('text')}; {document.get('partner')} is told"))


def _add_reading(exchange: click.Group) -> None:
    @command(exchange, "status")
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner)
    def status(terminal: Terminal, partner: str | None) -> None:
        """Show where the exchange of certificates stands, with every partner or with one.

        \b
        Of each of a partner's certificates, by what it is used for:
          none       there is none
          announced  you have said which will come
          active     it is in use
          rolling    a new one is in use, the former one still counts
          barred     it is there and used for nothing, such as because it was revoked
        Of each of yours whether the partner has confirmed it. And what is to happen next: who waits for whom,
        with the command where it is for you to do something.
        """
        with terminal.client() as client:
            document = client.get("/v1/exchange/standing", partner=partner)
        terminal.show(document, lambda: _standings(items(document, "partners")))

    @command(exchange, "show")
    @_NUMBER
    def show(terminal: Terminal, number: int) -> None:
        """Show a message with the certificate it carries, and what was decided by which rule.

        Of a partner's certificate also what was announced, and what arrived, part by part.
        """
        with terminal.client() as client:
            document = client.get(path_of("exchange", str(number)))
        terminal.show(document, lambda: _message(document))

    @command(exchange, "list")
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner)
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def listing(terminal: Terminal, partner: str | None, limit: int) -> None:
        """List the messages exchanged, both ways, newest first."""
        with terminal.client() as client:
            document = client.get("/v1/exchange", partner=partner, limit=limit)
        rows = [
            [
                each.get("id"),
                moment(each.get("created_at")),
                each.get("partner"),
                each.get("direction"),
                each.get("message"),
                each.get("alias") or str(each.get("fingerprint") or "")[:16],
                state(str(each.get("state"))),
                each.get("text"),
            ]
            for each in items(document, "exchanges")
        ]
        columns = ["id>", "time", "partner", "way", "message", "certificate", "state", "text~"]
        terminal.show(document, lambda: table(columns, rows, empty="no messages yet"))


def _standings(documents: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not documents:
        return words("no partners yet: 'oftp2d partner add'")
    parts: list[RenderableType] = []
    for document in documents:
        parts += [
            Text(f"{document.get('partner')}, exchange {document.get('acx')}", style="bold"),
            _theirs(items(document, "theirs")),
            _ours(items(document, "ours")),
            *(_wait(each) for each in items(document, "waits")),
            Text(),
        ]
    return Group(*parts[:-1])


def _theirs(places: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line for all usages that share a certificate."""
    rows: dict[tuple[Any, ...], list[str]] = {}
    for each in places:
        same = tuple(each.get(name) for name in ("station", "stage", "alias", "until", "former"))
        rows.setdefault(same, []).append(str(each.get("usage")))
    return table(
        ["theirs", "used for~", "state", "certificate", "until", "former"],
        [
            [station, all_or_some(usages), state(str(stage)), alias, day(until), former]
            for (station, stage, alias, until, former), usages in rows.items()
        ],
        empty="",
    )


def _ours(certificates: Sequence[Mapping[str, Any]]) -> RenderableType:
    return table(
        ["ours", "certificate", "until", "state", "since", "by~"],
        [
            [
                each.get("station"),
                each.get("alias"),
                day(each.get("until")),
                state(str(each.get("state"))),
                moment(each.get("since")),
                each.get("how"),
            ]
            for each in certificates
        ],
        empty="there is no certificate of ours for it: 'oftp2d cert generate'",
    )


def _wait(document: Mapping[str, Any]) -> Text:
    since = f", since {day(document.get('since'))}" if document.get("since") else ""
    return words(f"! waits for {document.get('on')}{since}: {document.get('text')}")


def _message(document: Mapping[str, Any]) -> RenderableType:
    told = {
        "message": f"{document.get('id')}, {document.get('message')} {document.get('direction')}",
        "partner": document.get("partner"),
        "from and to": f"{document.get('originator')} to {document.get('destination')}",
        "time": moment(document.get("created_at")),
        "state": state(str(document.get("state"))),
        "why": document.get("text"),
        "rule": document.get("rule"),
        "session proven by": document.get("proof"),
        "answered": moment(document["answered_at"]) if document.get("answered_at") else None,
        "end response": document.get("end_response"),
        "reminder": document.get("reminders"),
        "transfer": document.get("transfer_id"),
    }
    parts: list[RenderableType] = [properties({name: value for name, value in told.items() if value})]
    if certificate := document.get("certificate"):
        parts += [Text(), Text("the certificate", style="bold"), properties(_certificate(certificate))]
    if described := document.get("describes"):
        parts += [Text(), Text("the one it says it follows", style="bold"), properties(described)]
    for announced in items(document, "announced"):
        rows = [
            [each.get("name"), each.get("announced"), each.get("arrived"), "" if each.get("equal") else "differs"]
            for each in items(announced, "parts")
        ]
        heading = Text(f"announcement {announced.get('id')}", style="bold")
        parts += [Text(), heading, table(["part", "announced~", "arrived~", ""], rows, empty="")]
    if document.get("state") == "held":
        number = document.get("id")
        parts += [Text(), words(f"decide: 'oftp2d exchange accept {number}' or 'oftp2d exchange reject {number}'")]
    if document.get("raw_kept"):
        parts += [Text(), words(f"kept as it came: 'oftp2d transfer raw {document.get('transfer_id')}'")]
    return Group(*parts)


def _certificate(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "subject": document.get("subject"),
        "issuer": "itself" if document.get("self_signed") else document.get("issuer"),
        "serial number": document.get("serial"),
        "valid": f"{moment(document.get('valid_from'))} to {moment(document.get('valid_until'))}",
        "key": document.get("key"),
        "key usage": document.get("key_usage"),
        "extended key usage": document.get("extended_key_usage"),
        "hosts": document.get("hosts"),
        "fingerprint": document.get("fingerprint"),
    }
