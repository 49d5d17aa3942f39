"""``trust``: whom the station trusts to say whose certificate it is."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of
from oftp2d.retries import span

from .certificates import content_of
from .forms import Cell, day, items, moment, properties, table, words
from .options import CODE, Section, command, complete_partner
from .terminal import Exit, Terminal

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_to(group: click.Group) -> None:
    """Add the group ``trust``."""

    @group.group("trust", cls=Section)
    def trust() -> None:
        """Whom you trust to say whose certificate it is: authorities (CAs), and Odette's trust list.

        \b
        A partner's certificate is trusted when it was issued by
          an anchor of yours         'oftp2d cert import FILE --anchor'
          an anchor of that partner  the same with --partner
          an issuing authority of the trust list, once [trust_list] in oftp2d.toml says enabled = true
        'oftp2d partner change PARTNER --only-own-anchors' lets nothing but the second count for a partner.
        """

    _add_reading(trust)
    _add_keeping(trust)


def _add_reading(trust: click.Group) -> None:
    @command(trust, "list")
    def listing(terminal: Terminal) -> None:
        """List the authorities you trust, with where the trust comes from, the trust list, and the revocation lists (CRLs)."""
        with terminal.client() as client:
            document = client.get("/v1/trust")
        terminal.show(document, lambda: _view(document))

    @command(trust, "test")
    @click.argument("file", type=_READABLE)
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="As if this partner had shown it.")
    def test(terminal: Terminal, file: Path, partner: str | None) -> Exit | None:
        """Say whether a certificate in a file (PEM or DER) is trusted, by which path, or why not.

        Authorities that are in the same file count as those a partner sends along: they build the path, and are
        trusted for nothing. The exit code is 1 when the certificate is not trusted.
        """
        body = content_of(file) | ({"partner": partner} if partner else {})
        with terminal.client() as client:
            document = client.post(path_of("trust", "test"), body)
        terminal.show(document, lambda: _judged(document))
        return None if document.get("trusted") else Exit.FAILED


def _add_keeping(trust: click.Group) -> None:
    @command(trust, "refresh")
    @click.option("--anew", is_flag=True, help="Read it even where its stamp says that it has not changed.")
    def refresh(terminal: Terminal, anew: bool) -> None:
        """Look for a new trust list now, and read all revocation lists (CRLs). Without this the station does so once a day."""
        with terminal.client() as client:
            document = client.post(path_of("trust", "refresh"), {"anew": anew}, calls=True)
        terminal.show(document, lambda: _refreshed(document))

    @command(trust, "pin")
    @click.argument("signer", metavar="SHA256")
    def pin(terminal: Terminal, signer: str) -> None:
        """Take only trust lists that are signed with this certificate, named by its SHA-256 fingerprint.

        A list proves itself by its signature, and the signer by nothing but its fingerprint: get that from Odette by
        another way than the list. Without this the signer of the first list that is read is pinned. A list of
        another signer is refused; the one that was read before stays in use until the next is read.
        """
        with terminal.client() as client:
            document = client.post(path_of("trust", "pin"), {"signer": signer})
        terminal.show(document, lambda: Text("pinned; 'oftp2d trust refresh --anew' reads the list of that signer"))

    @command(trust, "unpin")
    def unpin(terminal: Terminal) -> None:
        """Forget who signs the trust list, and its number: the next list is taken as the first was.

        That is for the day when Odette has another signer, or has begun to count anew, and you have reason to believe
        it. 'trust pin' with the new fingerprint is the careful way.
        """
        with terminal.client() as client:
            document = client.post(path_of("trust", "unpin"))
        terminal.show(
            document, lambda: Text("forgotten; 'oftp2d trust refresh --anew' reads the list and pins its signer")
        )


def _refreshed(document: Mapping[str, Any]) -> RenderableType:
    told = [words(_outcome(document))] if document.get("outcome") else []
    return Group(*told, *_revocation(document))


def _outcome(document: Mapping[str, Any]) -> str:
    listed = document.get("trust_list") or {}
    what = "has not changed" if document.get("outcome") == "unchanged" else "is taken up"
    return f"{listed.get('name')}, number {listed.get('number')}, {what}: {listed.get('authorities')} authorities"


def _judged(document: Mapping[str, Any]) -> RenderableType:
    path = [
        Text("  " * depth) + words(each.get("subject")) + Text(", until ") + day(each.get("valid_until"))
        for depth, each in enumerate(reversed(items(document, "path")))
    ]
    verdict = Text("trusted", style="green") if document.get("trusted") else Text("not trusted", style="red")
    return Group(verdict + Text(": ") + words(document.get("text")), *path)


def _view(document: Mapping[str, Any]) -> RenderableType:
    listed = document.get("trust_list") or {}
    rows = [*_anchors(document), *_listed(listed)]
    authorities = table(["authority~", "trusted as", "fingerprint", "ends"], rows, empty="no authority is trusted")
    return Group(authorities, Text(), properties(_list_properties(listed)), Text(), *_revocation(document))


def _revocation(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    revocation = document.get("revocation") or {}
    if revocation.get("mode") == "off":
        yield Text("revocation lists are not read: see [revocation] in oftp2d.toml")
        return
    rows = [
        [
            each.get("issuer") or each.get("url"),
            each.get("revoked"),
            _age(each),
            moment(each.get("due_at")),
            each.get("error"),
        ]
        for each in items(revocation, "lists")
    ]
    yield table(
        ["revocation list of~", "revoked", "age", "read next", "problem~"],
        rows,
        empty="no certificate in use names a revocation list",
    )


def _age(listed: Mapping[str, Any]) -> Text:
    seconds = listed.get("age_seconds")
    if seconds is None:
        return Text("not read yet", style="yellow")
    said = span(timedelta(seconds=seconds))
    return Text(f"{said}, too old", style="red") if listed.get("too_old") else Text(said)


def _anchors(document: Mapping[str, Any]) -> Iterator[list[Cell]]:
    for each in items(document, "anchors"):
        source = f"anchor of {each.get('partner')}" if each.get("partner") else "anchor"
        source += "" if each.get("active") else " (switched off)"
        yield [each.get("subject"), source, str(each.get("fingerprint"))[:16], day(each.get("valid_until"))]


def _listed(listed: Mapping[str, Any]) -> Iterator[list[Cell]]:
    for entry in items(listed, "entries"):
        for each in items(entry, "certificates"):
            if each.get("trusted"):
                name = f"trust list: {entry.get('service')}"
                yield [each.get("subject"), name, str(each.get("fingerprint"))[:16], day(each.get("valid_until"))]


def _list_properties(listed: Mapping[str, Any]) -> dict[str, Cell]:
    if not listed.get("enabled"):
        return {
            "trust list": "not in use: set enabled = true in [trust_list] of oftp2d.toml to trust its authorities too"
        }
    due = day(listed.get("next_update"))
    return {
        "trust list": listed.get("name") if listed.get("counts") else "none counts yet",
        "address": listed.get("url"),
        "number": listed.get("number"),
        "issued": moment(listed.get("issued_at")),
        "next by": due + Text(" (overdue)", style="yellow") if listed.get("overdue") else due,
        "signed by": listed.get("signed_by"),
        "signer (SHA-256)": listed.get("signer"),
        "pinned": listed.get("pinned"),
        "read": moment(listed.get("read_at")),
        "tried": moment(listed.get("tried_at")),
        "problem": listed.get("error"),
    }
