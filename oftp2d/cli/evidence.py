"""``evidence``: what proves, to anybody and for ever, that a file arrived."""

# ruff: noqa: D301 - \b is how click is told not to wrap a paragraph

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
from rich.console import Group, RenderableType
from rich.text import Text

from oftp2d.client import path_of
from oftp2d.errors import OperatorError

from .forms import properties, words
from .inbox import copy
from .options import Section, command
from .terminal import Exit, Terminal

if TYPE_CHECKING:
    from oftp2.certs.facts import CertificateFacts
    from oftp2d.evidence import Step, Verification

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MARKS = {
    True: ("proven", "green"),
    False: ("FALSE", "red"),
    None: ("-", "dim"),
}


def add_to(group: click.Group) -> None:
    """Add the group ``evidence``."""

    @group.group("evidence", cls=Section)
    def evidence() -> None:
        """Signed receipts, as proof in a dispute.

        A partner's signed receipt (EERP) says that it took over exactly the file you sent, a signed refusal (NERP) that
        it got it and refused it. The station keeps it with the certificate that signed it. Ask a partner for them with
        'oftp2d partner change PARTNER --signed-receipts'.
        """

    _add_export(evidence)
    _add_verify(evidence)


def _add_export(evidence: click.Group) -> None:
    @command(evidence, "export")
    @click.argument("transfer_id", metavar="TRANSFER")
    @click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The file to write it to. Without it: the standard output.",
    )
    @click.option("--force", is_flag=True, help="Overwrite a file that exists.")
    def export(terminal: Terminal, transfer_id: str, output: Path | None, force: bool) -> None:
        """Write the signed receipt of a transfer into one file that proves by itself what became of it.

        Of a file you sent that is the partner's receipt or refusal, of one you received it is yours. The file is text that
        people can read, and holds the signature and the certificates. Keep it where you keep your contracts: the station
        forgets a certificate you remove, and a database is not kept for ever.

        \b
        Example:
          oftp2d evidence export 01JD6Z4M8Q -o orders-evidence.pem
        """
        with terminal.client() as client:
            document = client.get(path_of("transfers", transfer_id, "evidence"))
        text = str(document.get("evidence"))
        if output is None:
            # As it is, on any terminal: a broken line would be another file.
            terminal.show(document, lambda: Text(text.rstrip("\n"), no_wrap=True, overflow="ignore"))
            return
        copy([text.encode()], output, output.name, force=force)
        terminal.show(
            document | {"path": str(output.absolute())}, lambda: words(f"{output}: {document.get('dataset')}")
        )


def _add_verify(evidence: click.Group) -> None:
    @command(evidence, "verify")
    @click.argument("file", type=_READABLE)
    @click.option(
        "--file",
        "virtual_file",
        type=_READABLE,
        help="The file as it was transmitted: signed, compressed and encrypted, if it was. The station keeps that only "
        "until the receipt is there; this is for who has kept it himself.",
    )
    @click.option(
        "--trust",
        type=_READABLE,
        help="The certificates (PEM) of the authorities you trust to say whose key it is; or, where partners made their "
        "own, that of the partner.",
    )
    def verify(terminal: Terminal, file: Path, virtual_file: Path | None, trust: Path | None) -> int:
        """Verify a file that 'evidence export' wrote; exit code 0 only if all holds that was asked.

        Says step by step what is proven and what is not: that the key of the certificate in it signed just this receipt;
        that the certificate names the station that answered (where it names none, compare yourself whose it is); that the
        text above says what is signed; with --file, that it is the receipt for that file; with --trust, that the
        certificate was issued by an authority you trust and was valid when the receipt was signed.

        Works without a station and anywhere. What is not signed (reason and text of a refusal, the size) is what the
        station that exported it noted, and so is the time of signing what the signer's clock said.

        \b
        Example:
          oftp2d evidence verify orders-evidence.pem --trust odette-ca.pem
        """
        from oftp2d.evidence import LARGEST, verify_evidence  # noqa: PLC0415 - it takes long to load, as in 'check'

        with ExitStack() as stack:
            content = None if virtual_file is None else stack.enter_context(_opened(virtual_file))
            source = stack.enter_context(_opened(file))
            anchors = None if trust is None else _certificates_of(trust)
            verification = verify_evidence(source.read(LARGEST + 1), virtual_file=content, anchors=anchors)
        document = {
            "ok": verification.ok,
            "steps": [{"subject": each.subject, "holds": each.holds, "what": each.what} for each in verification.steps],
            "signed": dict(verification.signed),
            "noted": dict(verification.noted),
        }
        terminal.show(document, lambda: _shown(verification))
        return Exit.DONE if verification.ok else Exit.FAILED


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise OperatorError(f"{path} can't be read ({error.strerror})", "check its mode") from None


def _certificates_of(path: Path) -> Sequence[CertificateFacts]:
    from oftp2d.credentials import read_material  # noqa: PLC0415 - as above
    from oftp2d.evidence import LARGEST  # noqa: PLC0415

    with _opened(path) as source:
        try:
            return read_material(source.read(LARGEST)).certificates
        except OperatorError as error:
            raise OperatorError(f"{path}: {error.what}", error.advice) from None


def _shown(verification: Verification) -> RenderableType:
    steps = [_step(step) for step in verification.steps]
    outcome = Text("All that was asked holds." if verification.ok else "It does not prove what it says.", style="bold")
    signed = properties(verification.signed) if verification.signed else Text("")
    return Group(signed, Text(""), *steps, Text(""), outcome)


def _step(step: Step) -> RenderableType:
    mark, style = _MARKS[step.holds]
    return Text.assemble((f"{mark:7}", style), words(f"{step.subject}: {step.what}"))
