"""``send`` and ``transfer``: files on their way out, and what became of them."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from oftp2d.client import AdminClient, path_of
from oftp2d.errors import OperatorError
from oftp2d.logs import escaped

from .forms import form, items, moment, properties, size, state, table, words
from .inbox import copy, local_name
from .options import CODE, Section, command, complete_partner, partner_argument
from .terminal import Exit, Terminal

POLL_SECONDS = 0.3
_STATES = (
    "securing", "queued", "sending", "sent", "acknowledged", "refused", "failed", "cancelled",
    "receiving", "interrupted", "received", "delivered",
)  # fmt: skip
_ENDS = {
    "acknowledged": Exit.DONE,
    "refused": Exit.REFUSED,
    "failed": Exit.REFUSED,
    "cancelled": Exit.REFUSED,
}


def add_to(group: click.Group) -> None:
    """Add ``send`` and the group ``transfer``."""

    @command(group, "send")
    @partner_argument
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--as", "dataset", help="The dataset name the partner expects. Without it: the file's, upper-cased.")
    @click.option("--from", "originator", type=CODE, help="Whose file it is (SFID code). Without it: our code.")
    @click.option("--to", "destination", type=CODE, help="Who it is for (SFID code). Without it: the partner's.")
    @click.option(
        "--format",
        type=click.Choice(["U", "T", "F", "V"]),
        help="How it travels: as it is (U, the usual), as text (T), as records of one length (F), or as records that are "
        "each led by their length in two octets, the higher one first (V).",
    )
    @click.option(
        "--record-length",
        type=click.IntRange(1, 99999),
        help="The octets of each record (F), or of the longest one that was agreed (V).",
    )
    @click.option(
        "--sign/--no-sign", default=None, help="Whether to sign it. Without this: as agreed with the partner."
    )
    @click.option("--compress/--no-compress", default=None, help="Whether to compress it; also as agreed.")
    @click.option("--encrypt/--no-encrypt", default=None, help="Whether to encrypt it; also as agreed.")
    @click.option(
        "--suite",
        type=click.IntRange(1, 10),
        help="The cipher suite for that, 3 to 10: see 'oftp2d partner change --help'. 1 and 2 only where they are agreed. "
        "Only for a file that is signed or encrypted, or whose receipt is to be signed.",
    )
    @click.option(
        "--signed-receipt/--no-signed-receipt",
        default=None,
        help="Whether the partner is to sign its receipt (EERP); also as agreed.",
    )
    @click.option("--description", help="A description for the partner's people, at most 999 octets.")
    @click.option("--wait", is_flag=True, help="Wait for the partner's receipt (EERP), with a progress bar.")
    @click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, help="Wait so many seconds.")
    def send(
        terminal: Terminal, partner: str, file: Path, wait: bool, timeout: int, **given: str | int | bool | None
    ) -> int:
        """Send a file to a partner.

        The station takes the file over and calls the partner; your copy is not needed any more. With --wait
        the exit code is 0 only if the partner confirmed it; 5 if it was refused or failed for good, 6 if the
        time was over first (the transfer goes on all the same).

        Text (--format T) is turned into the character set and line ends of the partner, as 'oftp2d partner change'
        set them with --text-charset and --text-line-ends. What would not come back the same is refused, with its line.

        It is signed, compressed and encrypted as 'oftp2d partner change' set it, unless you say otherwise for this file;
        the station does that before it calls the partner.

        \b
        Examples:
          oftp2d send O0013000002PARTNER orders.edi --as ORDERS.D96A --wait
          oftp2d send O0013000002PARTNER parts.txt --format F --record-length 80
          oftp2d send O0013000002PARTNER contract.pdf --sign --encrypt --signed-receipt
        """
        with terminal.client() as client, _bar(terminal) as bar:
            document = _upload(client, bar, partner, file, given)
            if wait:
                try:
                    document = _follow(client, bar, str(document.get("id")), timeout)
                except KeyboardInterrupt:
                    bar.stop()
                    terminal.hint(f"the transfer goes on: see 'oftp2d transfer show {document.get('id')}'")
                    raise
        terminal.show(document, lambda: _outcome(document))
        return _ENDS.get(str(document.get("state")), Exit.TIMEOUT) if wait else Exit.DONE

    @group.group("transfer", cls=Section)
    def transfer() -> None:
        """Files on their way, and those that went before.

        \b
        Out: securing (being signed, compressed or encrypted), queued, sending,
             sent (the partner has it), acknowledged (its EERP came);
             refused (its NERP came), failed (the partner does not take it, or all tries
             were in vain: waits for you), cancelled.
        In:  receiving, interrupted (goes on with the partner's next try), received,
             delivered (in the inbox, and the EERP is on its way), refused.
        """

    _add_listing(transfer)
    _add_changes(transfer)


def _add_listing(transfer: click.Group) -> None:
    @command(transfer, "list")
    @click.option("--state", "state_name", type=click.Choice(_STATES), help="Only those in this state.")
    @click.option("--direction", type=click.Choice(["out", "in"]), help="Only those we send, or receive.")
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="Only this partner's.")
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def listing(
        terminal: Terminal, state_name: str | None, direction: str | None, partner: str | None, limit: int
    ) -> None:
        """List transfers, newest first."""
        with terminal.client() as client:
            document = client.get("/v1/transfers", state=state_name, direction=direction, partner=partner, limit=limit)
        rows = [
            [
                each.get("id"),
                each.get("direction"),
                each.get("partner"),
                each.get("dataset"),
                size(int(each.get("octets") or 0)),
                state(str(each.get("state"))),
                moment(each.get("updated_at")),
                _why(each),
            ]
            for each in items(document, "transfers")
        ]
        columns = ["id", "way", "partner", "dataset", "size>", "state", "changed", "why~"]
        terminal.show(document, lambda: table(columns, rows, empty="no transfers"))

    @command(transfer, "show")
    @click.argument("transfer_id", metavar="ID")
    def show(terminal: Terminal, transfer_id: str) -> None:
        """Show everything about one transfer: in short what happened, how often it was tried and what to do; then all of it."""
        with terminal.client() as client:
            document = client.get(path_of("transfers", transfer_id))
        terminal.show(document, lambda: _details(document))

    @command(transfer, "raw")
    @click.argument("transfer_id", metavar="ID")
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        help="A file or folder to copy it to. Without it: here.",
    )
    @click.option("--force", is_flag=True, help="Overwrite a file that exists.")
    def raw(terminal: Terminal, transfer_id: str, output: Path | None, force: bool) -> None:
        """Copy the content of a refused file as it came, signed or encrypted.

        What could not be opened is kept for spool.keep_refused_hours, so that you and the partner can find out why:
        tools such as 'openssl cms' and 'openssl asn1parse -inform DER' read it.
        """
        with terminal.client() as client:
            document = client.get(path_of("transfers", transfer_id))
            pieces = client.download(path_of("transfers", str(document.get("id")), "raw"), lambda _octets: None)
            target = copy(pieces, output or Path(), f"{local_name(document)}.raw", force=force)
        made = dict(document) | {"path": str(target.absolute())}
        terminal.show(made, lambda: Text(f"{target}: {size(target.stat().st_size)}"))


def _add_changes(transfer: click.Group) -> None:
    @command(transfer, "retry")
    @click.argument("transfer_id", metavar="ID")
    @click.option("--new-stamp", is_flag=True, help="Send it as a new file: with another date and time.")
    @click.option(
        "--as-agreed",
        is_flag=True,
        help="Sign, compress and encrypt it anew, as is agreed with the partner now; also as a new file.",
    )
    def retry(terminal: Terminal, transfer_id: str, new_stamp: bool, as_agreed: bool) -> None:
        """Send a file again that failed, was cancelled or refused, or got no receipt.

        It keeps its date and time, by which the partner recognises it, unless the partner has had it in full. A
        partner that says SFNA 13 (duplicate file) to a file it ought to take needs --new-stamp. Make sure first
        that it does not have the file: it would process it twice.

        What was done to it for its security is not changed: what a partner refuses for that (SFNA 15 to 20) needs
        --as-agreed, once 'oftp2d partner change' has set what was agreed.
        """
        with terminal.client() as client:
            document = client.post(
                path_of("transfers", transfer_id, "retry"), {"new_stamp": new_stamp, "as_agreed": as_agreed}
            )
        terminal.show(document, lambda: Text(f"{document.get('id')} is {document.get('state')}"))

    @command(transfer, "cancel")
    @click.argument("transfer_id", metavar="ID")
    def cancel(terminal: Terminal, transfer_id: str) -> None:
        """Give up a file that waits or failed, or a broken reception.

        A file that is forwarded from one partner to another can also be given up when it was sent and its end
        response does not come. Where it came from is told so.

        The station keeps its copy of a file of yours, so that 'oftp2d transfer retry' can still send it. What
        there is of a broken reception is removed.
        """
        with terminal.client() as client:
            document = client.post(path_of("transfers", transfer_id, "cancel"))
        terminal.show(document, lambda: Text(f"{document.get('id')} is {document.get('state')}"))


def _bar(terminal: Terminal) -> Progress:
    """A progress bar on the standard error output; silent unless somebody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=terminal.err,
        transient=True,
        disable=terminal.as_json or not terminal.err.is_terminal,
    )


