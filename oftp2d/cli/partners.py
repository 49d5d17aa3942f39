"""``partner``: the companies files are exchanged with."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of

from .forms import items, moment, properties, table, words
from .options import CODE, Command, Section, command, confirmed, hint_about, partner_argument, secret
from .terminal import Exit, Terminal

LONGEST_PASSWORD = 8
"""Characters of SSIDPSWD, RFC 5024 5.3.2."""

LONGEST_INTERVAL = 604_800 // 60
"""Minutes between two calls: a week."""

_LEVELS: Mapping[object, str] = {1: "1 (OFTP 1.2)", 2: "2 (OFTP 1.3)", 4: "4 (OFTP 1.4)", 5: "5 (OFTP 2.0)"}
_MODES: Mapping[object, str] = {
    "both": "both",
    "send": "we send, it receives",
    "receive": "we receive, it sends",
}

_SCOPES: Mapping[object, str] = {
    "slots": "the usages of the one before it",
    "all": "all its station has here",
}

SUITES_IN_WORDS: Mapping[object, str] = {
    1: "01 (3DES, SHA-1: broken)",
    2: "02 (AES-256, SHA-1: broken)",
    3: "03 (3DES, SHA-256)",
    4: "04 (AES-256, SHA-256)",
    5: "05 (3DES, SHA-512)",
    6: "06 (AES-256, SHA-512)",
    7: "07 (AES-256, SHA3-512)",
    8: "08 (AES-256, SHA-256, RSA OAEP and PSS)",
    9: "09 (AES-256, SHA-512, RSA OAEP and PSS)",
    10: "10 (AES-256, SHA3-512, RSA OAEP and PSS)",
}

_DONE = {"signed": "sign_files", "compressed": "compress_files", "encrypted": "encrypt_files"}

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Calls(click.ParamType[dict[str, Any]]):
    """The call policy: on-demand, wait, or every so many minutes."""

    name = "calls"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """What the interface is told."""
        match str(value).split():
            case ["on-demand" | "wait" as policy]:
                return {"call": policy}
            case ["every", minutes] if minutes.isdecimal() and 1 <= int(minutes) <= LONGEST_INTERVAL:
                return {"call": "every", "call_every": 60 * int(minutes)}
        told = f"on-demand, wait, or every with 1 to {LONGEST_INTERVAL} minutes, such as: every 15"
        raise click.BadParameter(f"{value!r} is none of {told}.", ctx=ctx, param=param)


CALLS = Calls()

_SETTINGS = (
    click.option("--name", help="The company's name, for people. Without it: the code."),
    click.option("--host", help="Where to call: the partner's host name or IP address. Without it we never call."),
    click.option("--port", type=click.IntRange(1, 65535), help="The port there: 6619 for tls, 3305 for tcp."),
    click.option("--transport", type=click.Choice(["tls", "tcp"]), help="tls (usual), or tcp without any protection."),
    click.option("--server-name", help="The host name in its TLS certificate, if it is not the one we call."),
    click.option(
        "--client-certificate/--no-client-certificate",
        default=None,
        help="Whether the partner must show a TLS certificate of its own when it calls (mutual TLS).",
    ),
    click.option("--station", type=CODE, help="Our code towards it. Without it: the main station."),
    click.option(
        "--sub-station",
        "sub_stations",
        type=CODE,
        multiple=True,
        help="A further code that files come from or go to (SFID code). Repeat for more.",
    ),
    click.option(
        "--acx",
        type=click.Choice(["off", "announced", "known", "trusted"]),
        help="Which certificates it may bring automatically: none (off, the usual), those announced with "
        "'cert announce' and successors of known ones (announced), only successors (known), or any from a "
        "trusted CA (trusted).",
    ),
    click.option(
        "--hold-certificates/--no-hold-certificates",
        default=None,
        help="Whether the certificates it brings by ACX wait for your word ('exchange accept', 'exchange reject'), and "
        "their receipts with them.",
    ),
    click.option(
        "--replace-scope",
        type=click.Choice(["slots", "all"]),
        help="What a certificate recalled by it (REPLACE) takes the place of: the usages of the one it follows (slots, "
        "the usual), or all that its station has here (all).",
    ),
    click.option(
        "--only-own-anchors/--all-anchors",
        "only_own_anchors",
        default=None,
        help="Whether its certificates are trusted by the authorities imported for it alone ('cert import --anchor "
        "--partner'), and not by those that are for everyone.",
    ),
    click.option(
        "--authentication",
        type=click.Choice(["off", "prepared", "on"]),
        help="Session authentication: must be the same at both ends. prepared turns itself on once both "
        "certificates have been exchanged.",
    ),
    click.option(
        "--level",
        type=click.Choice(["1", "2", "4", "5"]),
        help="The highest release level to speak with it: 5 is OFTP 2.0 (usual), 4 is 1.4, 2 is 1.3, 1 is 1.2. The "
        "lower one of both sides is spoken. For a partner of level 1 or 2 say so: its files get time stamps it can "
        "tell apart.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["both", "send", "receive"]),
        help="The direction of files, seen from here: both (usual), or we only send to it, or only receive from it.",
    ),
    click.option("--buffer-size", type=click.IntRange(128, 99999), help="The largest exchange buffer, in octets."),
    click.option("--credit", type=click.IntRange(1, 999), help="The largest number of buffers in a row."),
    click.option(
        "--compression/--no-compression",
        default=None,
        help="Whether to compress data on its way, if the partner can too.",
    ),
    click.option(
        "--restart/--no-restart",
        default=None,
        help="Whether a file that broke off may go on where it stopped, if the partner can too.",
    ),
    click.option(
        "--may-forward/--no-forward",
        "may_forward",
        default=None,
        help="Whether its files for others are taken, and forwarded to the partner whose code or further code they are "
        "for. The end response travels back. Without it they are refused (SFNA 02).",
    ),
    click.option(
        "--text-charset",
        help="The character set of its texts (format T): an EBCDIC code page such as cp037, cp273, cp500, cp1047 or "
        "cp1141, or latin-1, cp1252 or utf-8. Ours are UTF-8 then. Without it, or '', the octets stay what they are.",
    ),
    click.option(
        "--text-line-ends",
        type=click.Choice(["as-is", "lf", "crlf"]),
        help="What ends the lines of texts on our side; on their way it is CR-LF. as-is (the usual) changes nothing.",
    ),
    click.option(
        "--sign-files/--no-sign-files",
        default=None,
        help="Whether files for it are signed, so that it knows that they are ours and as we sent them.",
    ),
    click.option(
        "--compress-files/--no-compress-files",
        default=None,
        help="Whether files for it are compressed as a whole, which saves more than --compression.",
    ),
    click.option(
        "--encrypt-files/--no-encrypt-files",
        default=None,
        help="Whether files for it are encrypted, so that only it can read them. Its certificate is needed.",
    ),
    click.option(
        "--cipher-suite",
        type=click.IntRange(1, 10),
        help="The algorithms for that, by the number both companies agree on: 3 (3DES, SHA-256), 4 (AES-256, SHA-256; "
        "the usual), 5 (3DES, SHA-512), 6 (AES-256, SHA-512), 7 (AES-256, SHA3-512), 8, 9, 10 (as 4, 6, 7 with the newer "
        "RSA paddings OAEP and PSS). 1 (3DES) and 2 (AES-256) hash with SHA-1, which is broken: only for a partner that "
        "knows nothing else. Its own files may have any from 3 on, or this one.",
    ),
    click.option(
        "--signed-receipts/--no-signed-receipts",
        default=None,
        help="Whether it is to sign its receipts (EERP, NERP), as evidence that it has a file.",
    ),
    click.option(
        "--unsigned-receipts",
        type=click.Choice(["accept", "refuse"]),
        help="Whether a receipt without signature counts where a signed one was asked for. refuse is the usual.",
    ),
    click.option(
        "--signer-certificate/--no-signer-certificate",
        default=None,
        help="Whether our signatures carry our certificate, for systems that do not look it up.",
    ),
    click.option(
        "--incoming-signed",
        type=click.Choice(["required", "allowed", "refused"]),
        help="Signed files from it: unsigned ones are refused (required), both are taken (allowed, the usual), signed "
        "ones are refused (refused).",
    ),
    click.option(
        "--incoming-encrypted",
        type=click.Choice(["required", "allowed", "refused"]),
        help="Encrypted files from it, in the same way.",
    ),
    click.option(
        "--incoming-compressed",
        type=click.Choice(["allowed", "refused"]),
        help="Files from it that are compressed as a whole: taken (allowed, the usual), or refused.",
    ),
    click.option(
        "--least-rsa-bits",
        type=click.IntRange(1024, 4096),
        help="The shortest RSA key of it that is used, in bits: 2048 is the usual, and less can be broken.",
    ),
    click.option("--active/--inactive", default=None, help="Whether it may connect and is called at all."),
    click.option(
        "--call",
        type=CALLS,
        metavar="on-demand|wait|every MINUTES",
        help="When to call it by ourselves: when something waits for it (on-demand, the usual), never, so that "
        "everything waits for its call (wait), or so often to fetch files, too, from partners that never call us "
        "(every 15).",
    ),
    click.option(
        "--password-ours-file", type=_READABLE, help="A file with the password we send. At most 8 characters."
    ),
    click.option("--password-theirs-file", type=_READABLE, help="A file with the password the partner sends to us."),
)


class WithCalls(click.Command):
    """A command whose option --call takes its minutes as a word of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the two words."""
        joined: list[str] = []
        for word in args:
            if joined[-1:] in (["every"], ["--call=every"]) and word.isdecimal():
                joined[-1] += f" {word}"
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


def _settings(function: Command) -> Command:
    for decorate in reversed(_SETTINGS):
        function = decorate(function)
    return function


def add_to(group: click.Group) -> None:
    """Add the group ``partner``."""

    @group.group("partner", cls=Section)
    def partner() -> None:
        """The companies you exchange files with.

        \b
        What to ask a partner for:
          its SSID code, and SFID codes if they differ
          its host name and port (OFTP2 over TLS is 6619), or whether it only calls you
          the two passwords: the one you send and the one it sends, at most 8 characters
          whether it checks a TLS client certificate, and which CA issued its certificate
          whether it does session authentication, and automatic certificate exchange (ACX)
        What to give it: your code, host name and port, and your certificate.
        """

    _add_listing(partner)
    _add_changes(partner)


def _add_listing(partner: click.Group) -> None:
    @command(partner, "list")
    def listing(terminal: Terminal) -> None:
        """List all partners, and how the last call to each went."""
        with terminal.client() as client:
            document = client.get("/v1/partners")
        rows = [
            [
                each.get("code"),
                each.get("name"),
                _address(each),
                bool(each.get("active")),
                moment(each.get("last_call_at")),
                each.get("last_error"),
            ]
            for each in items(document, "partners")
        ]
        columns = ["code", "name~", "address", "active", "last call", "last error~"]
        terminal.show(
            document, lambda: table(columns, rows, empty="no partners yet; add one with 'oftp2d partner add'")
        )

    @command(partner, "show")
    @partner_argument
    def show(terminal: Terminal, partner: str) -> None:
        """Show everything about one partner."""
        with terminal.client() as client:
            document = client.get(path_of("partners", partner))
        terminal.show(document, lambda: _details(document))

    @command(partner, "test")
    @partner_argument
    def test(terminal: Terminal, partner: str) -> int:
        """Call a partner, identify, and leave again; says which step failed.

        No file is moved. The steps are: tcp (is there a connection), tls (is its certificate good, and ours),
        ready (is it an OFTP system), code (is it the system we mean), password (do both sides' passwords
        match), level (does it speak OFTP2), leave.
        """
        with terminal.client() as client:
            document = client.post(path_of("partners", partner, "test"), calls=True)
        terminal.show(document, lambda: _steps(document))
        return Exit.DONE if document.get("ok") is True else Exit.FAILED


def _add_changes(partner: click.Group) -> None:
    @command(partner, "add", WithCalls)
    @click.argument("code", type=CODE, metavar="PARTNER")
    @_settings
    def add(terminal: Terminal, code: str, **given: Any) -> None:
        """Add a partner by its SSID code.

        Both passwords are asked for without showing them; press Enter for an empty one. Scripts give them in
        files or in OFTP2D_PASSWORD_OURS and OFTP2D_PASSWORD_THEIRS.

        \b
        Examples:
          oftp2d partner add O0013000002PARTNER --name Partner --host oftp.partner.example
          oftp2d partner add O0013000002PARTNER --sub-station O0013000002PLANT2
          oftp2d partner add O0013000002PARTNER --host oftp.partner.example --call every 15
        """
        hint_about(terminal, code)
        body = {"code": code, "name": code} | _body(given, ask=True)
        with terminal.client() as client:
            document = client.post("/v1/partners", body)
        terminal.show(document, lambda: Text(f"partner {code} added; try it with 'oftp2d partner test {code}'"))

    @command(partner, "change", WithCalls)
    @partner_argument
    @_settings
    @click.option("--no-sub-stations", is_flag=True, help="Forget its further codes.")
    @click.option("--passwords", is_flag=True, help="Set both passwords anew: asked for, or from the environment.")
    def change(terminal: Terminal, partner: str, passwords: bool, no_sub_stations: bool, **given: Any) -> None:
        """Change settings of a partner; what is not named stays.

        Takes effect with the next session. An empty --host "" or --server-name "" forgets it; the codes given with
        --sub-station take the place of all those before.
        """
        body = _body(given, ask=passwords)
        if no_sub_stations:
            body["sub_stations"] = []
        if not body:
            raise click.UsageError("Nothing to change was named.")
        with terminal.client() as client:
            document = client.patch(path_of("partners", partner), body)
        terminal.show(document, lambda: Text(f"partner {partner} changed"))

    @command(partner, "remove")
    @partner_argument
    @click.option("--yes", is_flag=True, help="Don't ask.")
    def remove(terminal: Terminal, partner: str, yes: bool) -> None:
        """Remove a partner. Refused while files to or from it are on their way."""
        if not yes:
            confirmed(f"Remove {partner} with its certificates?")
        with terminal.client() as client:
            document = client.delete(path_of("partners", partner))
        terminal.show(document, lambda: Text(f"partner {partner} removed"))


def _body(given: Mapping[str, Any], *, ask: bool) -> dict[str, Any]:
    """The settings that were named on the command line, with the passwords from wherever they are."""
    settings = dict(given)
    files = {side: settings.pop(f"password_{side}_file") for side in ("ours", "theirs")}
    calls = settings.pop("call") or {}
    body = {name: value for name, value in settings.items() if value is not None and value != ()} | calls
    questions = {"ours": "The password we send", "theirs": "The password the partner sends"}
    for side, question in questions.items():
        password = secret(
            file=files[side],
            variable=f"OFTP2D_PASSWORD_{side.upper()}",
            question=question,
            longest=LONGEST_PASSWORD,
            ask=ask,
        )
        if password is not None:
            body[f"password_{side}"] = password
    if "level" in body:
        body["level"] = int(body["level"])
    if "unsigned_receipts" in body:
        body["unsigned_receipts"] = body["unsigned_receipts"] == "accept"
    if "transport" in body and "port" not in body:
        body["port"] = 6619 if body["transport"] == "tls" else 3305
    return body


def _address(document: Mapping[str, Any]) -> str | None:
    host = document.get("host")
    return f"{document.get('transport')} {host}:{document.get('port')}" if host else None


def _details(document: Mapping[str, Any]) -> RenderableType:
    return properties(
        {
            "code (SSID)": document.get("code"),
            "name": document.get("name"),
            "further codes (SFID)": document.get("sub_stations"),
            "our code towards it": document.get("station"),
            "address": _address(document),
            "name in its certificate": document.get("server_name"),
            "client certificate demanded": document.get("client_certificate"),
            "password we send": _set(document.get("password_ours_set")),
            "password it sends": _set(document.get("password_theirs_set")),
            "certificate exchange (ACX)": document.get("acx"),
            "certificates it brings": "wait for your word" if document.get("hold_certificates") else "by the rules",
            "its recall takes the place of": _SCOPES.get(document.get("replace_scope")),
            "authorities trusted for it": "its own alone"
            if document.get("only_own_anchors")
            else "its own, and all others",
            "session authentication": document.get("authentication"),
            "highest release level": _LEVELS.get(document.get("level")),
            "direction of files": _MODES.get(document.get("mode")),
            "exchange buffer": f"at most {document.get('buffer_size')} octets, {document.get('credit')} in a row",
            "buffer compression": document.get("compression"),
            "restart of files": document.get("restart"),
            "its texts (format T)": _text(document),
            "files for it": _outgoing(document),
            "cipher suite": SUITES_IN_WORDS.get(document.get("cipher_suite")),
            "its receipts": _receipts(document),
            "files from it": _incoming(document),
            "shortest key it may have": f"{document.get('least_rsa_bits')} bits (RSA)",
            "active": document.get("active"),
            "may send files for others": document.get("may_forward"),
            "called": _called(document),
            "added": moment(document.get("created_at")),
            "last call": moment(document.get("last_call_at")),
            "last error": document.get("last_error"),
            "failed calls in a row": document.get("call_failures"),
            "next call": moment(document.get("next_call_at")),
        }
    )


def _called(document: Mapping[str, Any]) -> str:
    """When the partner is called by ourselves."""
    if not document.get("host"):
        return "never: it has no address"
    match document.get("call"):
        case "wait":
            return "never: we wait to be called"
        case "every":
            return f"every {int(document.get('call_every') or 0) // 60} minutes, and when something waits for it"
    return "when something waits for it"


def _text(document: Mapping[str, Any]) -> str:
    charset, ours = document.get("text_charset"), {"lf": "LF", "crlf": "CR-LF"}.get(str(document.get("text_line_ends")))
    told = [f"in {charset}, UTF-8 here"] if charset else []
    told += [f"line ends CR-LF, {ours} here"] if ours else []
    return "; ".join(told) or "as they are"


def _outgoing(document: Mapping[str, Any]) -> str:
    """What is done to files for the partner."""
    done = [word for word, name in _DONE.items() if document.get(name)]
    carried = "; our certificate goes with our signatures" if document.get("signer_certificate") else ""
    return (", ".join(done) or "as they are") + carried


def _receipts(document: Mapping[str, Any]) -> str:
    """Whether the partner is to sign its receipts, and what if it does not."""
    if not document.get("signed_receipts"):
        return "unsigned"
    return f"signed; unsigned ones {'count too' if document.get('unsigned_receipts') else 'do not count'}"


def _incoming(document: Mapping[str, Any]) -> str:
    """What is demanded of files from the partner."""
    demands = {word: document.get(f"incoming_{word}") for word in _DONE}
    return ", ".join(f"{word}: {demand}" for word, demand in demands.items())


def _set(value: object) -> str:
    return "set" if value is True else "empty"


def _steps(document: Mapping[str, Any]) -> RenderableType:
    lines = []
    for step in items(document, "steps"):
        good = step.get("ok") is True
        mark = Text("ok    " if good else "FAILED", style="green" if good else "red")
        lines.append(Text.assemble(mark, "  ", words(f"{step.get('step')}: {step.get('text') or ''}")))
    if document.get("advice"):
        lines.append(Text.assemble("        ", words(str(document.get("advice"))), style="yellow"))
    return Group(*lines)
