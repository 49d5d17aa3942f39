"""``cert``: which certificate is used when, roll-overs and timeslices, history, and files for others."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of
from oftp2d.errors import OperatorError

from .forms import items, moment, properties, table, timeslice
from .options import CODE, MOMENT, command, complete_partner, complete_station, secret
from .terminal import Terminal

PURPOSES = (
    "encryption",
    "signature",
    "verification",
    "eerp-signature",
    "eerp-verification",
    "challenge",
    "decryption",
    "tls-server",
    "tls-client",
)
FORMS = ("pem", "der", "p7b", "p12")
SHORTEST = 8
"""Characters of the passphrase of a file with a private key."""

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_to(cert: click.Group) -> None:
    """Add these commands to the group ``cert``."""
    _add_choosing(cert)
    _add_planning(cert)
    _add_files(cert)


def _add_choosing(cert: click.Group) -> None:
    @command(cert, "explain")
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="Towards this partner.")
    @click.option(
        "--station", type=CODE, shell_complete=complete_station, help="For this code: of yours, or of the partner's."
    )
    @click.option("--for", "purpose", type=click.Choice(PURPOSES), required=True, help="What it would be used for.")
    @click.option("--at", type=MOMENT, help="When, such as 2027-03-01 or 2027-03-01T12:00:00Z. Without it: now.")
    def explain(terminal: Terminal, partner: str | None, station: str | None, purpose: str, at: str | None) -> None:
        """Say which certificate is used, and why each other one is not.

        encryption, verification, eerp-verification and challenge need a certificate of the partner; signature,
        eerp-signature, tls-server and tls-client one of yours, and decryption tries all of yours.

        \b
        Examples:
          oftp2d cert explain --partner O0013000002PARTNER --for encryption
          oftp2d cert explain --station O0013000001COMPANY --for signature --at 2027-03-01
        """
        parameters = {"partner": partner, "station": station, "for": purpose, "at": at}
        with terminal.client() as client:
            document = client.get("/v1/explain", **parameters)
        terminal.show(document, lambda: _explained(document))

    @command(cert, "history")
    @click.argument("certificate", metavar="CERT")
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def history(terminal: Terminal, certificate: str, limit: int) -> None:
        """Show what happened to a certificate, newest first.

        One that was removed has its history, too: name it by its whole fingerprint.
        """
        with terminal.client() as client:
            document = client.get(path_of("certificates", certificate, "history"), limit=limit)
        terminal.show(document, lambda: _history(document))


def _add_planning(cert: click.Group) -> None:
    @command(cert, "rollover")
    @click.argument("old", metavar="OLD")
    @click.argument("new", metavar="NEW")
    @click.option("--at", type=MOMENT, help="When NEW takes over. Without it: in the middle of the overlap.")
    def roll_over(terminal: Terminal, old: str, new: str, at: str | None) -> None:
        """Plan when a new certificate takes over from an old one, without a gap.

        Both must be valid together for some time, usually two weeks. At the planned instant NEW begins to sign, or to
        encrypt for a partner; until then OLD does. What comes in is opened and verified with both, as long as they are
        valid. 'cert timeslice CERT --clear' takes it back.

        \b
        Example:
          oftp2d cert rollover station-2024 station-2027 --at 2027-03-01
        """
        body = {"to": new} | ({"at": at} if at else {})
        with terminal.client() as client:
            document = client.post(path_of("certificates", old, "rollover"), body)
        terminal.show(document, lambda: _rolled(old, new, document))

    @command(cert, "timeslice")
    @click.argument("certificate", metavar="CERT")
    @click.option("--from", "begins", type=MOMENT, help="Not used before.")
    @click.option("--until", "ends", type=MOMENT, help="Not used from then on.")
    @click.option("--clear", is_flag=True, help="Use it as long as it is valid.")
    def slice_(terminal: Terminal, certificate: str, begins: str | None, ends: str | None, clear: bool) -> None:
        """Set the time in which a certificate signs or encrypts, inside of its validity.

        What comes in is opened and verified with it all the same, as long as it is valid.
        """
        if clear is bool(begins or ends):
            raise click.UsageError("Give --from, --until or both, or --clear.")
        given = {"from": begins, "until": ends, "clear": clear}
        body = {name: value for name, value in given.items() if value}
        with terminal.client() as client:
            document = client.post(path_of("certificates", certificate, "timeslice"), body)
        used = timeslice(document).plain
        told = "as long as it is valid" if used == "-" else used
        terminal.show(document, lambda: Text(f"{document.get('alias')} is used {told}"))


def _add_files(cert: click.Group) -> None:
    @command(cert, "export")
    @click.argument("certificate", metavar="CERT")
    @click.option("--form", type=click.Choice(FORMS), default="pem", show_default=True, help="The form of the file.")
    @click.option(
        "--chain", is_flag=True, help="In pem: with the certificates of its authorities. p7b and p12 have them."
    )
    @click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Where to write it. Without it: CERT.FORM here."
    )
    @click.option("--passphrase-file", type=_READABLE, help="A file with the passphrase for p12. Else it is asked for.")
    def export(
        terminal: Terminal,
        *,
        certificate: str,
        form: str,
        chain: bool,
        output: Path | None,
        passphrase_file: Path | None,
    ) -> None:
        """Write a certificate to a file: for a partner, or with its key to keep it safe.

        pem and der are the certificate for a partner; p7b has its authorities beside it. p12 has the private key, too,
        under a passphrase: keep it safe, and never give it to a partner. Only you can read the file (mode 0600), and
        a file that is there is not overwritten.

        \b
        Examples:
          oftp2d cert export station -o station.pem
          oftp2d cert export station --form p7b -o station.p7b
          oftp2d cert export station --form p12 -o station.p12
        """
        body: dict[str, Any] = {"form": form, "chain": chain}
        if form == "p12":
            question = f"A passphrase for the file, {SHORTEST} characters or more"
            body["passphrase"] = secret(
                file=passphrase_file, variable="OFTP2D_KEY_PASSPHRASE", question=question, longest=None
            )
        with terminal.client() as client:
            document = client.post(path_of("certificates", certificate, "export"), body)
        octets = base64.b64decode(str(document.pop("content_base64", "")))
        path = output or Path(f"{_harmless(str(document.get('name')))}.{form}")
        _write(path, octets)
        document["path"] = str(path.absolute())
        terminal.show(document, lambda: Text(f"{document.get('name')} written to {path}"))

    @command(cert, "request")
    @click.argument("alias", metavar="ALIAS")
    @click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it. Without it: shown.")
    def request(terminal: Terminal, alias: str, output: Path | None) -> None:
        """Show a request once more that was made with 'cert generate --csr', to send it to the authority."""
        with terminal.client() as client:
            waiting = items(client.get("/v1/certificates", holder="own"), "requests")
        found = next((each for each in waiting if str(each.get("alias")).lower() == alias.lower()), None)
        if found is None:
            raise OperatorError(f"no request is called {alias!r}", "see 'oftp2d cert list'")
        pem = str(found.get("csr_pem"))
        if output is not None:
            _write(output, pem.encode("ascii"))
        terminal.show(found, lambda: Text(f"request written to {output}" if output else pem.strip()))


def _explained(document: Mapping[str, Any]) -> RenderableType:
    rows = [
        [
            Text("yes", style="green") if each.get("taken") else Text("no"),
            str(each.get("fingerprint"))[:16],
            each.get("alias"),
            moment(each.get("valid_from")),
            moment(each.get("valid_until")),
            timeslice(each),
            each.get("why"),
        ]
        for each in items(document, "considered")
    ]
    rows.sort(key=lambda row: str(row[0]) != "yes")
    head = f"{document.get('situation')}, {moment(document.get('at')).plain}"
    columns = ["used", "fingerprint", "alias", "valid from", "valid until", "timeslice~", "why~"]
    return Group(Text(head, style="bold"), table(columns, rows, empty="there is no certificate at all"))


def _history(document: Mapping[str, Any]) -> RenderableType:
    rows = []
    for entry in items(document, "entries"):
        detail = entry.get("detail") or {}
        told = [
            f"{name}: {value}" for name, value in detail.items() if name != "fingerprint" and value not in {None, ""}
        ]
        rows.append([moment(entry.get("at")), entry.get("partner"), entry.get("event"), told])
    return table(["time", "partner", "event~", "details~"], rows, empty="nothing yet")


def _rolled(old: str, new: str, document: Mapping[str, Any]) -> RenderableType:
    planned = properties(
        {
            "from": old,
            "to": new,
            "at": moment(document.get("at")),
            "both are valid from": moment(document.get("overlap_from")),
            "both are valid until": moment(document.get("overlap_until")),
        }
    )
    unaware = document.get("not_confirmed_by") or []
    if not unaware:
        return planned
    told = f"! has not confirmed the new one: {', '.join(map(str, unaware))}; give it to them before, see 'oftp2d exchange'"
    return Group(planned, Text(told, style="yellow"))


def _write(path: Path, octets: bytes) -> None:
    """Write a file that nobody else can read, and that was not there."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(octets)
    except FileExistsError:
        raise OperatorError(f"{path} is there already", "write to another file with -o, or remove it first") from None
    except OSError as error:
        raise OperatorError(f"{path} can't be written ({error.strerror})", "check the folder") from None


def _harmless(name: str) -> str:
    """A name without what means something in a path."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:80] or "certificate"
