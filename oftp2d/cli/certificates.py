"""``cert``: certificates of ours, of partners, and of the authorities trusted."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of
from oftp2d.errors import OperatorError

from . import planning
from .forms import day, items, moment, properties, table, timeslice, words
from .options import (
    CODE,
    HOST,
    Section,
    command,
    complete_partner,
    complete_station,
    confirmed,
    content,
    partner_argument,
    secret,
)
from .terminal import Terminal

USAGES = ("signature", "encryption", "eerp_signature", "authentication", "tls_server", "tls_client")
KEY_USAGES = ("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement")
_WHAT = "a certificate or key"

_USAGE = click.option(
    "--usage",
    "usages",
    type=click.Choice(USAGES),
    multiple=True,
    help="What it is used for; repeat for several. Without it: all that it is fit for.",
)
_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_to(group: click.Group) -> None:
    """Add the group ``cert``."""

    @group.group("cert", cls=Section)
    def cert() -> None:
        """Certificates: your own, your partners', and those of authorities (CAs) you trust.

        A certificate is named by its alias or by the beginning of its fingerprint.
        """

    _add_listing(cert)
    _add_import(cert)
    _add_generate(cert)
    _add_keeping(cert)
    planning.add_to(cert)
    _add_announcing(cert)
    _add_announced(cert)


def _add_listing(cert: click.Group) -> None:
    @command(cert, "list")
    @click.option(
        "--holder",
        type=click.Choice(["own", "partner", "anchor", "intermediate"]),
        help="Only yours, partners', those of CAs you trust, or those that only complete chains.",
    )
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="Only this partner's.")
    def listing(terminal: Terminal, holder: str | None, partner: str | None) -> None:
        """List certificates, with what each is used for and when it ends."""
        with terminal.client() as client:
            document = client.get("/v1/certificates", holder=holder, partner=partner)
        rows = [
            [
                str(each.get("fingerprint"))[:16],
                each.get("alias"),
                each.get("partner") or each.get("holder"),
                each.get("subject"),
                all_or_some(each.get("usages") or []),
                _place(each),
                day(each.get("valid_until")),
            ]
            for each in items(document, "certificates")
        ]
        columns = ["fingerprint", "alias", "of", "subject~", "used for~", "place", "ends"]
        waiting = [
            Text(f"{each.get('alias')}: requested for {each.get('station')} on {day(each.get('created_at')).plain},")
            + Text(" waits for the answer of the authority: 'oftp2d cert import FILE --own'")
            for each in items(document, "requests")
        ]
        terminal.show(document, lambda: Group(table(columns, rows, empty="no certificates"), *waiting))

    @command(cert, "show")
    @click.argument("certificate", metavar="CERT")
    @click.option("--pem", is_flag=True, help="Print the certificate itself, to give it to a partner.")
    def show(terminal: Terminal, certificate: str, pem: bool) -> None:
        """Show everything about one certificate."""
        with terminal.client() as client:
            document = client.get(path_of("certificates", certificate))
        terminal.show(document, lambda: Text(str(document.get("pem")).strip()) if pem else _details(document))


def _add_import(cert: click.Group) -> None:
    @command(cert, "import")
    @click.argument("file", type=_READABLE)
    @click.option("--own", is_flag=True, help="It is yours: from --key, or from a request made with 'cert generate'.")
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="It is this partner's.")
    @click.option(
        "--anchor",
        is_flag=True,
        help="It is that of an authority (CA) you trust to identify partners; with --partner only that one.",
    )
    @click.option("--intermediate", is_flag=True, help="It is that of an authority that only completes chains.")
    @click.option("--station", type=CODE, help="The code it is for, if not the main one.")
    @click.option("--alias", help="A short name to find it by. Without it: from its subject.")
    @_USAGE
    @click.option("--key", type=_READABLE, help="A file with the private key (PEM), for --own.")
    @click.option(
        "--passphrase-file", type=_READABLE, help="A file with the passphrase of key or PKCS#12. Else it is asked for."
    )
    def import_(
        terminal: Terminal,
        *,
        file: Path,
        own: bool,
        partner: str | None,
        anchor: bool,
        intermediate: bool,
        key: Path | None,
        passphrase_file: Path | None,
        **given: Any,
    ) -> None:
        """Import a certificate from a file: PEM, DER, PKCS#7 (.p7b) or PKCS#12 (.p12, .pfx).

        Authorities in the same file complete the chain and are not trusted by that. One of yours that follows another is
        a successor: partners are to get it.

        \b
        Examples:
          oftp2d cert import odette-ca.pem --anchor
          oftp2d cert import private-ca.pem --anchor --partner O0013000002PARTNER
          oftp2d cert import partner.cer --partner O0013000002PARTNER
          oftp2d cert import issued.p7b --own
          oftp2d cert import station.p12 --own
        """
        whose = [own, anchor, intermediate, partner is not None and not anchor]
        if whose.count(True) != 1:
            raise click.UsageError("Say whose it is: one of --own, --partner CODE, --anchor and --intermediate.")
        holder = ("own", "anchor", "intermediate", "partner")[whose.index(True)]
        body: dict[str, Any] = {name: value for name, value in given.items() if value}
        body |= {"holder": holder} | content_of(file)
        if partner:
            body["partner"] = partner
        if key is not None:
            body |= _private_key(key, passphrase_file)
        elif _is_bundle(file) or (own and b"ENCRYPTED" in content(file, _WHAT)):
            body["passphrase"] = _passphrase(passphrase_file)
        with terminal.client() as client:
            document = client.post("/v1/certificates", body)
        terminal.show(document, lambda: _details(document))
        for warning in document.get("warnings") or []:
            terminal.hint(f"! {warning}")
        if document.get("renewal"):
            offered = f"renewal {document['renewal']} offers it to all partners"
            terminal.hint(f"it follows {document['follows']}: {offered}, see 'oftp2d exchange renewal'")
        elif document.get("follows"):
            terminal.hint(f"it follows {document['follows']}: partners need it, see 'oftp2d exchange deliver --help'")


def _add_generate(cert: click.Group) -> None:
    @command(cert, "generate")
    @click.option("--alias", required=True, help="A short name to find it by.")
    @click.option("--station", type=CODE, shell_complete=complete_station, help="For which code; else the main one.")
    @click.option("--cn", "common_name", help="The common name: usually the host name partners call.")
    @click.option("--organisation", help="Your company's name as registered.")
    @click.option("--country", help="Two letters, such as DE.")
    @click.option("--host", "hosts", type=HOST, multiple=True, help="A host name partners call; repeat for several.")
    @click.option(
        "--bits",
        "key_bits",
        type=click.Choice(["2048", "3072", "4096"]),
        default="3072",
        show_default=True,
        help="The size of the RSA key.",
    )
    @click.option("--email", help="An address for questions; it stands in the certificate for everyone to read.")
    @click.option("--days", type=click.IntRange(1, 3650), default=1095, show_default=True, help="Valid so long.")
    @click.option("--csr", is_flag=True, help="Make a request for an authority (CA) instead of a certificate.")
    @click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the request.")
    def generate(terminal: Terminal, key_bits: str, csr: bool, output: Path | None, **given: Any) -> None:
        """Make a new key pair, with a self-signed certificate or a request for one.

        Partners usually demand a certificate from an authority of Odette's trust list: use --csr, send the
        request to the authority, and import its answer with 'cert import FILE --own'. The private key stays
        here, encrypted.
        """
        body = {name: value for name, value in given.items() if value} | {
            "key_bits": int(key_bits),
            "csr": csr,
        }
        if output is not None and not output.absolute().parent.is_dir():
            raise OperatorError(f"{output} can't be written: there is no such folder", "make it, or write elsewhere")
        with terminal.client() as client:
            document = client.post("/v1/certificates/generate", body)
        request = document.get("csr_pem")
        if output is not None and isinstance(request, str):
            try:
                output.write_text(request)
            except OSError as error:
                raise OperatorError(f"{output} can't be written ({error.strerror})", "check the folder") from None
            terminal.show(document, lambda: Text(f"request written to {output}"))
        else:
            terminal.show(document, lambda: Text(request) if isinstance(request, str) else _details(document))


def _add_keeping(cert: click.Group) -> None:
    @command(cert, "deactivate")
    @click.argument("certificate", metavar="CERT")
    def deactivate(terminal: Terminal, certificate: str) -> None:
        """Keep a certificate, but use it for nothing any more; 'cert activate' takes that back.

        An authority that is not active is not trusted; a partner's certificate can't come back by itself.
        """
        with terminal.client() as client:
            document = client.post(path_of("certificates", certificate, "deactivate"))
        terminal.show(document, lambda: Text(f"{document.get('alias')} is not used any more"))
        if left := document.get("no_other_for"):
            terminal.hint(
                f"! accepted no other of ours: {', '.join(left)}: what they encrypt for it is not opened, and session"
                f" authentication with them fails; 'oftp2d cert activate {certificate}' until they have the next one"
            )

    @command(cert, "activate")
    @click.argument("certificate", metavar="CERT")
    def activate(terminal: Terminal, certificate: str) -> None:
        """Use a certificate again that was deactivated."""
        with terminal.client() as client:
            document = client.post(path_of("certificates", certificate, "activate"))
        terminal.show(document, lambda: Text(f"{document.get('alias')} is used again"))

    @command(cert, "remove")
    @click.argument("certificate", metavar="CERT")
    @click.option("--yes", is_flag=True, help="Don't ask.")
    def remove(terminal: Terminal, certificate: str, yes: bool) -> None:
        """Remove a certificate, and its private key if it is yours. 'cert deactivate' is the gentle way.

        Also removes a request that waits for the answer of an authority, by its alias.

        Without the private key nothing that partners encrypted with the certificate can be read any more.
        """
        if not yes:
            confirmed(f"Remove {certificate} for ever, with its private key if it is yours?")
        with terminal.client() as client:
            document = client.delete(path_of("certificates", certificate))
        terminal.show(document, lambda: Text(f"{document.get('alias')} removed"))


def _add_announcing(cert: click.Group) -> None:
    @command(cert, "announce")
    @partner_argument
    @click.option("--cn", "common_name", help="The common name that will stand in it, if you know no more.")
    @click.option("--host", type=HOST, help="A host name it will be for, if that is what you know.")
    @click.option("--subject", help='The whole subject or a part of it, such as "CN=oftp.partner.example,C=DE".')
    @click.option("--issuer", metavar="CERT", help="The authority that issued it: an anchor, or one of the trust list.")
    @click.option("--station", type=CODE, help="Which of the partner's codes it is for. Without it: any.")
    @click.option("--key-usage", "key_usages", type=click.Choice(KEY_USAGES), multiple=True, help="Must be in it.")
    @_USAGE
    def announce(terminal: Terminal, partner: str, **given: Any) -> None:
        """Say what the certificate looks like that a partner will bring by itself (ACX).

        Only a certificate that fits an announcement, or follows a known one, is accepted; all others are
        refused with the reason. Ask the partner for the common name and the issuing authority.

        \b
        Example:
          oftp2d cert announce O0013000002PARTNER --cn oftp.partner.example --issuer odette-ca
        """
        if not (given["common_name"] or given["subject"] or given["host"]):
            raise click.UsageError("Give --cn, --host or --subject.")
        body = {"partner": partner} | {name: value for name, value in given.items() if value}
        with terminal.client() as client:
            document = client.post("/v1/announcements", body)
        switched_off = document.get("acx") == "off"
        advice = f"; the exchange is off: 'oftp2d partner change {partner} --acx announced'" if switched_off else ""
        terminal.show(document, lambda: words(f"announcement {document.get('id')} for {partner}{advice}"))


def _add_announced(cert: click.Group) -> None:
    @command(cert, "announcements")
    @click.argument("partner", type=CODE, required=False, shell_complete=complete_partner)
    def announcements(terminal: Terminal, partner: str | None) -> None:
        """List the certificates announced, and which have arrived."""
        with terminal.client() as client:
            document = client.get("/v1/announcements", partner=partner)
        rows = [
            [
                each.get("id"),
                each.get("partner"),
                each.get("common_name") or each.get("host") or each.get("subject"),
                each.get("issuer_alias") or str(each.get("issuer") or "")[:16],
                all_or_some(each.get("usages") or []),
                each.get("fulfilled_by_alias") or str(each.get("fulfilled_by") or "")[:16],
            ]
            for each in items(document, "announcements")
        ]
        columns = ["id", "partner", "expected~", "issuer", "used for~", "arrived"]
        terminal.show(document, lambda: table(columns, rows, empty="none announced"))

    @command(cert, "announcement")
    @click.argument("number", type=click.IntRange(1), metavar="ID")
    def announcement(terminal: Terminal, number: int) -> None:
        """Show an announcement beside the certificate that arrived.

        Where none was accepted yet: beside the last one that was refused, so that it can be seen what differs.
        """
        with terminal.client() as client:
            document = client.get(path_of("announcements", str(number)))
        terminal.show(document, lambda: _side_by_side(document))

    @command(cert, "unannounce")
    @click.argument("number", type=click.IntRange(1), metavar="ID")
    def unannounce(terminal: Terminal, number: int) -> None:
        """Take an announcement back."""
        with terminal.client() as client:
            document = client.delete(path_of("announcements", str(number)))
        terminal.show(document, lambda: Text(f"announcement {number} removed"))

    @command(cert, "confirm")
    @partner_argument
    @click.argument("certificate", metavar="CERT")
    def confirm(terminal: Terminal, partner: str, certificate: str) -> None:
        """Say that a partner has installed a certificate of yours by hand.

        With ACX the partner's receipt says so. Without, this is your word for it: from now on the certificate
        counts as known to that partner.
        """
        with terminal.client() as client:
            document = client.post(path_of("certificates", certificate, "confirm"), {"partner": partner})
        terminal.show(document, lambda: Text(f"{partner} knows {str(document.get('fingerprint'))[:16]}"))


def _side_by_side(document: Mapping[str, Any]) -> RenderableType:
    arrived = document.get("arrived")
    head = properties(
        {
            "announcement": document.get("id"),
            "partner": document.get("partner"),
            "station": document.get("station") or "any",
            "used for": all_or_some(document.get("usages") or []),
            "arrived": arrived and arrived.get("fingerprint"),
            "accepted": document.get("accepted") if arrived else None,
        }
    )
    rows = [
        [each.get("name"), each.get("announced") or "(anything)", each.get("arrived"), bool(each.get("equal"))]
        for each in items(document, "parts")
    ]
    compared = table(["part", "announced~", "arrived~", "fits"], rows, empty="nothing has arrived yet")
    return Group(head, compared)


def all_or_some(usages: Sequence[str]) -> str:
    """Usages for people."""
    return "all" if set(usages) == set(USAGES) else ", ".join(usages)


def content_of(file: Path) -> dict[str, str]:
    """The certificates of a file as a request has them."""
    octets = content(file, _WHAT)
    if b"-----BEGIN" in octets and octets.isascii():
        return {"pem": octets.decode("ascii")}
    return {"der_base64": base64.b64encode(octets).decode("ascii")}


def _private_key(key: Path, passphrase_file: Path | None) -> dict[str, str]:
    octets = content(key, _WHAT)
    if b"-----BEGIN" not in octets or not octets.isascii():
        raise OperatorError(f"{key} is no private key in PEM form", "convert it with 'openssl pkcs8 -topk8'")
    text = octets.decode("ascii")
    if "ENCRYPTED" not in text:
        return {"private_key_pem": text}
    return {"private_key_pem": text, "passphrase": _passphrase(passphrase_file)}


def _passphrase(file: Path | None) -> str:
    question = "The passphrase of the private key"
    return secret(file=file, variable="OFTP2D_KEY_PASSPHRASE", question=question, longest=None) or ""


def _place(document: Mapping[str, Any]) -> str:
    """Where it stands, and whether it is used at all."""
    why = "barred" if document.get("barred") else "" if document.get("active") else "inactive"
    return f"{document.get('slot')}{why and f' ({why})'}"


def _is_bundle(file: Path) -> bool:
    """Whether it is PKCS#12: a SEQUENCE that begins with version 3, of whatever length (RFC 7292 section 4)."""
    return bool(
        re.match(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", content(file, _WHAT)[:9], re.DOTALL)
    )


def _details(document: Mapping[str, Any]) -> RenderableType:
    return properties(
        {
            "fingerprint (SHA-256)": document.get("fingerprint"),
            "alias": document.get("alias"),
            "of": document.get("partner") or document.get("holder"),
            "station": document.get("station"),
            "subject": document.get("subject"),
            "issuer": document.get("issuer"),
            "serial number": document.get("serial"),
            "key": document.get("key"),
            "valid from": moment(document.get("valid_from")),
            "valid until": moment(document.get("valid_until")),
            "timeslice": timeslice(document),
            "key usages": document.get("key_usage"),
            "used for": document.get("usages"),
            "place": document.get("slot"),
            "withdrawn": moment(document.get("withdrawn_at")),
            "active": document.get("active"),
            "used for nothing": document.get("barred"),
            "private key here": document.get("private_key"),
            "known to": document.get("confirmed_by"),
            "came from": document.get("origin"),
            "added": moment(document.get("added_at")),
        }
    )