def _upload(
    client: AdminClient, bar: Progress, partner: str, file: Path, given: Mapping[str, str | int | bool | None]
) -> dict[str, Any]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise OperatorError(f"{file} can't be read ({error.strerror})", "check its mode") from None
    with source:
        octets = file.stat().st_size
        task = bar.add_task("to the station", total=octets)
        document = client.upload(
            "/v1/transfers",
            source,
            octets,
            lambda moved: bar.advance(task, moved),
            partner=partner,
            file_name=file.name,
            **given,
        )
        bar.remove_task(task)
        return document


def _follow(client: AdminClient, bar: Progress, transfer_id: str, timeout: int) -> dict[str, Any]:
    """The transfer once it came to an end, or as it stands when the time is over."""
    task = bar.add_task("to the partner", total=None)
    end = time.monotonic() + timeout
    before = told = ""
    while True:
        document = client.get(path_of("transfers", transfer_id))
        bar.update(
            task,
            total=document.get("octets"),
            completed=document.get("octets_moved") or 0,
            description=f"{document.get('state')}",
        )
        waits = str(document.get("waits_for") or "")
        if waits not in {"", told} and waits == before and not bar.disable:
            # What passes in a moment is not worth a line.
            bar.console.print(Text(escaped(f"waits for {waits}")))
            told = waits
        before = waits
        if document.get("state") in _ENDS or time.monotonic() >= end:
            return document
        time.sleep(POLL_SECONDS)


