"""``inbox``: the files that partners sent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from oftp2d.client import path_of
from oftp2d.errors import OperatorError

from .forms import form, items, moment, size, table
from .options import CODE, Section, command, complete_partner
from .terminal import Terminal

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def add_to(group: click.Group) -> None:
    """Add the group ``inbox``."""

    @group.group("inbox", cls=Section)
    def inbox() -> None:
        """The files partners sent, once they arrived whole and were taken over."""

    @command(inbox, "list")
    @click.option("--partner", type=CODE, shell_complete=complete_partner, help="Only this partner's.")
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
    def listing(terminal: Terminal, partner: str | None, limit: int) -> None:
        """List the files that arrived, newest first."""
        with terminal.client() as client:
            document = client.get("/v1/inbox", partner=partner, limit=limit)
        rows = [
            [
                each.get("id"),
                each.get("partner"),
                each.get("dataset"),
                each.get("originator"),
                each.get("destination"),
                form(each),
                size(_octets(each)),
                moment(each.get("ended_at")),
                each.get("end_response"),
            ]
            for each in items(document, "files")
        ]
        columns = ["id", "partner", "dataset", "from", "to", "format", "size>", "arrived", "receipt"]
        terminal.show(document, lambda: table(columns, rows, empty="no files"))

    @command(inbox, "get")
    @click.argument("transfer_id", metavar="ID")
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        help="A file or folder to copy it to. Without it: here.",
    )
    @click.option("--force", is_flag=True, help="Overwrite a file that exists.")
    def get(terminal: Terminal, transfer_id: str, output: Path | None, force: bool) -> None:
        """Copy a file out of the inbox. It stays there.

        Unless you say otherwise the copy gets the transfer's id and the harmless part of the dataset name.
        """
        with terminal.client() as client:
            document = client.get(path_of("inbox", transfer_id))
            pieces = client.download(path_of("inbox", str(document.get("id")), "content"), _ignore)
            target = copy(pieces, output or Path(), local_name(document), force=force)
        made = dict(document) | {"path": str(target.absolute())}
        terminal.show(made, lambda: _copied(document, target))


def local_name(document: Mapping[str, Any]) -> str:
    """A name for the copy: the transfer's id and what is harmless of the dataset name, never a path."""
    harmless = _UNSAFE.sub("-", f"{document.get('id')}-{document.get('dataset')}")
    return harmless.strip("-.") or "file"


def copy(pieces: Iterable[bytes], target: Path, name: str, *, force: bool) -> Path:
    """Write the pieces beside the target, and put them in its place once all are there; into a folder under the name."""
    if target.is_dir():
        target /= name
    if target.exists() and not force:
        raise OperatorError(f"{target} exists", "choose another name with --output, or add --force")
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        with part.open("xb") as sink:
            for piece in pieces:
                sink.write(piece)
        part.replace(target)
    except OSError as error:
        raise OperatorError(f"{target} can't be written ({error.strerror})", "check the folder and its space") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _ignore(_octets: int) -> None:
    """Progress of a download that nobody watches."""


def _octets(document: Mapping[str, Any]) -> int:
    """How large the file in the inbox is, which is not as it came where it was opened or converted."""
    inside = document.get("octets_inside")
    return int(document.get("octets") or 0) if inside is None else int(inside)


def _copied(document: Mapping[str, Any], target: Path) -> RenderableType:
    return Text(f"{target}: {size(_octets(document))}")