def _why(document: Mapping[str, Any]) -> str:
    """Why a transfer ended as it did, and what it waits for; empty when there is nothing to say."""
    told = ": ".join(str(document[name]) for name in ("reason", "text") if document.get(name))
    if forwarded := _forwarded(document):
        told = f"{forwarded}; {told}" if told else forwarded
    waits = document.get("waits_for")
    if document.get("state") == "securing" and not waits:
        octets, secured = (int(document.get(name) or 0) for name in ("octets", "octets_moved"))
        return f"{size(secured)} of {size(octets)} are secured" if secured else ""
    if opened := int(document.get("octets_opened") or 0):
        return f"{size(opened)} of {size(int(document.get('octets') or 0))} are opened"
    if not waits:
        return told
    return f"{told}; waits for {waits}" if told and told not in str(waits) else f"waits for {waits}"


def _forwarded(document: Mapping[str, Any]) -> str:
    """Between whom a third party's file is forwarded; empty for one of ours."""
    forwarding = document.get("forwarded")
    return f"forwarded from {forwarding['source']} to {forwarding['target']}" if forwarding else ""


def _services(document: Mapping[str, Any]) -> str:
    """What was done to a file, or is to be done to it, and in which suite."""
    done = [str(each) for each in document.get("services") or ()]
    cipher = document.get("cipher")
    suite = f" (cipher suite {cipher:02})" if isinstance(cipher, int) and cipher else ""
    return f"{', '.join(done)}{suite}" if done else "nothing"


def _size_inside(document: Mapping[str, Any]) -> str:
    """How large a file is that was secured, or has come and was opened or converted; empty for any other."""
    if isinstance(inside := document.get("octets_inside"), int):
        return f"; {size(inside)} ({inside} octets) in the inbox"
    before = document.get("octets_before")
    secured = document.get("services") and document.get("state") != "securing"
    return f"; {size(before)} before it was secured" if secured and isinstance(before, int) else ""


def _named(document: Mapping[str, Any], role: str) -> Text:
    """The certificates of one role, one a line: by alias and subject where the store has them, else by fingerprint alone."""
    known = {each.get("fingerprint"): each for each in items(document, "certificates")}
    lines = [
        f"{known[each].get('alias')}: {known[each].get('subject')} ({each[:16]})" if each in known else each
        for each in map(str, document.get(role) or ())
    ]
    return Text("\n").join(map(words, lines or [""]))


def _moved(document: Mapping[str, Any]) -> dict[str, str]:
    """How much of a file has gone or come, or is secured or opened, and under which heading."""
    if opened := int(document.get("octets_opened") or 0):
        return {"opened": size(opened)}
    return {"secured" if document.get("state") == "securing" else "moved": size(int(document.get("octets_moved") or 0))}


def _kept(document: Mapping[str, Any]) -> str | None:
    """How to come by the content of a refused file."""
    return f"see 'oftp2d transfer raw {document.get('id')}'" if document.get("raw_kept") else None


def _outcome(document: Mapping[str, Any]) -> RenderableType:
    why = _why(document)
    told = f"{document.get('id')} {document.get('dataset')}: "
    return Text.assemble(told, state(str(document.get("state"))), words(f" ({why})") if why else "")


def _details(document: Mapping[str, Any]) -> RenderableType:
    octets = int(document.get("octets") or 0)
    return properties(
        {
            "id": document.get("id"),
            "state": state(str(document.get("state"))),
            "in short": document.get("summary"),
            "way": document.get("direction"),
            "kind": document.get("kind"),
            "partner": document.get("partner"),
            "dataset": document.get("dataset"),
            "stamp": f"{document.get('date')} {document.get('time')}",
            "from": document.get("originator"),
            "to": document.get("destination"),
            "forwarded": _forwarded(document),
            "file name": document.get("file_name"),
            "description": document.get("description"),
            "format": form(document),
            "size": f"{size(octets)} ({octets} octets){_size_inside(document)}",
            **_moved(document),
            "SHA-256": document.get("sha256"),
            "done to it": _services(document),
            "signed with": _named(document, "signers"),
            "encrypted for": _named(document, "recipients"),
            "chosen because": Text("\n").join(map(words, str(document.get("choice") or "").splitlines() or [""])),
            "hash as it travels": document.get("virtual_hash"),
            "signed receipt asked for": document.get("signed_response"),
            "kept as it came": _kept(document),
            "attempts": document.get("attempts"),
            "next attempt": moment(document.get("next_attempt_at")),
            "created": moment(document.get("created_at")),
            "sent": moment(document.get("sent_at")),
            "ended": moment(document.get("ended_at")),
            "waits for": document.get("waits_for"),
            "end response": document.get("end_response"),
            "evidence": f"'oftp2d evidence export {document.get('id')}'" if document.get("evidence") else None,
            "reason": document.get("reason"),
            "text": document.get("text"),
        }
    )
